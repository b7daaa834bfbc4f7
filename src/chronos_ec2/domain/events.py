"""Parses raw EventBridge events into values. Total: a foreign or malformed event is `Ignored` with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.parsing.names import INSTANCE_ID_PATTERN, one_line
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import RUN_ID_PATTERN, run_of_report


@dataclass(frozen=True, slots=True)
class StateWritten:
    """A lane's lock was written or deleted."""

    bucket: str
    lane: Lane


@dataclass(frozen=True, slots=True)
class RunReported:
    """An instance has written its claim, status or outcome of a run."""

    bucket: str
    environment: str
    run_id: str


@dataclass(frozen=True, slots=True)
class InstanceStateChanged:
    """The state of an instance changed."""

    instance_id: str
    state: InstanceState


@dataclass(frozen=True, slots=True)
class SpotInterruption:
    """EC2 will reclaim the spot instance in two minutes."""

    instance_id: str


@dataclass(frozen=True, slots=True)
class RebalanceRecommendation:
    """The spot instance is at elevated risk of interruption."""

    instance_id: str


@dataclass(frozen=True, slots=True)
class RelaunchWanted:
    """The watchdog asks for the instance of a run's current attempt."""

    lane: Lane
    run_id: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event that needs no action."""

    reason: str


Event = StateWritten | RunReported | InstanceStateChanged | SpotInterruption | RebalanceRecommendation | Ignored


def parse_event(raw: object) -> Event:
    """The event in `raw`. Never raises."""
    raw = original(raw)
    if not isinstance(raw, Mapping):
        return Ignored("not a JSON object")
    kind = (raw.get("source"), raw.get("detail-type"))
    detail = raw.get("detail")
    if not isinstance(detail, Mapping):
        return Ignored("no detail")
    if not all(isinstance(part, str) for part in kind):
        return Ignored("no source or detail-type")
    parser = _PARSERS.get(kind)
    return parser(detail) if parser else Ignored(one_line(f"not ours: {kind[0]}, {kind[1]}", 120))


def parse_batch(raw: object) -> dict[Event, tuple[str, ...]]:
    """The events in a batch of messages of SQS, each once, with the ids of its messages. Never raises.

    Anything else is a batch of one event without a message.
    """
    records = raw.get("Records") if isinstance(raw, Mapping) else None
    if not isinstance(records, Sequence) or isinstance(records, str):
        return {parse_event(raw): ()}
    found: dict[Event, tuple[str, ...]] = {}
    for record in records:
        message = record.get("messageId") if isinstance(record, Mapping) else None
        event = parse_event(_body(record))
        found[event] = (*found.get(event, ()), *([message] if isinstance(message, str) else []))
    return found


def _body(record: object) -> object:
    body = record.get("body") if isinstance(record, Mapping) else None
    try:
        return json.loads(body) if isinstance(body, str) else None
    except (ValueError, RecursionError):
        return None


def parse_relaunch(raw: object, environment: str) -> RelaunchWanted | Ignored:
    """The watchdog's request to the launcher in `raw`. Never raises because of `raw`."""
    raw = original(raw)
    lane, run_id = (raw.get("lane"), raw.get("run_id")) if isinstance(raw, Mapping) else (None, None)
    if not isinstance(lane, str) or not isinstance(run_id, str) or not RUN_ID_PATTERN.fullmatch(run_id):
        return Ignored("no lane or run id")
    try:
        return RelaunchWanted(Lane(environment, lane), run_id)
    except InvalidInput as error:
        return Ignored(one_line(str(error), 120))


def original(raw: object) -> object:
    """The original event, if `raw` is Lambda's record of a failed invocation that an operator sends again."""
    while isinstance(raw, Mapping) and "requestPayload" in raw:  # a record of a repeated failure contains another
        raw = raw["requestPayload"]
    return raw


def _state_written(detail: Mapping[str, Any]) -> Event:
    bucket, key = _path(detail, "bucket", "name"), _path(detail, "object", "key")
    if not isinstance(bucket, str) or not isinstance(key, str):
        return Ignored("no bucket or key")
    if lane := Lane.from_state_key(key):
        return StateWritten(bucket, lane)
    if report := run_of_report(key):
        return RunReported(bucket, *report)
    return Ignored("not the key of a lock or of an instance's report")


def _state_changed(detail: Mapping[str, Any]) -> Event:
    instance_id, state = _instance_id(detail), detail.get("state")
    if instance_id is None or not isinstance(state, str) or state not in set(InstanceState):
        return Ignored("no instance id or state")
    return InstanceStateChanged(instance_id, InstanceState(state))


def _interruption(detail: Mapping[str, Any]) -> Event:
    instance_id = _instance_id(detail)
    return SpotInterruption(instance_id) if instance_id else Ignored("no instance id")


def _rebalance(detail: Mapping[str, Any]) -> Event:
    instance_id = _instance_id(detail)
    return RebalanceRecommendation(instance_id) if instance_id else Ignored("no instance id")


_PARSERS: dict[tuple[Any, Any], Callable[[Mapping[str, Any]], Event]] = {
    ("aws.s3", "Object Created"): _state_written,
    ("aws.s3", "Object Deleted"): _state_written,
    ("aws.ec2", "EC2 Instance State-change Notification"): _state_changed,
    ("aws.ec2", "EC2 Spot Instance Interruption Warning"): _interruption,
    ("aws.ec2", "EC2 Instance Rebalance Recommendation"): _rebalance,
}


def _path(detail: Mapping[str, Any], outer: str, inner: str) -> object:
    value = detail.get(outer)
    return value.get(inner) if isinstance(value, Mapping) else None


def _instance_id(detail: Mapping[str, Any]) -> str | None:
    value = detail.get("instance-id")
    return value if isinstance(value, str) and INSTANCE_ID_PATTERN.fullmatch(value) else None
