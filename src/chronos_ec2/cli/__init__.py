"""The command `chronos-ec2`.

Exit codes: 0 done, and the answer is good; 1 done, and the answer is bad (a run failed, something is left);
2 the request was wrong; 3 AWS did not answer or did not allow it; 130 interrupted.
"""

from __future__ import annotations

import sys

from chronos_ec2.domain.errors import ChronosError, UserError
from chronos_ec2.domain.parsing.names import one_line


def main() -> None:
    """Run the command; an error of ours is one clear line on stderr, never a traceback."""
    from chronos_ec2.cli.app import app  # noqa: PLC0415 - so that an error while importing is the only traceback

    try:
        app()
    except ChronosError as error:
        print(f"chronos-ec2: {one_line(str(error), 1000)}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, UserError) else 3) from error
    except KeyboardInterrupt:
        print("chronos-ec2: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
