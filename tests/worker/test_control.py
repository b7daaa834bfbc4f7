"""Orders are given once and obeyed everywhere."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chronos_ec2.domain.errors import Fenced
from chronos_ec2.domain.records.status import Cause, Outcome, Stop
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.errors import Stopped
from tests.agent.builders import NOW

STOP = Stop(Cause.REQUESTED, "a person", NOW)


def test_without_an_order_work_goes_on() -> None:
    Control().check()


@pytest.mark.parametrize(("cause", "outcome"), [(Cause.REQUESTED, Outcome.KILLED), (Cause.OVER_BUDGET, Outcome.FAILED)])
def test_a_stop_ends_work_with_its_own_verdict(cause: Cause, outcome: Outcome) -> None:
    control = Control()
    control.request_stop(Stop(cause, "enough", NOW))
    control.check_fence()
    with pytest.raises(Stopped) as caught:
        control.check()
    assert (caught.value.verdict.outcome, caught.value.verdict.cause) == (outcome, cause)


def test_a_fence_goes_before_a_stop_and_is_given_once() -> None:
    heard: list[str] = []
    control = Control(on_fence=lambda: heard.append("fence"))
    control.request_stop(Stop(Cause.REQUESTED, "enough", NOW))
    control.fence("first")
    control.fence("second")
    with pytest.raises(Fenced, match="first"):
        control.check()
    assert heard == ["fence"]


def test_a_wish_for_a_checkpoint_is_taken_once_and_ends_nothing() -> None:
    control = Control()
    assert not control.take_checkpoint_request()
    control.request_checkpoint("a reason")
    control.check()
    assert control.take_checkpoint_request()
    assert not control.take_checkpoint_request()


def test_without_a_stop_all_of_the_time_is_left() -> None:
    assert Control().stop_time_left(timedelta(seconds=100), 0.5) == timedelta(seconds=50)


def test_the_time_to_leave_runs_from_the_first_order_to_stop() -> None:
    control, grace = Control(), timedelta(seconds=100)
    control.request_stop(STOP)
    first = control.stop_time_left(grace)
    control.request_stop(STOP)
    assert grace - timedelta(seconds=5) < control.stop_time_left(grace) < first < grace


def test_a_box_that_goes_soon_leaves_less_time_and_never_more_than_the_grace() -> None:
    control, grace = Control(), timedelta(seconds=600)
    control.request_stop(STOP)
    control.request_stop(Stop(Cause.PREEMPTED, "EC2", NOW), within=timedelta(seconds=100))
    assert control.stop == STOP
    assert timedelta(seconds=45) < control.stop_time_left(grace, 0.5) <= timedelta(seconds=50)
    assert control.stop_time_left(timedelta(seconds=10), 0.5) <= timedelta(seconds=5)
