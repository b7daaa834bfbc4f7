"""The crash points of schedules: an invocation is delivered again, as Lambda does, until it has done its work.

An order that was interrupted, and the deletion of one, are repeated by whoever gave it.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from chronos_ec2.domain.errors import LostRace, ServiceUnavailable
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.s3_keys import success_key
from chronos_ec2.domain.records.status import Job, Status
from chronos_ec2.domain.schedules.order import Schedule
from chronos_ec2.services.schedules.ordering import create_schedule, delete_schedule
from chronos_ec2.testing import Environment
from chronos_ec2.testing.builders import NOW, a_schedule
from chronos_ec2.testing.environment import DATA
from verification.crash_points.promises import Promise, always
from verification.crash_points.situations import SUCCEEDED, TERMINATED, Step, then, training

_NAME = "nightly"
_RETRIES = (timedelta(minutes=1), timedelta(minutes=2))


def _ordered(schedule: Schedule) -> Step:
    """A schedule whose data set is whole."""

    def prepare(env: Environment) -> None:
        env.objects.write(success_key(env.name, DATA), b"")
        env.schedules.orders.create(schedule)

    return prepare


def delivered(call: Step) -> Step:
    """A call that Lambda repeats while it fails; when its process dies, the test does."""

    def deliver(env: Environment) -> object:
        for wait in _RETRIES:
            try:
                return call(env)
            except ServiceUnavailable:
                env.pass_time(wait)
        return call(env)

    return deliver


def _invoke(env: Environment) -> object:
    return env.schedules.invoke(_NAME, NOW)


def _data_arrive(env: Environment) -> object:
    return env.schedules.data_arrived("sales", NOW)


def _next_day(env: Environment) -> object:
    return env.schedules.invoke(_NAME, NOW + timedelta(days=1))


def _works(env: Environment) -> None:
    """The run of the schedule is in training."""
    _invoke(env)
    env.work_until(Status.TRAINING)


def _ends(env: Environment) -> None:
    """It ends, and nothing of it is left."""
    while not env.settled:
        env.tick()


def _a_day_later(env: Environment) -> None:
    env.pass_time(NOW + timedelta(days=1) - env.clock.now())


def _create(schedule: Schedule) -> Step:
    """An operator orders a schedule; if it is there already, it is told so."""

    def create(env: Environment) -> None:
        with suppress(LostRace):
            create_schedule(schedule, env.schedules.orders, env.aws.timetable)

    return create


def _delete(env: Environment) -> None:
    delete_schedule(_NAME, env.schedules.orders, env.aws.timetable)


def _whole(starts: Step) -> Promise:
    """What was ordered is there with its times, or without any, and what it waits for starts its run."""

    def promise(env: Environment, _crashed: bool) -> tuple[Kind, ...]:
        schedule = env.schedules.orders.order(_NAME)
        if schedule is not None and env.aws.timetable.times == _times(schedule):
            starts(env)
        return (Kind.COMPLETED,)

    return promise


def _times(schedule: Schedule) -> dict[str, tuple[str, bool]]:
    return {} if schedule.expression is None else {schedule.name: (schedule.expression, True)}


def _interrupted(env: Environment) -> None:
    """An order that was interrupted has left its times."""
    env.objects.write(success_key(env.name, DATA), b"")
    env.aws.timetable.put(_NAME, "rate(6 hours)")


_ON_SALES = a_schedule(_NAME, data_set="sales")
_PLAIN = _ordered(a_schedule())
_SUCCEEDS = (_ordered(a_schedule(then=Job.FORECAST)), _works, SUCCEEDED, TERMINATED)
_BOTH = always(Kind.COMPLETED, Kind.COMPLETED)

SCHEDULES: tuple[tuple[str, Step, Step, Promise], ...] = (
    ("its time", _PLAIN, delivered(_invoke), always(Kind.COMPLETED)),
    (
        "new data", _ordered(_ON_SALES), delivered(_data_arrive), always(Kind.COMPLETED),
    ),
    ("delivered twice", then(_PLAIN, _works), delivered(_invoke), always(Kind.COMPLETED)),
    ("delivered twice, its run over", then(_PLAIN, _works, _ends), delivered(_invoke), always(Kind.COMPLETED)),
    (
        "unchanged data", then(_PLAIN, _works, _ends, _a_day_later), delivered(_next_day), always(Kind.COMPLETED),
    ),
    ("busy lane", then(training, _PLAIN), delivered(_invoke), always(Kind.SKIPPED, Kind.COMPLETED)),
    (
        "spent month", _ordered(a_schedule(max_cost_usd=5.0, max_cost_per_month_usd=4.0)),
        delivered(_invoke), always(Kind.SKIPPED),
    ),
    ("create", _interrupted, _create(a_schedule()), _whole(_invoke)),
    ("create, waits for data", _interrupted, _create(_ON_SALES), _whole(_data_arrive)),
    ("create, its name is taken", then(_interrupted, _create(_ON_SALES)), _create(a_schedule()), _whole(_data_arrive)),
    ("delete", then(_interrupted, _create(a_schedule()), _works, _ends), _delete, always(Kind.COMPLETED)),
    ("delete, its run at work", then(_interrupted, _create(a_schedule()), _works), _delete, always(Kind.COMPLETED)),
    ("a forecast follows", then(*_SUCCEEDS), lambda env: env.watchdog.lane(env.lane), _BOTH),
)  # fmt: skip
"""The name of each, how it comes about, the call, and what must be published in the end."""
