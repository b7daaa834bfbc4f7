"""The command `chronos-ec2`: options in, tables or JSON out. What a command does is in `services`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command and exit with its code, see `cli.exit_codes`. Whatever goes wrong, there is no traceback."""
    try:
        # Imported here, so that Ctrl-C during an import is caught too.
        from chronos_ec2.cli.terminal import prepare_streams  # noqa: PLC0415

        prepare_streams()
        from chronos_ec2.cli.app import run  # noqa: PLC0415

        code = run(sys.argv[1:])
        sys.stdout.flush()
    except SystemExit as end:
        from chronos_ec2.cli.errors import print_notes  # noqa: PLC0415

        print_notes(end)
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last resort
        from chronos_ec2.cli.errors import report  # noqa: PLC0415

        code = report(error)
    raise SystemExit(code)
