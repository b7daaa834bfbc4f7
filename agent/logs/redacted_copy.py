"""A redacted copy of a log, updated while the log grows."""

from __future__ import annotations

from pathlib import Path

from agent.logs.redaction import redacted

MAX_BYTES = 4_000_000
"""Copied at a time. Nobody reads more than this per half minute, and redacting it must not keep the agent busy."""
_MAX_LINE_BYTES = 100_000


class RedactedCopy:
    """The copy has the name of the log, in another folder. It includes a last line that is still being written."""

    def __init__(self, log: Path, folder: Path) -> None:
        self.path = folder / log.name
        self.version = 0
        """Incremented with each change of the copy."""
        self._log = log
        self._copied = 0
        self._size = -1
        self._complete = 0

    def refresh(self) -> None:
        """Copy what was added to the log. Raises OSError."""
        size = self._log.stat().st_size if self._log.exists() else -1
        if size <= self._size:
            return
        self.path.parent.mkdir(exist_ok=True)
        with self._log.open("rb") as log, self.path.open("r+b" if self.path.exists() else "w+b") as copy:
            copy.truncate(self._complete)
            copy.seek(self._complete)
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
        self._copied, self._size = self._copied + skipped + end, size
        self.version += 1


def _text(raw: bytes) -> bytes:
    """Redact lines of output. A carriage return, as progress bars write, starts a new line."""
    text = raw.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(redacted(line) for line in text.split("\n")).encode()
