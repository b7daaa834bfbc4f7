"""What a person or a program may expect of a command, however it ends."""

from __future__ import annotations

import json
from collections.abc import Collection

from verification.cli.invoke import Result

_ESCAPE = "\x1b"
_PROBLEMS = ("broken", "refused", '"accepted":false', '"accepted": false')
"""A command that reports has at least one of these in its report."""


Complaint = tuple[str, str]
"""Its kind, one of KINDS, and its words."""
KINDS = (
    "tracebacks", "wrong_exit_codes", "json_polluted", "without_error_line", "without_hint", "escape_codes", "aborted",
)  # fmt: skip


def complaints(
    result: Result, exits: Collection[int], *, as_json: bool, colours: bool = False, reports: bool = False
) -> list[tuple[str, str]]:
    """What is wrong with how a command ended: (kind, words). The kinds are those counted in build/cli.json."""
    found: list[tuple[str, str]] = []
    if "Traceback (most recent call last)" in result.out + result.err:
        found.append(("tracebacks", result.err[-600:]))
    if result.code not in exits:
        found.append(("wrong_exit_codes", f"{result.code}, not {sorted(exits)}: {result.err[-400:]}"))
    if as_json and (reason := _not_json(result.out)):
        found.append(("json_polluted", f"{reason}: {result.out[:300]!r}"))
    lines = result.err.splitlines()
    told = reports and result.code == 2 and any(word in result.out for word in _PROBLEMS)
    if not told and result.code in (2, 3, 70, 130) and not any(line.startswith("error: ") for line in lines):
        found.append(("without_error_line", result.err[-300:]))
    if not told and result.code == 2 and not any(line.startswith("hint: ") for line in lines):
        found.append(("without_hint", result.err[-300:]))
    if not colours and _ESCAPE in result.out + result.err:
        found.append(("escape_codes", (result.out + result.err)[:300]))
    if "Aborted" in result.err:
        found.append(("aborted", result.err[-300:]))
    return found


def _not_json(out: str) -> str:
    """Why standard output is not one JSON document a line; empty if it is."""
    if _ESCAPE in out:
        return "escape codes"
    for line in out.splitlines():
        try:
            json.loads(line)
        except ValueError as error:
            return str(error)
    return ""
