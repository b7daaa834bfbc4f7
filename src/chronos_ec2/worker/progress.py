"""Signs of work, counted. Only what really moved is counted: a hung trainer still lives, logs and heats the GPU."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All counters at one moment. `checkpoint_age` is the age of the newest checkpoint in S3."""

    counter: int
    stalled_for: timedelta
    step: int
    total_steps: int
    bytes_synced: int
    loss: float | None
    trainer_pid: int | None
    checkpoint_age: timedelta | None


class Progress:
    """The counters. Written by any thread; time is the box's monotonic clock."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._counter = 0
        self._moved_at = monotonic()
        self._step = 0
        self._total_steps = 0
        self._bytes = 0
        self._loss: float | None = None
        self._pid: int | None = None
        self._checkpoint_at: float | None = None

    def work(self) -> None:
        """Something was done."""
        with self._lock:
            self._move()

    def synced(self, count: int) -> None:
        """So many bytes came from, or went to, S3."""
        with self._lock:
            self._bytes += count
            if count > 0:
                self._move()

    def stepped(self, step: int, total_steps: int, loss: float | None) -> None:
        """The trainer is at this step. Hearing of the same step again is no progress."""
        with self._lock:
            self._total_steps = total_steps
            if loss is not None:
                self._loss = loss if math.isfinite(loss) else None
            if step > self._step:
                self._step = step
                self._move()

    def trainer(self, pid: int | None) -> None:
        """The trainer's process, None when it is gone."""
        with self._lock:
            self._pid = pid

    def checkpointed(self, age: timedelta = timedelta(0)) -> None:
        """A checkpoint is complete in S3, and has been for so long."""
        with self._lock:
            self._checkpoint_at = self._monotonic() - age.total_seconds()
            self._move()

    def snapshot(self) -> Snapshot:
        """All counters, consistent with each other."""
        with self._lock:
            now = self._monotonic()
            age = None if self._checkpoint_at is None else timedelta(seconds=now - self._checkpoint_at)
            stalled = timedelta(seconds=now - self._moved_at)
            return Snapshot(
                self._counter, stalled, self._step, self._total_steps, self._bytes, self._loss, self._pid, age
            )

    def _move(self) -> None:
        self._counter += 1
        self._moved_at = self._monotonic()
