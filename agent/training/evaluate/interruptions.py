"""What the lines of metrics of all attempts say of a run's interruptions."""

from __future__ import annotations

import json
from pathlib import Path

BEGAN = "began"
"""The event with which training begins, with the `step` that it goes on from."""


def interruptions(metrics: Path) -> list[dict[str, int]]:
    """Each time that training began anew or went on: the step that it had `reached`, and that it was `resumed_from`."""
    found: list[dict[str, int]] = []
    reached: int | None = None
    for text in metrics.read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            # The last line of an attempt that was killed.
            continue
        if line.get("event") == BEGAN:
            if reached is not None:
                found.append({"reached": reached, "resumed_from": line["step"]})
            reached = line["step"]
        elif "event" not in line and reached is not None:
            reached = max(reached, line["step"])
    return found
