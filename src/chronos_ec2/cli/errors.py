"""What people see of an error: a line that says what is wrong, a line that says what to do."""

from __future__ import annotations

import errno
import os
import sys
import traceback

from chronos_ec2.cli.exit_codes import ExitCode, exit_code
from chronos_ec2.cli.terminal import discard_output
from chronos_ec2.domain.errors import ChronosError
from chronos_ec2.domain.parsing.names import one_line, printable

DEBUG = "CHRONOS_EC2_DEBUG"
_MAX_LINE = 4000


def report(error: Exception | KeyboardInterrupt) -> ExitCode:
    """Print an error on stderr, and return the exit code."""
    try:
        if isinstance(error, BrokenPipeError):
            discard_output()
            return ExitCode.NO_READER
        code, problem, hint = explain(error)
        if os.environ.get(DEBUG):
            for line in "".join(traceback.format_exception(error)).splitlines():
                print(printable(line), file=sys.stderr)
        if isinstance(error.__cause__, EOFError):
            print(file=sys.stderr)  # ends the line of the question
        print_problem(problem, hint)
        if code is not ExitCode.INTERRUPTED:
            print_notes(error)
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        return ExitCode.NO_READER
    except OSError:
        discard_output()  # Python would try once more when it ends
    return code


def explain(error: Exception | KeyboardInterrupt) -> tuple[ExitCode, str, str]:
    """Exit code, problem and hint of an error."""
    match error:
        case KeyboardInterrupt():
            return ExitCode.INTERRUPTED, ": ".join(["interrupted", *notes_of(error)]), ""
        case ChronosError():
            return exit_code(error), error.problem or type(error).__name__, error.hint
        case EOFError():
            return ExitCode.MEND, "an answer was needed, and standard input has none", "run the command in a terminal"
        case OSError(errno=errno.ENOSPC):
            return ExitCode.MEND, _os_error(error), "free some space"
        case OSError() if error.filename is not None:
            return ExitCode.MEND, _os_error(error), "check the path and its permissions"
    if (usage := _usage(error)) is not None:
        return ExitCode.MEND, *usage
    problem = f"unexpected {type(error).__name__}: {error}"
    return ExitCode.BUG, problem, f"this is a bug in chronos-ec2; {DEBUG}=1 shows where, please report it"


def print_problem(problem: str, hint: str = "", kind: str = "error") -> None:
    """Print `error: …` and `hint: …`. Further lines of a problem, such as those of a log, follow as they are."""
    first, *rest = problem.strip().splitlines() or [""]
    lines = [f"{kind}: {first}", *rest, *([f"hint: {hint}"] if hint else [])]
    for line in lines:
        print(one_line(line, _MAX_LINE), file=sys.stderr)


def notes_of(error: BaseException) -> list[str]:
    """What a service has noted on an error: what goes on, and how to end it."""
    return list(getattr(error, "__notes__", ()))


def print_notes(error: BaseException) -> None:
    """Print the notes of an error on stderr."""
    for note in notes_of(error):
        print(one_line(f"note: {note}", _MAX_LINE), file=sys.stderr)


def _os_error(error: OSError) -> str:
    where = "" if error.filename is None else f"{error.filename!s}: "
    return f"{where}{error.strerror or type(error).__name__}"


def _usage(error: Exception) -> tuple[str, str] | None:
    """Problem and hint of wrong arguments; None for any other error."""
    import typer  # noqa: PLC0415 - an error during the imports is reported without it

    if not isinstance(error, typer.TyperException):
        return None
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "chronos-ec2"
    problem = " ".join(error.format_message().split())
    return problem[:1].lower() + problem[1:].removesuffix("."), f"`{path} --help` shows how it is used"
