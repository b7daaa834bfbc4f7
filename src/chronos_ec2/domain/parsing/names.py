"""Names of environments, lanes and buckets, and text for one line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache

from chronos_ec2.domain.errors import InvalidInput

INSTANCE_ID_PATTERN = re.compile(r"i-[0-9a-f]{8,17}")
SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_INSTANCE_TYPE = re.compile(r"[a-z][a-z0-9-]{0,30}\.[a-z0-9-]{1,30}")
_RESERVED = frozenset({"cached-datasets"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line breaks, and lone surrogates, which have no encoding."""
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, the cursor, the screen
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"  # OSC and other strings: titles, links, the clipboard
)
"""Control sequences of terminals, ECMA-48."""


def is_name(value: str) -> bool:
    """Whether `value` is a valid name of an environment or a lane."""
    return value not in _RESERVED and _NAME.fullmatch(value) is not None


@lru_cache(maxsize=1024)
def check_name(value: str, where: str) -> str:
    """Return `value` if it is a valid name of an environment or a lane, else raise InvalidInput for `where`."""
    if not is_name(value):
        raise InvalidInput(where, f"{value!r} is not a valid name", "lower-case letters, digits and '-', at most 31")
    return value


def check_bucket(value: str, where: str) -> str:
    """Return `value` if it is a valid name of a bucket, else raise InvalidInput for `where`."""
    if not _BUCKET.fullmatch(value):
        problem = f"{one_line(value, 80)!r} is not a valid bucket name"
        raise InvalidInput(where, problem, "3 to 63 lower-case letters, digits, '-' and '.'")
    return value


def split_instance_types(value: str) -> tuple[str, ...]:
    """The instance types in a comma-separated list, each once. Raises InvalidInput."""
    found = tuple(dict.fromkeys(kind.strip() for kind in value.split(",")))
    for kind in found:
        if not _INSTANCE_TYPE.fullmatch(kind):
            problem = f"{one_line(kind, 80)!r} is not an instance type"
            raise InvalidInput(
                "--instance-type", problem, "one such as g5.2xlarge, or several: g5.2xlarge,g4dn.2xlarge"
            )
    return found


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """A remedy for a name that does not exist: the one that is most like it, `otherwise` if none is.

    Part of a name, of at least four characters, is like the first name that has it.
    """
    names = [*known]
    having = [one for one in names if len(name) >= 4 and name in one]
    near = next(iter([*having, *get_close_matches(name, names, n=1)]), None)
    if near is None or name in names:  # it exists: something else is wrong
        return otherwise
    return f"did you mean {near}?" + (f" {otherwise}" if otherwise else "")


def printable(text: str) -> str:
    """`text` on one line for a terminal: without control sequences, with a space for each unprintable character."""
    return text if text.isprintable() else _spaced(_SEQUENCE.sub("", text))


def one_line(text: str, limit: int = 500) -> str:
    """`text` on one line of at most `limit` characters: safe in a log, a subject or a terminal.

    All unprintable characters become spaces, because some that are no control characters reverse the direction of a
    line, have no width or cannot be encoded.
    """
    clean = _spaced(text).strip()
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def _spaced(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def counted(number: int, noun: str, plural: str = "s") -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}{'' if number == 1 else plural}"
