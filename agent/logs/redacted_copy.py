"""A copy of a log that others may read, kept up with the log while a program writes to it."""

from __future__ import annotations

from pathlib import Path

from agent.logs.redaction import shown

MOST_BYTES = 4_000_000
"""What is taken at a time: more than this in half a minute is read by nobody, and must not keep the agent busy."""
_LONGEST_LINE = 100_000


class ShownCopy:
    """The copy has the log's own name, in another folder. A line that is not whole yet is in it as it is so far."""

    def __init__(self, log: Path, folder: Path) -> None:
        self.path = folder / log.name
        self.version = 0
        """Grows with each change of the copy."""
        self._log = log
        self._taken = 0
        self._seen = -1
        self._kept = 0

    def refresh(self) -> None:
        """Take in what the log has gained. Raises OSError."""
        size = self._log.stat().st_size if self._log.exists() else -1
        if size <= self._seen:
            return
        self.path.parent.mkdir(exist_ok=True)
        with self._log.open("rb") as log, self.path.open("r+b" if self.path.exists() else "w+b") as copy:
            copy.truncate(self._kept)
            copy.seek(self._kept)
            skipped = max(0, size - self._taken - MOST_BYTES)
            if skipped:
                copy.write(f"[{skipped} bytes of this log were left out here]\n".encode())
            log.seek(self._taken + skipped)
            gained = log.read(size - self._taken - skipped)
            # The end of a carriage return and a line feed may not be there yet.
            end = max(gained.rfind(b"\n"), gained.rfind(b"\r", 0, -1)) + 1
            if len(gained) - end > _LONGEST_LINE:
                end = len(gained)
            copy.write(_text(gained[:end]))
            self._kept = copy.tell()
            copy.write(_text(gained[end:]))
        self._taken, self._seen = self._taken + skipped + end, size
        self.version += 1


def _text(raw: bytes) -> bytes:
    """Lines of output, shown. A progress bar that goes back to the beginning of its line begins a new one."""
    text = raw.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(shown(line) for line in text.split("\n")).encode()
