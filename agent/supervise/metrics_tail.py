"""What the trainer writes about its work, followed while it writes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.protocol.line_reader import Lines
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.worker.progress import Progress

_log = logging.getLogger(__name__)


class MetricsTail:
    """Follows `metrics.jsonl`, and turns whole lines into progress. Broken lines are skipped: they prove nothing.

    What stands there at the beginning is an earlier attempt's, whose steps may have to be done again.
    """

    def __init__(self, path: Path, progress: Progress, on_checkpoint: Callable[[int, bool], None]) -> None:
        self._lines = Lines(path, path.stat().st_size if path.exists() else 0)
        self._progress = progress
        self._on_checkpoint = on_checkpoint

    @property
    def heard(self) -> bool:
        """Whether the trainer has said anything yet."""
        return self._lines.any_taken

    def read(self) -> None:
        """Take in what was written since."""
        fresh = self._lines.fresh()
        self._lines.take()
        for line in fresh:
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError):
                _log.warning("not a line of metrics: %s", one_line(line.decode(errors="replace"), 120))

    def _take(self, line: dict[str, Any]) -> None:
        event = line.get("event")
        if event is None:
            self._progress.stepped(int(line["step"]), int(line["total_steps"]), line.get("loss"))
            return
        self._progress.work()
        if event == "checkpoint":
            self._on_checkpoint(int(line["step"]), line.get("best") is True)
