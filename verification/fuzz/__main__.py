"""`python -m verification.fuzz`: whatever comes from outside is read, or refused with an error of ours.

Every parser is fed with what Hypothesis makes up and with what AWS or we really write, changed in some bytes or fields.
None may raise anything but its own error. Then the same input is put before the watchdog, as lock, heartbeat, message
marker or event beside a healthy run: nothing may be terminated.
"""

from __future__ import annotations

import sys

from verification.fuzz.campaign import fuzz


def main() -> int:
    """Feed every target with a few thousand inputs; 1 if any of them broke something."""
    result = fuzz(2000)
    for name, fed in result.by_target.items():
        print(f"{name:28} {fed:8,}")
    for failure in result.failures:
        print(f"FAILED  {failure}")
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
