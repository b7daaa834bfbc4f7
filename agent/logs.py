"""Logging of the agent: stderr and `logs/agent.log`, one line a record, and both logs shipped to S3 while it runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from chronos_ec2.domain.text import one_line

_log = logging.getLogger(__name__)
_LINE = 4000
_SHIP_SECONDS = 30.0


class OneLine(logging.Formatter):
    """One record, one line, no control characters: what a trainer or a file name says cannot forge a line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)s %(threadName)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """UTC, to the second."""
        return time.strftime(datefmt or "%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))

    def format(self, record: logging.LogRecord) -> str:
        """The line. A traceback's lines are joined."""
        return one_line(" | ".join(super().format(record).splitlines()), _LINE)


def log_to(path: Path) -> Callable[[], None]:
    """Send the log to stderr and to a file; what is returned takes both back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [logging.StreamHandler(), logging.FileHandler(path, encoding="utf-8")]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    for handler in handlers:
        handler.setFormatter(OneLine())
        root.addHandler(handler)

    def undo() -> None:
        root.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()

    return undo


class LogShipper:
    """Uploads files that have grown, each half minute: the logs of a hung run matter most, and it gets no last word."""

    def __init__(self, upload: Callable[[Path], None], files: tuple[Path, ...], seconds: float = _SHIP_SECONDS) -> None:
        self._upload = upload
        self._files = files
        self._seconds = seconds
        self._sizes: dict[Path, int] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)

    def __enter__(self) -> LogShipper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(timeout=5)

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def ship(self) -> None:
        """Upload what has grown since. A log that cannot be uploaded is no reason to end a run."""
        with self._lock:
            for path in self._files:
                try:
                    size = path.stat().st_size if path.exists() else None
                    if size is not None and size != self._sizes.get(path):
                        self._upload(path)
                        self._sizes[path] = size
                except Exception as error:  # noqa: BLE001 - see above
                    _log.warning("%s not uploaded: %s", path.name, error)

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            self.ship()
