"""Logging of the agent: stderr and `logs/agent.log`, one line a record, and both logs shipped while it runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.background import Background
from agent.logs.redacted_copy import ShownCopy
from agent.logs.redaction import shown
from agent.protocol.line_reader import LineReader
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.ports import Clock, LogStreams

_log = logging.getLogger(__name__)
_LINE = 4000
_SHIP_SECONDS = 30.0


class OneLine(logging.Formatter):
    """One record, one line, no control characters: what a trainer or a file name says cannot forge one.

    Nor does it show a secret.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)s %(threadName)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """UTC, to the second."""
        return time.strftime(datefmt or "%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))

    def format(self, record: logging.LogRecord) -> str:
        """The line. A traceback's lines are joined."""
        return one_line(shown(" | ".join(super().format(record).splitlines())), _LINE)


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


class StreamCopy:
    """Copies what logs have gained to CloudWatch, line by line. After an answer that got lost, lines come twice."""

    def __init__(self, streams: LogStreams, prefix: str, clock: Clock) -> None:
        self._streams = streams
        self._prefix = prefix
        self._clock = clock
        self._logs: dict[Path, LineReader] = {}

    def send(self, path: Path) -> None:
        """Send the new lines of a log. Raises ServiceUnavailable and NotAllowed: they are sent again the next time."""
        lines = self._logs.setdefault(path, LineReader(path))
        texts = [one_line(line.decode(errors="replace"), _LINE) for line in lines.peek()]
        if texts := [text for text in texts if text]:
            self._streams.append(self._prefix + path.name, texts, self._clock.now())
        lines.commit()


Send = Callable[[Path], None]


class LogShipper(Background):
    """Sends files that have grown, each half minute: the logs of a hung run matter most, and it gets no last word.

    Each of `routes` is a way to send, and the files that go it. What goes is a copy without secrets, in the
    folder `copies`.
    """

    def __init__(
        self, routes: Sequence[tuple[Send, tuple[Path, ...]]], copies: Path, seconds: float = _SHIP_SECONDS
    ) -> None:
        super().__init__("logs", seconds_to_end=5)
        self._routes = routes
        self._seconds = seconds
        self._copies = {path: ShownCopy(path, copies) for _, files in routes for path in files}
        self._sent: dict[tuple[int, Path], int] = {}
        self._lock = threading.Lock()

    def ship(self) -> None:
        """Send what has grown since. A log that cannot be sent is no reason to end a run."""
        with self._lock:
            for path, copy in self._copies.items():
                try:
                    copy.refresh()
                except OSError as error:
                    _log.warning("%s not read: %s", path.name, error)
            for index, (send, files) in enumerate(self._routes):
                for path in files:
                    self._send(index, send, path)

    def _send(self, index: int, send: Send, path: Path) -> None:
        copy = self._copies[path]
        if copy.version == self._sent.get((index, path), 0):
            return
        try:
            send(copy.path)
            self._sent[index, path] = copy.version
        except Exception as error:  # noqa: BLE001 - see above
            _log.warning("%s not sent: %s", path.name, error)

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            self.ship()
