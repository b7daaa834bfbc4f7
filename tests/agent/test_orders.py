"""Orders are given once and obeyed everywhere."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.endings import Stopped
from agent.orders import Orders
from chronos_ec2.domain.errors import Fenced
from chronos_ec2.domain.run import Cause, Outcome, Stop
from tests.agent.builders import NOW

STOP = Stop(Cause.REQUESTED, "a person", NOW)


def test_without_an_order_work_goes_on() -> None:
    Orders().check()


@pytest.mark.parametrize(("cause", "outcome"), [(Cause.REQUESTED, Outcome.KILLED), (Cause.OVER_BUDGET, Outcome.FAILED)])
def test_a_stop_ends_work_with_its_own_verdict(cause: Cause, outcome: Outcome) -> None:
    orders = Orders()
    orders.give_stop(Stop(cause, "enough", NOW))
    orders.check_fence()
    with pytest.raises(Stopped) as caught:
        orders.check()
    assert (caught.value.verdict.outcome, caught.value.verdict.cause) == (outcome, cause)


def test_a_fence_goes_before_a_stop_and_is_given_once() -> None:
    heard: list[str] = []
    orders = Orders(on_fence=lambda: heard.append("fence"))
    orders.give_stop(Stop(Cause.REQUESTED, "enough", NOW))
    orders.fence("first")
    orders.fence("second")
    with pytest.raises(Fenced, match="first"):
        orders.check()
    assert heard == ["fence"]


def test_a_wish_for_a_checkpoint_is_taken_once_and_ends_nothing() -> None:
    orders = Orders()
    assert not orders.take_checkpoint_wish()
    orders.ask_for_checkpoint("a reason")
    orders.check()
    assert orders.take_checkpoint_wish()
    assert not orders.take_checkpoint_wish()


def test_without_a_stop_all_of_the_time_is_left() -> None:
    assert Orders().time_to_leave(timedelta(seconds=100), 0.5) == timedelta(seconds=50)


def test_the_time_to_leave_runs_from_the_first_order_to_stop() -> None:
    orders, grace = Orders(), timedelta(seconds=100)
    orders.give_stop(STOP)
    first = orders.time_to_leave(grace)
    orders.give_stop(STOP)
    assert grace - timedelta(seconds=5) < orders.time_to_leave(grace) < first < grace


def test_a_box_that_goes_soon_leaves_less_time_and_never_more_than_the_grace() -> None:
    orders, grace = Orders(), timedelta(seconds=600)
    orders.give_stop(STOP)
    orders.give_stop(Stop(Cause.PREEMPTED, "EC2", NOW), within=timedelta(seconds=100))
    assert orders.stop == STOP
    assert timedelta(seconds=45) < orders.time_to_leave(grace, 0.5) <= timedelta(seconds=50)
    assert orders.time_to_leave(timedelta(seconds=10), 0.5) <= timedelta(seconds=5)
