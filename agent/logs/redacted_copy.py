"""A redacted copy of a log in parts, continued while the log grows.

For the user data's ship-logs.sh, `python -m agent.logs.redacted_copy LOG OFFSET` prints the rest of a log, redacted.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from agent.logs.redaction import redacted

MAX_BYTES = 4_000_000
"""Copied at a time. Nobody reads more than this per half minute, and redacting it must not keep the agent busy."""
PART_BYTES = 1_000_000
"""A part is followed by another once it has this size. Each upload of a part leaves an old version in the bucket."""
MAX_PARTS = 250
"""Further parts replace the last one: of a log that does not end, the bucket keeps the beginning and the end."""
_MAX_LINE_BYTES = 100_000
_OMITTED = b"[a part of this log was omitted]\n"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a log: the log's file name, the part's number in the bucket from 1 on, and the file that holds it."""

    log: str
    number: int
    path: Path


class RedactedCopy:
    """The parts end with whole lines, but the latest one includes a last line that is still being written."""

    def __init__(self, log: Path, folder: Path, part_bytes: int = PART_BYTES, max_parts: int = MAX_PARTS) -> None:
        self.size = -1
        """The bytes of the log that the copy covers."""
        self.versions: dict[Part, int] = {}
        """The parts in order, each with the number of its changes."""
        self._log = log
        self._folder = folder
        self._part_bytes = part_bytes
        self._max_parts = max_parts
        self._number = 1
        self._copied = 0
        self._complete = 0

    @property
    def complete(self) -> int:
        """The bytes of the log up to the line that is still being written."""
        return self._copied

    @property
    def latest(self) -> Part:
        """The only part that still changes."""
        path = self._folder / f"{self._log.name}.{self._number}"
        return Part(self._log.name, min(self._number, self._max_parts), path)

    def refresh(self) -> None:
        """Copy what was added to the log. Raises OSError."""
        size = self._log.stat().st_size if self._log.exists() else -1
        if size <= self.size:
            return
        self._folder.mkdir(exist_ok=True)
        if self._complete >= self._part_bytes:
            self._start_part()
        with self._log.open("rb") as log, self.latest.path.open("r+b" if self._complete else "w+b") as copy:
            copy.truncate(self._complete)
            copy.seek(self._complete)
            if self._number > self._max_parts and not self._complete:
                copy.write(_OMITTED)
            skipped = max(0, size - self._copied - MAX_BYTES)
            if skipped:
                copy.write(f"[{skipped} bytes of this log omitted]\n".encode())
            log.seek(self._copied + skipped)
            added = log.read(size - self._copied - skipped)
            # A carriage return at the very end may be half of a CR LF.
            end = max(added.rfind(b"\n"), added.rfind(b"\r", 0, -1)) + 1
            if len(added) - end > _MAX_LINE_BYTES:
                end = len(added)
            copy.write(_text(added[:end]))
            self._complete = copy.tell()
            copy.write(_text(added[end:]))
        self._copied, self.size = self._copied + skipped + end, size
        self._changed()

    def drop(self, part: Part) -> None:
        """Delete a part that was sent and changes no more."""
        del self.versions[part]
        part.path.unlink(missing_ok=True)

    def _start_part(self) -> None:
        """The next part begins with the line that is still being written."""
        if self.latest.path.stat().st_size > self._complete:
            with self.latest.path.open("r+b") as copy:
                copy.truncate(self._complete)
            self._changed()
        self._number += 1
        self._complete = 0

    def _changed(self) -> None:
        self.versions[self.latest] = self.versions.get(self.latest, 0) + 1


def rest(log: Path, offset: int) -> bytes:
    """What a log has after `offset`, redacted: at most its last 4 MB, from the beginning of a line on."""
    begin = max(offset, log.stat().st_size - MAX_BYTES)
    with log.open("rb") as stream:
        stream.seek(begin)
        raw = stream.read(MAX_BYTES)
    # The beginning of a secret may be in what is left out.
    return _text(raw if begin == offset else raw.partition(b"\n")[2])


def _text(raw: bytes) -> bytes:
    """Redact lines of output. A carriage return, as progress bars write, starts a new line."""
    text = raw.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(redacted(line) for line in text.split("\n")).encode()


if __name__ == "__main__":
    sys.stdout.buffer.write(rest(Path(sys.argv[1]), int(sys.argv[2])))
