"""How fast a training goes, and what it waits for: the numbers beside the loss in metrics.jsonl."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback

from agent.host import nvml
from chronos_ec2.domain.errors import InvalidInput

_SURE_STEPS = 10
"""Steps by which the pace of the rest is told."""


class Gauges:
    """Read at each line with a loss: means over the steps since the last one. `windows` are those of one step."""

    def __init__(self, windows: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._windows = windows
        self._monotonic = monotonic
        self._waited = 0.0
        self._skipped = 0
        self._since: tuple[int, float] | None = None
        self._warm: tuple[int, float] | None = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what waits for data, to add up how long."""
        began = self._monotonic()
        yield
        self._waited += self._monotonic() - began

    def stepped(self, optimizer: Any) -> None:
        """A step is done, or was left out because its gradients in half precision overflowed."""
        self._skipped += bool(getattr(optimizer, "step_was_skipped", False))

    def begin(self, step: int) -> None:
        """The first step of all comes now: what was waited for before that is start-up."""
        if self._since is None:
            self._since, self._waited = (step, self._monotonic()), 0.0
        elif self._warm is None:
            self._warm = step, self._monotonic()

    def seconds_left(self, step: int, total: int) -> float | None:
        """Until the last step, at the pace since the second one of this attempt; None until that can be told."""
        if self._warm is None or step < self._warm[0] + _SURE_STEPS:
            return None
        first, began = self._warm
        return (self._monotonic() - began) / (step - first) * (total - step)

    def read(self, step: int, optimizer: Any) -> dict[str, float]:
        """The numbers, in series a second, milliseconds a step, percent and bytes."""
        found: dict[str, float] = {}
        now = self._monotonic()
        if self._since is not None and step > self._since[0] and now > self._since[1]:
            steps = step - self._since[0]
            found["series_per_second"] = round(steps * self._windows / (now - self._since[1]), 1)
            found["data_wait_ms"] = round(1000 * self._waited / steps, 3)
        self._since, self._waited = (step, now), 0.0
        if (scaler := getattr(optimizer, "scaler", None)) is not None:
            found |= {"scaler_scale": scaler.get_scale(), "skipped_steps": self._skipped}
        if torch.cuda.is_available() and (load := nvml.load()) is not None:
            found |= {"gpu_util": load.utilisation, "gpu_mem": load.memory}
        return found


def tensorboard(folder: Path) -> TrainerCallback:
    """What writes all that is logged into TensorBoard's event files. Raises InvalidInput."""
    try:
        callback: Any = TensorBoardCallback()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        remedy = "an AMI with AgentPackages=image has to have all of agent/requirements.txt"
        raise InvalidInput("training.report_to", "the image has no tensorboardX", remedy) from error
    callback.logging_dir = str(folder)
    made: TrainerCallback = callback
    return made
