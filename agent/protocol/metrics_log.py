"""`metrics.jsonl`: one JSON object a line, appended by the trainer and followed by the agent.

Every line is a sign of progress. A step has `step`, `total_steps`, and now and then `loss`, `lr`, `steps_per_second`
since the first step, and other numbers (docs/training.md). All other lines are events:

- `attempt` (`attempt`, `step`), written by the agent: this attempt starts, and resumes from that step
- `loading` (`done`, `total`): data are read
- `began` (`step`): training starts from that step, or starts over after a batch did not fit into memory
- `checkpoint` (`step`, and `best` if none was better)
- `short_of_time` (`step`, `expected`, `total_steps`): training will end before its last step
- `validating` (`step`): a validation is going on
- `evaluating` (`done`, `total`): windows, or series of the baselines

A forecast's steps are series, and its checkpoints the parts of its output (`agent.protocol.forecast_parts`). The steps
of a comparison are windows, those of all models, and it has a checkpoint after each model.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ATTEMPT, BEGAN, CHECKPOINT = "attempt", "began", "checkpoint"
_LINE_SECONDS = 1.0


class Metrics:
    """Appends lines to `metrics.jsonl`, each complete and flushed, because the agent reads while we write."""

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._file = path.open("a", encoding="utf-8")
        if path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            # A writer that was killed left a partial line. Ours must not be appended to it.
            self._file.write("\n")
        self._monotonic = monotonic
        self._rate_since: tuple[float, int] | None = None
        self._last_line = -math.inf

    def event(self, name: str, **details: Any) -> None:
        """Write a line for work other than a step."""
        self._append({"event": name, **details})

    def ongoing(self, name: str, **details: Any) -> None:
        """Write a line for one of many pieces of work: at most one a second."""
        if self._monotonic() - self._last_line >= _LINE_SECONDS:
            self._last_line = self._monotonic()
            self.event(name, **details)

    def step(
        self, step: int, total_steps: int, loss: float | None = None, lr: float | None = None, **gauges: float
    ) -> None:
        """Write a line for a step: at most one a second without a loss, and with further numbers."""
        now = self._monotonic()
        since, at = self._rate_since or (now, step)
        if self._rate_since is None:
            self._rate_since = (now, step)
        last = step >= total_steps
        if loss is None and not last and now - self._last_line < _LINE_SECONDS:
            return
        self._last_line = now
        line: dict[str, Any] = {"step": step, "total_steps": total_steps}
        if loss is not None:
            line |= {"loss": _finite(loss), "lr": lr}
        line |= {name: _finite(value) for name, value in gauges.items()}
        if now > since:
            line["steps_per_second"] = round((step - at) / (now - since), 3)
        self._append(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()


def _finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def start_attempt(metrics: Path, attempt: int, step: int) -> None:
    """Append the `attempt` event to the lines of earlier attempts, and drop a partial last line."""
    complete = metrics.read_bytes().rpartition(b"\n")[0]
    event = json.dumps({"event": ATTEMPT, "attempt": attempt, "step": step}).encode()
    metrics.write_bytes(b"\n".join(part for part in (complete, event) if part) + b"\n")


def parse_line(line: str | bytes) -> dict[str, Any] | None:
    """One line; None if it is not a JSON object, like the partial last line of a trainer that was killed."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def read_metrics(metrics: Path) -> Iterator[dict[str, Any]]:
    """All lines, those that cannot be parsed left out; none if there is no file."""
    if metrics.exists():
        yield from filter(None, map(parse_line, metrics.read_text().splitlines()))


def losses(metrics: Path) -> list[tuple[float, float]]:
    """(step, loss) of all attempts. Of steps that were repeated, the last ones count."""
    points: list[tuple[float, float]] = []
    for line in read_metrics(metrics):
        if line.get("event") in (ATTEMPT, BEGAN):
            points = [point for point in points if point[0] <= line["step"]]
        elif line.get("loss") is not None:
            points.append((float(line["step"]), float(line["loss"])))
    return points


def interruptions(metrics: Path) -> list[dict[str, int]]:
    """Each time that training started over or resumed: the step it had `reached`, and was `resumed_from`."""
    found: list[dict[str, int]] = []
    reached: int | None = None
    for line in read_metrics(metrics):
        if line.get("event") == BEGAN:
            if reached is not None:
                found.append({"reached": reached, "resumed_from": line["step"]})
            reached = line["step"]
        elif "event" not in line and reached is not None:
            reached = max(reached, line["step"])
    return found
