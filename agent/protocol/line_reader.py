"""Files that others append lines to, followed while they write."""

from __future__ import annotations

from pathlib import Path


class Lines:
    """The whole lines that a file has gained since they were last taken; not what it had before `begin`."""

    def __init__(self, path: Path, begin: int = 0) -> None:
        self._path = path
        self._begin = self._taken = self._seen = begin

    @property
    def any_taken(self) -> bool:
        """Whether there was any line yet."""
        return self._taken > self._begin

    def fresh(self) -> list[bytes]:
        """The lines since the last `take`, without their ends; a line that is still being written is not among them."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._taken)
                gained = stream.read()
        except FileNotFoundError:
            return []
        whole, newline, _ = gained.rpartition(b"\n")
        self._seen = self._taken + len(whole) + len(newline)
        return whole.splitlines()

    def take(self) -> None:
        """What `fresh` gave last is not wanted again."""
        self._taken = max(self._taken, self._seen)
