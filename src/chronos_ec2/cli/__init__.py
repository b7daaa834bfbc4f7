"""The command `chronos-ec2`: options in, tables or JSON out. What a command does is in `services`.

Exit codes: 0 success; 1 a run failed or something is left; 2 invalid request; 3 AWS did not answer or denied access;
130 interrupted.
"""

from __future__ import annotations

import sys

from chronos_ec2.domain.errors import ChronosError, UserError
from chronos_ec2.domain.parsing.names import one_line


def main() -> None:
    """Run the command. An expected error is one line on stderr, never a traceback."""
    try:
        from chronos_ec2.cli.app import app  # noqa: PLC0415 - Ctrl-C during this import is caught too

        app()
    except ChronosError as error:
        print(f"chronos-ec2: {one_line(str(error), 1000)}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, UserError) else 3) from error
    except KeyboardInterrupt:
        print("chronos-ec2: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
