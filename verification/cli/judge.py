"""What a person or a program may expect of a command, however it ends."""

from __future__ import annotations

import json

from verification.cli.invoke import Result
from verification.cli.situations import Situation

_ESCAPE = "\x1b"
_PROBLEMS = ("broken", "refused", '"accepted":false', '"accepted": false')
"""A command that reports has at least one of these in its report."""


def defects(situation: Situation, result: Result) -> dict[str, bool]:
    """Each kind of defect, and whether a command has ended with it. The kinds are those counted in build/cli.json."""
    code, both = result.code, result.out + result.err
    starts = {line.partition(" ")[0] for line in result.err.splitlines()}
    reported = situation.reports and code == 2 and any(word in result.out for word in _PROBLEMS)
    found = {
        "tracebacks": "Traceback (most recent call last)" in both,
        "wrong_exit_codes": code not in situation.exits,
        "json_polluted": situation.as_json and not _is_json(result.out),
        "without_error_line": code in (2, 3, 70, 130) and not reported and "error:" not in starts,
        "without_hint": code == 2 and not reported and "hint:" not in starts,
        "escape_codes": not situation.colours and _ESCAPE in both,
        "aborted": "Aborted" in result.err,
    }
    if situation.shell and "&-" in situation.shell:  # a closed stream shows nothing
        return found | dict.fromkeys(found.keys() - {"wrong_exit_codes"}, False)
    return found


def _is_json(out: str) -> bool:
    """Whether standard output is one JSON document a line."""
    try:
        for line in out.splitlines():
            json.loads(line)
    except ValueError:
        return False
    return _ESCAPE not in out
