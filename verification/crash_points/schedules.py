"""The cases of schedules: an invocation is delivered again, as Lambda does, until it has done its work.

An order that was interrupted, and the deletion of one, are repeated by whoever gave it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial

from chronos_ec2.domain.errors import LostRace
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.s3_keys import success_key
from chronos_ec2.domain.records.status import Job, Status
from chronos_ec2.domain.schedules.order import Schedule
from chronos_ec2.services.schedules.ordering import create_schedule, delete_schedule
from chronos_ec2.testing import Environment
from chronos_ec2.testing.builders import NOW, a_schedule
from chronos_ec2.testing.environment import DATA
from verification.crash_points.case import (
    SUCCEEDED,
    TERMINATED,
    Case,
    Kinds,
    Step,
    conclude,
    delivered,
    reconcile,
    training,
)

_NAME = "nightly"
_TOMORROW = NOW + timedelta(days=1)


def _data_are_there(env: Environment) -> None:
    env.objects.write(success_key(env.name, DATA), b"")


def _ordered(schedule: Schedule) -> tuple[Step, ...]:
    """A schedule whose data set is whole."""
    return _data_are_there, lambda env: env.schedules.orders.create(schedule)


def _invoke(env: Environment) -> object:
    return env.schedules.invoke(_NAME, NOW)


def _invoke_tomorrow(env: Environment) -> object:
    return env.schedules.invoke(_NAME, _TOMORROW)


def _data_arrive(env: Environment) -> object:
    return env.schedules.data_arrived("sales", NOW)


def _create(schedule: Schedule) -> Step:
    """An operator orders a schedule; if it is there already, it is told so."""

    def create(env: Environment) -> None:
        with suppress(LostRace):
            create_schedule(schedule, env.schedules.orders, env.aws.timetable)

    return create


def _delete(env: Environment) -> None:
    delete_schedule(_NAME, env.schedules.orders, env.aws.timetable)


def _whole(starts: Step) -> Callable[[Environment], Kinds]:
    """What was ordered is there with its times, or without any, and what it waits for starts its run."""

    def promise(env: Environment) -> Kinds:
        schedule = env.schedules.orders.order(_NAME)
        if schedule is not None:
            times = {} if schedule.expression is None else {schedule.name: (schedule.expression, True)}
            if env.aws.timetable.times == times:
                starts(env)
        return (Kind.COMPLETED,)

    return promise


_TRAINS: tuple[Step, ...] = (_invoke, lambda env: env.work_until(Status.TRAINING))
_ENDS = (*_TRAINS, conclude)
_ON_SALES, _SPENT = a_schedule(_NAME, data_set="sales"), a_schedule(max_cost_usd=5.0, max_cost_per_month_usd=4.0)
_PLAIN = _ordered(a_schedule())
_A_DAY_LATER = (*_PLAIN, *_ENDS, lambda env: env.pass_time(_TOMORROW - env.clock.now()))
_INTERRUPTED = (_data_are_there, lambda env: env.aws.timetable.put(_NAME, "rate(6 hours)"))
"""An order that was interrupted has left its times."""
_CREATED, _TAKEN = (*_INTERRUPTED, _create(a_schedule())), (*_INTERRUPTED, _create(_ON_SALES))
_SUCCEEDS = (*_ordered(a_schedule(then=Job.FORECAST)), *_TRAINS, SUCCEEDED, TERMINATED)
_ONE = (Kind.COMPLETED,)
_case = partial(Case, repeated=True)

SCHEDULES = (
    _case("schedule: its time", _PLAIN, delivered(_invoke), _ONE),
    _case("schedule: new data", _ordered(_ON_SALES), delivered(_data_arrive), _ONE),
    _case("schedule: delivered twice", (*_PLAIN, *_TRAINS), delivered(_invoke), _ONE),
    _case("schedule: delivered twice, its run over", (*_PLAIN, *_ENDS), delivered(_invoke), _ONE),
    _case("schedule: unchanged data", _A_DAY_LATER, delivered(_invoke_tomorrow), _ONE),
    _case("schedule: busy lane", (training, *_PLAIN), delivered(_invoke), (Kind.SKIPPED, Kind.COMPLETED)),
    _case("schedule: spent month", _ordered(_SPENT), delivered(_invoke), (Kind.SKIPPED,)),
    _case("schedule: create", _INTERRUPTED, _create(a_schedule()), _whole(_invoke)),
    _case("schedule: create, waits for data", _INTERRUPTED, _create(_ON_SALES), _whole(_data_arrive)),
    _case("schedule: create, its name is taken", _TAKEN, _create(a_schedule()), _whole(_data_arrive)),
    _case("schedule: delete", (*_CREATED, *_ENDS), _delete, _ONE),
    _case("schedule: delete, its run at work", (*_CREATED, *_TRAINS), _delete, _ONE),
    Case("schedule: a forecast follows", _SUCCEEDS, reconcile, _ONE * 2),
)
