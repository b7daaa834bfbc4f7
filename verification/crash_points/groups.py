"""The cases of groups: of whoever begins one, of the launcher after a member, and of a kill."""

from __future__ import annotations

from chronos_ec2.domain.groups.order import Group, Purpose
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.status import Status
from chronos_ec2.testing import Environment
from chronos_ec2.testing.builders import a_group
from verification.crash_points.case import SUCCEEDED, TERMINATED, Case, Step, delivered, reconcile

_NAME = "sales"
_TWO, _BOTH = (a_group(_NAME, 2, parallel=parallel, purpose=Purpose.SWEEP) for parallel in (1, 2))


def _order(group: Group) -> Step:
    return lambda env: env.groups.orders.create(group)


def _go_on(env: Environment) -> object:
    return env.groups.go_on(_NAME)


def _first_member_trains(env: Environment) -> None:
    env.lane = _TWO.lanes[0]  # the lane that the steps of a situation are about
    env.groups.go_on(_NAME)
    env.work_until(Status.TRAINING)


def _kill(env: Environment) -> object:
    return env.groups.kill(_NAME, env.watchdog, "by hand")


def _after_the_first(env: Environment) -> object:
    return env.groups.after(_NAME, _TWO.run_ids[0])


_FIRST_TRAINS = (_order(_TWO), _first_member_trains)
_FIRST_SUCCEEDED = (*_FIRST_TRAINS, SUCCEEDED, TERMINATED)
_WHOLE = (Kind.COMPLETED, Kind.COMPLETED, Kind.ENDED)

GROUPS = (
    Case("group: begin", (_order(_BOTH),), delivered(_go_on), _WHOLE, repeated=True),
    Case("group: the next one", _FIRST_SUCCEEDED, reconcile, _WHOLE),
    Case("group: asked twice", (*_FIRST_SUCCEEDED, reconcile), delivered(_after_the_first), _WHOLE),
    Case("group: kill", _FIRST_TRAINS, delivered(_kill), (Kind.KILLED, Kind.ENDED), repeated=True),
    Case("group: kill before it begins", (_order(_TWO),), delivered(_kill), (Kind.ENDED,), repeated=True),
)
