"""Standard input, output and error as they are found: closed, buffered, or unable to show every character."""

from __future__ import annotations

import codecs
import os
import sys
from contextlib import suppress

_ASCII = {"…": "...", "→": "->", "—": "-"}
_PLAIN = "chronos-ec2-plain"


def prepare_streams() -> None:
    """Make the three streams safe to use: none is missing, a line is written at once, no character is an error."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: no socket may become standard output
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: PTH123, SIM115 - open until the process ends
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    codecs.register_error(_PLAIN, _plain)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors=_PLAIN, line_buffering=True)


def discard_output() -> None:
    """Send the rest of the output nowhere, so that nothing is written to a closed pipe when the process ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Replace what the stream's encoding does not have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_ASCII.get(character, "?") for character in text), error.end
