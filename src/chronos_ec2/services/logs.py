"""The logs of a run that are in the bucket. A log grows in its latest part, which the agent uploads again each time.

Each attempt has its own logs: `logs/trainer.log` and `logs/trainer.log.0002` are the parts of the first attempt's,
`logs/trainer-2.log` is that of the second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath

from chronos_ec2.domain.records.s3_keys import LOGS, log_of_part, run_key
from chronos_ec2.ports import ObjectStore

_SUFFIX = ".log"
_PIECE_BYTES = 8 * 1024 * 1024
_MAX_PARTS = 10_000
"""Parts of logs that are listed. An agent writes far fewer."""
_MAX_LINE_BYTES = 1024 * 1024
_Logs = dict[str, dict[int, list[tuple[str, int]]]]
"""Key and size in bytes of the parts of each log, by name and attempt."""
_NUMBERED = re.compile(r"(?P<name>.+)-(?P<attempt>[1-9][0-9]*)")


def log_names(objects: ObjectStore, environment: str, run_id: str) -> tuple[str, ...]:
    """Names of the logs of a run, such as `agent` and `trainer` for the latest attempt's.

    With several attempts, each attempt's log is also listed, such as `trainer-1`. Raises ServiceUnavailable.
    """
    return tuple(_names(_logs(objects, run_key(environment, run_id, LOGS))))


def _names(logs: _Logs) -> Iterator[str]:
    for name, attempts in logs.items():
        yield name
        if len(attempts) > 1:
            yield from (f"{name}-{attempt}" for attempt in sorted(attempts))


def _logs(objects: ObjectStore, prefix: str) -> _Logs:
    found: _Logs = {}
    # Not in the order of their names: .9999 comes before .10000 in time, and after it in a listing.
    for key, size in sorted(islice(objects.keys(prefix), _MAX_PARTS), key=lambda part: log_of_part(part[0])):
        log, _ = log_of_part(key)
        if log.endswith(_SUFFIX):
            name, attempt = _split(PurePosixPath(log).stem)
            found.setdefault(name, {}).setdefault(attempt or 1, []).append((key, size))
    return found


def _split(name: str) -> tuple[str, int | None]:
    numbered = _NUMBERED.fullmatch(name)
    return (numbered["name"], int(numbered["attempt"])) if numbered else (name, None)


@dataclass(slots=True)
class LogReader:
    """Follows one log of a run: the latest attempt's, or that of the attempt in the name."""

    objects: ObjectStore
    environment: str
    run_id: str
    name: str
    max_bytes: int = 64 * 1024 * 1024
    """How much is read at a time. Of more, the end is read."""
    _key: str = field(default="", init=False)
    _read: int = field(default=0, init=False)
    _rest: bytes = field(default=b"", init=False)
    """The beginning of a line whose end is not in the bucket yet."""

    def more(self) -> list[str]:
        """The lines added since the last call. Raises ServiceUnavailable, NotAllowed.

        Only what is new is read. A new attempt's log, or one that has become shorter, is read from the beginning.
        """
        name, attempt = _split(self.name)
        attempts = _logs(self.objects, run_key(self.environment, self.run_id, LOGS + name)).get(name, {})
        parts = attempts.get(attempt or max(attempts, default=0), [])
        known = next((index for index, (key, _) in enumerate(parts) if key == self._key), 0)
        lines: list[str] = []
        added = sum(size for _, size in parts[known:])
        added -= self._read if parts[known:] and parts[known][0] == self._key else 0
        excess = added - self.max_bytes
        if excess > 0:
            lines.append(f"({excess:,} bytes are left out)")
        for key, size in parts[known:]:
            if key == self._key and size == self._read - len(self._rest):
                # A part that is over ends with its last whole line; the next one begins with the rest.
                self._read, self._rest = size, b""
            elif key != self._key or size < self._read:
                lines += self.rest()
                self._key, self._read = key, 0
            if (left_out := min(excess, size - self._read)) > 0:
                excess -= left_out
                self._read, self._rest = self._read + left_out, b""
            lines += self._added(size)
        return lines

    def _added(self, size: int) -> Iterator[str]:
        """The whole lines up to `size` of the current part that have not been read yet."""
        while size > self._read:
            piece = self.objects.piece(self._key, self._read, _PIECE_BYTES)
            if not piece:
                break  # replaced by a shorter one since it was listed
            self._read += len(piece)
            *whole, self._rest = (self._rest + piece).split(b"\n")
            yield from map(_text, whole)
            if len(self._rest) > _MAX_LINE_BYTES:
                yield from self.rest()

    def rest(self) -> list[str]:
        """The last line if it has no end, once: the end of a log that does not grow any more."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


def _text(line: bytes) -> str:
    return line.decode(errors="replace").removesuffix("\r")
