"""The interruptions of a run, read from the metrics of all its attempts."""

from __future__ import annotations

import json
from pathlib import Path

BEGAN = "began"
"""The event that starts training, with the `step` it resumes from, 0 from the beginning."""


def interruptions(metrics: Path) -> list[dict[str, int]]:
    """For every attempt but the first: the step `reached` before it, and the step it `resumed_from`."""
    found: list[dict[str, int]] = []
    reached: int | None = None
    for text in metrics.read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            # An incomplete line, from an attempt that was killed.
            continue
        if line.get("event") == BEGAN:
            if reached is not None:
                found.append({"reached": reached, "resumed_from": line["step"]})
            reached = line["step"]
        elif "event" not in line and reached is not None:
            reached = max(reached, line["step"])
    return found
