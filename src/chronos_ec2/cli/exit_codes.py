"""The exit codes of every command."""

from __future__ import annotations

from enum import IntEnum

from chronos_ec2.domain.errors import ChronosError, InvalidDocument, LaunchRefused, NotAllowed, UserError


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    MEND = 2
    NO_ANSWER = 3
    BUG = 70
    INTERRUPTED = 130
    NO_READER = 141


MEANINGS = {
    ExitCode.OK: "success",
    ExitCode.FAILED: "a run failed, something is left, or `doctor` finds something broken",
    ExitCode.MEND: "you have to mend something: arguments, files, credentials, permissions, the stack",
    ExitCode.NO_ANSWER: "AWS did not answer or has no capacity; try again",
    ExitCode.BUG: "a bug in chronos-ec2",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
    ExitCode.NO_READER: "whoever read the output has closed it",
}
_MEND = (UserError, NotAllowed, LaunchRefused, InvalidDocument)


def exit_code(error: ChronosError) -> ExitCode:
    """The exit code of an error that is raised on purpose."""
    return ExitCode.MEND if isinstance(error, _MEND) else ExitCode.NO_ANSWER
