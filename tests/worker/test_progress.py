"""Progress: what counts and what does not."""

from __future__ import annotations

import math
from datetime import timedelta

from chronos_ec2.worker.progress import Progress
from tests.agent.builders import FakeTime


def test_a_repeated_step_is_no_progress() -> None:
    clock = FakeTime()
    progress = Progress(clock)
    progress.stepped(5, 10, 2.0)
    clock.advance(100)
    progress.stepped(5, 10, 1.5)
    now = progress.snapshot()
    assert (now.counter, now.stalled_for, now.step, now.loss) == (1, timedelta(seconds=100), 5, 1.5)


def test_every_kind_of_work_ends_a_stall() -> None:
    clock = FakeTime()
    progress = Progress(clock)
    for work in (
        progress.work,
        progress.checkpointed,
        lambda: progress.synced(1),
        lambda: progress.stepped(1, 2, None),
    ):
        clock.advance(10)
        before = progress.snapshot().counter
        work()
        assert progress.snapshot().counter == before + 1
        assert progress.snapshot().stalled_for == timedelta(0)


def test_zero_bytes_are_no_progress() -> None:
    progress = Progress(FakeTime())
    progress.synced(0)
    assert progress.snapshot().counter == 0


def test_a_nan_loss_is_none() -> None:
    progress = Progress(FakeTime())
    progress.stepped(1, 2, math.nan)
    assert progress.snapshot().loss is None


def test_the_age_of_the_latest_checkpoint_grows() -> None:
    clock = FakeTime()
    progress = Progress(clock)
    assert progress.snapshot().checkpoint_age is None
    progress.checkpointed()
    clock.advance(30)
    assert progress.snapshot().checkpoint_age == timedelta(seconds=30)


def test_a_checkpoint_of_an_earlier_attempt_has_its_age() -> None:
    progress = Progress(FakeTime())
    progress.checkpointed(timedelta(minutes=5))
    assert progress.snapshot().checkpoint_age == timedelta(minutes=5)
