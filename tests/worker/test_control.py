"""Requests to the main thread: stop, fence, checkpoint."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chronos_ec2.domain.errors import Fenced
from chronos_ec2.domain.records.status import Cause, Outcome, Stop
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.errors import Stopped
from tests.agent.builders import NOW

STOP = Stop(Cause.REQUESTED, "a person", NOW)


def test_without_requests_work_continues() -> None:
    Control().check()


@pytest.mark.parametrize(("cause", "outcome"), [(Cause.REQUESTED, Outcome.KILLED), (Cause.OVER_BUDGET, Outcome.FAILED)])
def test_a_stop_ends_the_work_with_its_verdict(cause: Cause, outcome: Outcome) -> None:
    control = Control()
    control.request_stop(Stop(cause, "enough", NOW))
    control.check_fence()
    with pytest.raises(Stopped) as caught:
        control.check()
    assert (caught.value.verdict.outcome, caught.value.verdict.cause) == (outcome, cause)


def test_a_fence_takes_precedence_over_a_stop_and_the_first_is_kept() -> None:
    calls: list[str] = []
    control = Control(on_fence=lambda: calls.append("fence"))
    control.request_stop(Stop(Cause.REQUESTED, "enough", NOW))
    control.fence("first")
    control.fence("second")
    with pytest.raises(Fenced, match="first"):
        control.check()
    assert calls == ["fence"]


def test_a_checkpoint_request_is_taken_once_and_stops_nothing() -> None:
    control = Control()
    assert not control.take_checkpoint_request()
    control.request_checkpoint("a reason")
    control.check()
    assert control.take_checkpoint_request()
    assert not control.take_checkpoint_request()


def test_without_a_stop_all_of_the_share_is_left() -> None:
    assert Control().stop_time_left(timedelta(seconds=100), 0.5) == timedelta(seconds=50)


def test_the_stop_time_runs_from_the_first_request() -> None:
    control, grace = Control(), timedelta(seconds=100)
    control.request_stop(STOP)
    first = control.stop_time_left(grace)
    control.request_stop(STOP)
    assert grace - timedelta(seconds=5) < control.stop_time_left(grace) < first < grace


def test_an_instance_that_ends_soon_shortens_the_stop_time_which_never_exceeds_the_grace() -> None:
    control, grace = Control(), timedelta(seconds=600)
    control.request_stop(STOP)
    control.request_stop(Stop(Cause.PREEMPTED, "EC2", NOW), within=timedelta(seconds=100))
    assert control.stop == STOP
    assert timedelta(seconds=45) < control.stop_time_left(grace, 0.5) <= timedelta(seconds=50)
    assert control.stop_time_left(timedelta(seconds=10), 0.5) <= timedelta(seconds=5)


def test_the_two_minutes_of_a_notice_do_not_lengthen_a_shorter_grace() -> None:
    control = Control()
    control.request_stop(STOP, within=timedelta(seconds=100))
    assert control.stop_time_left(timedelta(seconds=10), 0.5) <= timedelta(seconds=5)
