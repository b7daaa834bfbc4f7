"""Order and delete schedules. Whatever crashed between two calls of AWS, the same again converges."""

from __future__ import annotations

from chronos_ec2.domain.errors import LostRace
from chronos_ec2.domain.schedules.order import Schedule
from chronos_ec2.ports import Timetable
from chronos_ec2.services.schedules.store import ScheduleStore


def create_schedule(schedule: Schedule, orders: ScheduleStore, timetable: Timetable) -> None:
    """Order a schedule: its times first, which start nothing without an order.

    Raises:
        LostRace: there is one of its name, whose times stay, or are put back.
        InvalidInput: Scheduler refuses the expression.
        ServiceUnavailable, NotAllowed: it is not ordered, or nobody knows.
    """
    _put_times(schedule, timetable)
    try:
        orders.create(schedule)
    except LostRace:
        if winner := orders.order(schedule.name):
            _put_times(winner, timetable)
        raise


def delete_schedule(name: str, orders: ScheduleStore, timetable: Timetable) -> None:
    """Delete a schedule: the order first, without which its times start nothing. Its runs stay.

    Raises:
        ServiceUnavailable, NotAllowed: something of it may be left.
    """
    orders.delete(name)
    timetable.remove(name)


def _put_times(schedule: Schedule, timetable: Timetable) -> None:
    """Those of an interrupted creation are replaced, or removed if it waits for data."""
    if schedule.expression:
        timetable.put(schedule.name, schedule.expression)
    else:
        timetable.remove(schedule.name)
