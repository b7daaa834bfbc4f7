"""The crash points of schedules: an invocation is delivered again, as Lambda does, until it has done its work."""

from __future__ import annotations

from datetime import timedelta

from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.s3_keys import success_key
from chronos_ec2.domain.records.status import Job, Status
from chronos_ec2.domain.schedules.order import Schedule
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


_PLAIN = _ordered(a_schedule())
_SUCCEEDS = (_ordered(a_schedule(then=Job.FORECAST)), _works, SUCCEEDED, TERMINATED)
_BOTH = always(Kind.COMPLETED, Kind.COMPLETED)

SCHEDULES: tuple[tuple[str, Step, Step, Promise], ...] = (
    ("its time", _PLAIN, delivered(_invoke), always(Kind.COMPLETED)),
    (
        "new data", _ordered(a_schedule(_NAME, data_set="sales")),
        delivered(lambda env: env.schedules.data_arrived("sales", NOW)), always(Kind.COMPLETED),
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
    ("a forecast follows", then(*_SUCCEEDS), lambda env: env.watchdog.lane(env.lane), _BOTH),
)  # fmt: skip
"""The name of each, how it comes about, the call, and what must be published in the end."""
