"""Whether the schedules of an environment can start their runs."""

from __future__ import annotations

from collections.abc import Iterator

from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.records.s3_keys import bundle_key, success_key
from chronos_ec2.domain.schedules.order import Schedule
from chronos_ec2.ports import Timetable
from chronos_ec2.services.doctor.diagnosis import Diagnosis, Health
from chronos_ec2.services.schedules.store import ScheduleStore

_PART = "schedules"


def diagnose_schedules(orders: ScheduleStore, timetable: Timetable) -> Iterator[Diagnosis]:
    """What keeps schedules from starting runs. Raises ServiceUnavailable, NotAllowed."""
    times, names = timetable.listed(), orders.names()
    for name in sorted(times.keys() - set(names)):
        text = f"EventBridge Scheduler has times of schedule {name}, which has no order, so they start nothing"
        yield Diagnosis(_PART, Health.WARNING, text, f"`chronos-ec2 schedule delete {name}` removes them")
    for name in names:
        try:
            schedule = orders.order(name)
        except InvalidDocument as error:
            remedy = f"`chronos-ec2 schedule delete {name}`, and create it again"
            yield Diagnosis(_PART, Health.BROKEN, f"the order of schedule {name} cannot be read: {error}", remedy)
            continue
        if schedule:
            yield from _of(schedule, orders, times.get(name))


def _of(schedule: Schedule, orders: ScheduleStore, switched_on: bool | None) -> Iterator[Diagnosis]:
    name, path = schedule.name, schedule.run.data_path
    if not schedule.enabled:
        remedy = f"`chronos-ec2 schedule resume {name}` goes on"
        yield Diagnosis(_PART, Health.WARNING, f"schedule {name} is paused", remedy)
    if schedule.expression and not switched_on:
        text = f"EventBridge Scheduler has no times of schedule {name}, or they are switched off, so it starts nothing"
        yield Diagnosis(_PART, Health.BROKEN, text, f"`chronos-ec2 schedule delete {name}`, and create it again")
    elif orders.objects.read(success_key(orders.environment, path)) is None:
        text = f"schedule {name} waits for {path}_SUCCESS, the mark of a whole data set"
        yield Diagnosis(_PART, Health.WARNING, text, "`chronos-ec2 upload data` writes it")
    else:
        yield Diagnosis(_PART, Health.OK, f"{name}: {schedule.when}")
    key = bundle_key(schedule.run.request.bundle_sha256)
    if key not in dict(orders.objects.keys(key)):
        text = f"{key}, the agent of schedule {name}, is gone from the bucket"
        yield Diagnosis(_PART, Health.BROKEN, text, f"`chronos-ec2 schedule delete {name}`, and create it again")
