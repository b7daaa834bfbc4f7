"""Follows the trainer's `metrics.jsonl` and counts its lines as progress."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.protocol.line_reader import LineReader
from agent.protocol.metrics_log import BEGAN, CHECKPOINT, parse_line
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.worker.progress import Progress

_log = logging.getLogger(__name__)


class MetricsTail:
    """Reads new complete lines. Lines that cannot be parsed are skipped: they prove no progress.

    Lines that exist at the start belong to an earlier attempt, whose steps may have to be repeated.
    """

    def __init__(self, path: Path, progress: Progress, on_checkpoint: Callable[[int, bool], None]) -> None:
        self._reader = LineReader(path, path.stat().st_size if path.exists() else 0)
        self._progress = progress
        self._on_checkpoint = on_checkpoint

    @property
    def started(self) -> bool:
        """Whether the trainer has written a line."""
        return self._reader.any_read

    def read(self) -> None:
        """Process the lines written since the last call."""
        lines = self._reader.peek()
        self._reader.commit()
        for line in lines:
            entry = parse_line(line)
            try:
                self._process(entry or {})
            except (ValueError, TypeError, KeyError):
                _log.warning("not a line of metrics: %s", one_line(line.decode(errors="replace"), 120))

    def _process(self, entry: dict[str, Any]) -> None:
        event = entry.get("event")
        if event is None:
            self._progress.stepped(int(entry["step"]), int(entry["total_steps"]), entry.get("loss"))
            return
        self._progress.work()
        if event == BEGAN:
            self._progress.started_from(int(entry["step"]))
        if event == CHECKPOINT:
            self._on_checkpoint(int(entry["step"]), entry.get("best") is True)
