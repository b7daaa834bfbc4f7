"""Reads a file that another process appends lines to."""

from __future__ import annotations

from pathlib import Path


class LineReader:
    """Reads complete lines from `start` on. `peek` returns them again until `commit`."""

    def __init__(self, path: Path, start: int = 0) -> None:
        self._path = path
        self._start = self._committed = self._peeked = start

    @property
    def any_read(self) -> bool:
        """Whether any line was committed."""
        return self._committed > self._start

    def peek(self) -> list[bytes]:
        """The complete lines since the last commit, without line ends. A line still being written is left out."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._committed)
                content = stream.read()
        except FileNotFoundError:
            return []
        complete, newline, _ = content.rpartition(b"\n")
        self._peeked = self._committed + len(complete) + len(newline)
        return complete.splitlines()

    def commit(self) -> None:
        """Mark the lines of the last `peek` as read."""
        self._committed = max(self._committed, self._peeked)
