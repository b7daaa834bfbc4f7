"""The agent's logging, to stderr and `logs/agent.log`, and the upload of log files while the run is in progress."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.background import Background
from agent.logs.redacted_copy import Part, RedactedCopy
from agent.logs.redaction import redacted
from agent.protocol.line_reader import LineReader
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.ports import Clock, LogStreams

_log = logging.getLogger(__name__)
_LINE = 4000
_SHIP_SECONDS = 30.0


class OneLine(logging.Formatter):
    """Formats a record as one redacted line without control characters, so that no message can forge a record."""

    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)s %(threadName)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """The time in UTC, to the second."""
        return time.strftime(datefmt or "%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))

    def format(self, record: logging.LogRecord) -> str:
        """The line. The lines of a traceback are joined."""
        return one_line(redacted(" | ".join(super().format(record).splitlines())), _LINE)


def log_to(path: Path) -> Callable[[], None]:
    """Log to stderr and to a file. Returns a function that undoes it."""
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
    """Copies new lines of logs to CloudWatch. After a lost response, lines appear twice."""

    def __init__(self, streams: LogStreams, prefix: str, clock: Clock) -> None:
        self._streams = streams
        self._prefix = prefix
        self._clock = clock
        self._readers: dict[Path, LineReader] = {}

    def send(self, part: Part) -> None:
        """Send the new lines of a log. After ServiceUnavailable or NotAllowed the next call sends them again."""
        reader = self._readers.setdefault(part.path, LineReader(part.path))
        texts = [one_line(line.decode(errors="replace"), _LINE) for line in reader.peek()]
        if texts := [text for text in texts if text]:
            self._streams.append(self._prefix + part.log, texts, self._clock.now())
        reader.commit()


Send = Callable[[Part], None]


class LogShipper(Background):
    """Uploads log files that have grown, every 30 s: a hung run may end without a last upload.

    Each route is a function that sends a part of a log, and the logs to send with it. The parts are those of redacted
    copies, kept in the folder `copies`. Beside them `NAME.shipped` says how much of a log the first route has sent in
    whole lines, and in how many parts, for the user data's ship-logs.sh, which sends the rest if this process is
    killed.
    """

    def __init__(
        self, routes: Sequence[tuple[Send, tuple[Path, ...]]], copies: Path, seconds: float = _SHIP_SECONDS
    ) -> None:
        super().__init__("logs", join_seconds=5)
        self._routes = routes
        self._seconds = seconds
        self._copies = {path: RedactedCopy(path, copies) for _, files in routes for path in files}
        self._folder = copies
        self._sent: dict[tuple[int, Part], int] = {}
        self._lock = threading.Lock()

    def ship(self) -> None:
        """Send all files that have changed. Errors are logged: they are no reason to end a run."""
        with self._lock:
            for path, copy in self._copies.items():
                try:
                    copy.refresh()
                except OSError as error:
                    _log.warning("%s not copied: %s", path.name, error)
            for index, (send, files) in enumerate(self._routes):
                for path in files:
                    try:
                        self._send(index, send, self._copies[path])
                    except Exception as error:  # noqa: BLE001 - as documented
                        _log.warning("%s not sent: %s", path.name, error)
            for path, copy in self._copies.items():
                self._drop_sent(path, copy)

    def _send(self, index: int, send: Send, copy: RedactedCopy) -> None:
        changed = [part for part, version in copy.versions.items() if self._sent.get((index, part)) != version]
        for part in changed:
            send(part)
            self._sent[index, part] = copy.versions[part]
        if changed and index == 0:
            note = self._folder / f"{changed[-1].log}.shipped"
            new = note.with_suffix(".new")
            new.write_text(f"{copy.complete} {changed[-1].number}\n")
            new.replace(note)  # this process may be killed at any moment

    def _drop_sent(self, path: Path, copy: RedactedCopy) -> None:
        routes = [index for index, (_, files) in enumerate(self._routes) if path in files]
        for part, version in list(copy.versions.items()):
            if part != copy.latest and all(self._sent.get((index, part)) == version for index in routes):
                copy.drop(part)

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            self.ship()
