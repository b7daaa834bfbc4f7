"""Throughput of training: series per second, time spent waiting for data, GPU load; and TensorBoard."""

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

_MIN_STEPS = 10
"""Steps to measure before the remaining time is estimated."""


class Throughput:
    """Means over the steps since the last reading. `windows`: windows per step of all processes."""

    def __init__(self, windows: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._windows = windows
        self._monotonic = monotonic
        self._waited = 0.0
        self._skipped = 0
        self._since: tuple[int, float] | None = None
        self._second_step: tuple[int, float] | None = None

    @contextmanager
    def data_wait(self) -> Iterator[None]:
        """Adds the time within the context to the time spent waiting for data."""
        began = self._monotonic()
        yield
        self._waited += self._monotonic() - began

    def step_begins(self, step: int) -> None:
        """Time spent waiting for data before this attempt's first step is start-up and does not count."""
        if self._since is None:
            self._since, self._waited = (step, self._monotonic()), 0.0
        elif self._second_step is None:
            self._second_step = step, self._monotonic()

    def step_ends(self, optimizer: Any) -> None:
        """Counts the step if it was skipped because its fp16 gradients overflowed."""
        self._skipped += bool(getattr(optimizer, "step_was_skipped", False))

    def seconds_left(self, step: int, total: int) -> float | None:
        """Seconds to the last step at the pace since this attempt's second step; None until that is known."""
        if self._second_step is None or step < self._second_step[0] + _MIN_STEPS:
            return None
        first, began = self._second_step
        return (self._monotonic() - began) / (step - first) * (total - step)

    def read(self, step: int, optimizer: Any) -> dict[str, float]:
        """Series per second, milliseconds of data wait per step, scaler, GPU percent and bytes."""
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
    """A callback that writes all logs as TensorBoard event files. Raises InvalidInput without tensorboardX."""
    try:
        callback: Any = TensorBoardCallback()
    except RuntimeError as error:
        remedy = "an AMI with AgentPackages=image must have all of agent/requirements.txt"
        raise InvalidInput("training.report_to", "the image has no tensorboardX", remedy) from error
    callback.logging_dir = str(folder)
    made: TrainerCallback = callback
    return made
