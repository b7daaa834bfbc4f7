"""Counts progress: steps, bytes, checkpoints. A hung trainer still runs, logs and loads the GPU; none of it counts."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All counters at one moment. `checkpoint_age` is the age of the latest checkpoint in S3."""

    counter: int
    stalled_for: timedelta
    step: int
    total_steps: int
    bytes_synced: int
    loss: float | None
    trainer_pid: int | None
    checkpoint_age: timedelta | None


class Progress:
    """The counters, updated from any thread. Time is the monotonic clock of the instance.

    `news` is set when the next heartbeat must not wait: with the first checkpoint, without which a lost run ends.
    """

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
        self.news = threading.Event()

    def work(self) -> None:
        """Count work of any other kind."""
        with self._lock:
            self._move()

    def synced(self, count: int) -> None:
        """Count bytes moved to or from S3. Zero bytes are no progress."""
        with self._lock:
            self._bytes += count
            if count > 0:
                self._move()

    def stepped(self, step: int, total_steps: int, loss: float | None) -> None:
        """Record the trainer's step. A step that is not beyond the last one is no progress."""
        with self._lock:
            self._total_steps = total_steps
            if loss is not None:
                self._loss = loss if math.isfinite(loss) else None
            if step > self._step:
                self._step = step
                self._move()

    def started_from(self, step: int) -> None:
        """Training starts from this step, perhaps over again: the steps after it are progress, also if repeated."""
        with self._lock:
            self._step = step

    def trainer(self, pid: int | None) -> None:
        """Record the trainer's process id, None once it has exited."""
        with self._lock:
            self._pid = pid

    def checkpointed(self, age: timedelta = timedelta(0)) -> None:
        """Record a complete checkpoint in S3, written `age` ago."""
        with self._lock:
            if self._checkpoint_at is None:
                self.news.set()
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
