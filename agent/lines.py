"""Files that others append lines to, followed while they write."""

from __future__ import annotations

from pathlib import Path


class Lines:
    """The whole lines that a file has gained since they were last taken."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = 0
        self._seen = 0

    @property
    def any_taken(self) -> bool:
        """Whether there was any line yet."""
        return self._taken > 0

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
