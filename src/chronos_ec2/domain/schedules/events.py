"""Parses what invokes schedules and groups. Total: anything else is None, or `Ignored` with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from chronos_ec2.domain.errors import InvalidDocument, InvalidInput
from chronos_ec2.domain.events import Ignored, original
from chronos_ec2.domain.groups.order import check_group_name
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.parsing.times import parse_time
from chronos_ec2.domain.records.run import check_run_id
from chronos_ec2.domain.records.s3_keys import data_set_of
from chronos_ec2.domain.schedules.order import check_schedule_name


@dataclass(frozen=True, slots=True)
class TimeHasCome:
    """A schedule is to start its run for a time."""

    schedule: str
    at: datetime


@dataclass(frozen=True, slots=True)
class DataArrived:
    """A data set is whole, as of a time."""

    data_set: str
    at: datetime


@dataclass(frozen=True, slots=True)
class MemberEnded:
    """A run of a group has ended; the watchdog asks the group to go on."""

    group: str
    run_id: str


@dataclass(frozen=True, slots=True)
class RunSucceeded:
    """A run of a schedule has succeeded; the watchdog asks for what follows it."""

    schedule: str
    run_id: str


Invocation = TimeHasCome | DataArrived | RunSucceeded | MemberEnded


def parse_invocation(raw: object, environment: str) -> Invocation | Ignored | None:
    """The invocation of schedules or groups in `raw`, None if it is about something else. Never raises."""
    raw = original(raw)
    if not isinstance(raw, Mapping):
        return None
    try:
        if raw.get("source") == "aws.s3":
            return _data_arrived(raw, environment)
        if "group" in raw:
            return _of_group(raw)
        if "schedule" in raw:
            return _of_schedule(raw)
    except (InvalidInput, InvalidDocument, ValueError) as error:
        return Ignored(one_line(str(error), 120))
    return None


def _of_schedule(raw: Mapping[str, object]) -> TimeHasCome | RunSucceeded | Ignored:
    name, at, after = raw.get("schedule"), raw.get("at"), raw.get("after")
    if isinstance(name, str) and isinstance(after, str):
        return RunSucceeded(check_schedule_name(name), check_run_id(after))
    if isinstance(name, str) and isinstance(at, str):
        return TimeHasCome(check_schedule_name(name), parse_time(at))
    return Ignored("no schedule and time")


def _of_group(raw: Mapping[str, object]) -> MemberEnded | Ignored:
    name, after = raw.get("group"), raw.get("after")
    if isinstance(name, str) and isinstance(after, str):
        return MemberEnded(check_group_name(name), check_run_id(after))
    return Ignored("no group and run id")


def _data_arrived(raw: Mapping[str, object], environment: str) -> DataArrived | Ignored:
    detail, at = raw.get("detail"), raw.get("time")
    written = detail.get("object") if isinstance(detail, Mapping) else None
    key = written.get("key") if isinstance(written, Mapping) else None
    data_set = data_set_of(environment, key) if isinstance(key, str) else None
    if data_set is None or not isinstance(at, str):
        return Ignored("not the mark of a data set of this environment")
    return DataArrived(data_set, parse_time(at))
