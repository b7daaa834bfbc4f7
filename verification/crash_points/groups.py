"""The crash points of groups: of whoever begins one, of the launcher after a member, and of a kill."""

from __future__ import annotations

from chronos_ec2.domain.groups.order import Group, Purpose
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.status import Status
from chronos_ec2.testing import Environment
from chronos_ec2.testing.builders import a_group
from verification.crash_points.promises import Promise, always
from verification.crash_points.schedules import delivered
from verification.crash_points.situations import SUCCEEDED, TERMINATED, Step, reconcile, then

_NAME = "sales"


def _ordered(members: int, parallel: int) -> tuple[Group, Step]:
    group = a_group(_NAME, members, parallel=parallel, purpose=Purpose.SWEEP)
    return group, lambda env: env.groups.orders.create(group)


def _go_on(env: Environment) -> object:
    return env.groups.go_on(_NAME)


def _in_first_lane(group: Group) -> Step:
    """The steps of a situation are about the lane of the first member."""
    return lambda env: setattr(env, "lane", group.lanes[0])


def _works(env: Environment) -> None:
    env.work_until(Status.TRAINING)


def _kill(env: Environment) -> object:
    return env.groups.kill(_NAME, env.watchdog, "by hand")


_TWO, _ORDER_OF_TWO = _ordered(2, 1)
_BOTH, _ORDER_OF_BOTH = _ordered(2, 2)
_FIRST_AT_WORK = (_ORDER_OF_TWO, _in_first_lane(_TWO), _go_on, _works)
_FIRST_SUCCEEDED = (*_FIRST_AT_WORK, SUCCEEDED, TERMINATED)
_WHOLE = always(Kind.COMPLETED, Kind.COMPLETED, Kind.ENDED)


GROUPS: tuple[tuple[str, Step, Step, Promise, bool], ...] = (
    ("begin", _ORDER_OF_BOTH, delivered(_go_on), _WHOLE, True),
    ("the next one", then(*_FIRST_SUCCEEDED), lambda env: env.watchdog.lane(env.lane), _WHOLE, False),
    (
        "asked twice", then(*_FIRST_SUCCEEDED, reconcile),
        delivered(lambda env: env.groups.after(_NAME, _TWO.run_ids[0])), _WHOLE, False,
    ),
    ("kill", then(*_FIRST_AT_WORK), delivered(_kill), always(Kind.KILLED, Kind.ENDED), True),
    ("kill before it begins", _ORDER_OF_TWO, delivered(_kill), always(Kind.ENDED), True),
)  # fmt: skip
"""The name of each, how it comes about, the call, what must be published in the end, and whether it is repeated."""
