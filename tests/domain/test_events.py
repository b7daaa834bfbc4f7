"""Raw events to typed ones. What is not ours is ignored, and says why."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chronos_ec2.domain.events import (
    Event,
    Ignored,
    InstanceStateChanged,
    RebalanceRecommendation,
    RelaunchWanted,
    RunReported,
    SpotInterruption,
    StateWritten,
    parse_batch,
    parse_event,
    parse_relaunch,
)
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.schedules.events import DataArrived, MemberEnded, RunSucceeded, TimeHasCome, parse_invocation
from chronos_ec2.testing.builders import INSTANCE_ID, LANE, RUN_ID

CREATED, DELETED = ("aws.s3", "Object Created"), ("aws.s3", "Object Deleted")
CHANGED = ("aws.ec2", "EC2 Instance State-change Notification")
INTERRUPTED = ("aws.ec2", "EC2 Spot Instance Interruption Warning")
REBALANCE = ("aws.ec2", "EC2 Instance Rebalance Recommendation")


def parse(kind: tuple[object, object], detail: object) -> Event:
    return parse_event({"source": kind[0], "detail-type": kind[1], "detail": detail})


def an_object(key: object, bucket: object = "our-bucket") -> dict[str, Any]:
    return {"bucket": {"name": bucket}, "object": {"key": key, "size": 7}}


@pytest.mark.parametrize("kind", [CREATED, DELETED])
@pytest.mark.parametrize(
    ("key", "lane"), [("dev/system-state.json", LANE), ("dev/lanes/second/system-state.json", Lane("dev", "second"))]
)
def test_a_lock_that_is_written_or_deleted_is_an_event_of_its_lane(kind: tuple[str, str], key: str, lane: Lane) -> None:
    assert parse(kind, an_object(key)) == StateWritten("our-bucket", lane)


@pytest.mark.parametrize("state", InstanceState)
def test_a_change_of_an_instance_is_an_event_with_its_state(state: InstanceState) -> None:
    changed = parse(CHANGED, {"instance-id": INSTANCE_ID, "state": str(state)})
    assert changed == InstanceStateChanged(INSTANCE_ID, state)
    assert isinstance(changed, InstanceStateChanged)
    assert isinstance(changed.state, InstanceState)


def test_a_spot_interruption_names_the_instance() -> None:
    assert parse(INTERRUPTED, {"instance-id": INSTANCE_ID}) == SpotInterruption(INSTANCE_ID)


def test_a_rebalance_recommendation_names_the_instance() -> None:
    assert parse(REBALANCE, {"instance-id": INSTANCE_ID}) == RebalanceRecommendation(INSTANCE_ID)


@pytest.mark.parametrize("instance_id", ["i-01234567", "i-0123456789abcdef0"])
def test_an_instance_id_has_8_to_17_digits(instance_id: str) -> None:
    assert parse(INTERRUPTED, {"instance-id": instance_id}) == SpotInterruption(instance_id)


@pytest.mark.parametrize("kind", [INTERRUPTED, REBALANCE])
@pytest.mark.parametrize(
    "instance_id", [None, 7, "", "i-0123456", "i-0123456789abcdef01", "i-0123456G", "x-01234567", f"{INSTANCE_ID}\n"]
)
def test_what_is_no_instance_id_is_ignored(kind: tuple[str, str], instance_id: object) -> None:
    assert parse(kind, {"instance-id": instance_id}) == Ignored("no instance id")


@pytest.mark.parametrize(
    "detail",
    [
        {"instance-id": INSTANCE_ID},
        {"instance-id": INSTANCE_ID, "state": "asleep"},
        {"instance-id": "mine", "state": "running"},
        {"state": "running"},
        {"instance-id": "i-0123456789abcdef0", "state": ["running"]},
    ],
)
def test_a_change_without_instance_id_or_state_is_ignored(detail: dict[str, Any]) -> None:
    assert parse(CHANGED, detail) == Ignored("no instance id or state")


@pytest.mark.parametrize(
    "detail", [{}, an_object(None), an_object("dev/system-state.json", 7), {"bucket": "b", "object": "o"}]
)
def test_a_write_without_bucket_or_key_is_ignored(detail: dict[str, Any]) -> None:
    assert parse(CREATED, detail) == Ignored("no bucket or key")


def test_a_write_of_another_object_is_ignored() -> None:
    assert parse(CREATED, an_object("dev/heartbeat.json")) == Ignored(
        "not the key of a lock or of an instance's report"
    )


@pytest.mark.parametrize("report", ["status.json", "claims/1.json", "outcomes/12.json"])
def test_a_report_of_an_instance_is_an_event_of_its_run(report: str) -> None:
    assert parse(CREATED, an_object(f"dev/{RUN_ID}/{report}")) == RunReported("our-bucket", "dev", RUN_ID)


@pytest.mark.parametrize(
    "key",
    [
        f"dev/{RUN_ID}/heartbeat.json", f"dev/{RUN_ID}/checkpoints/status.json", f"dev/{RUN_ID}/claims/a.json",
        f"dev/{RUN_ID}/claims/1.json.bak", f"dev/lanes/{RUN_ID}/status.json", "dev/nightly/status.json",
        f"D ev/{RUN_ID}/status.json", f"cached-datasets/{RUN_ID}/status.json", f"dev/{RUN_ID}/outcomes/\u0661.json",
    ],
)  # fmt: skip
def test_no_other_object_of_a_run_is_a_report(key: str) -> None:
    assert isinstance(parse(CREATED, an_object(key)), Ignored)


@pytest.mark.parametrize("raw", [None, 7, "text", [{}]])
def test_what_is_no_object_is_ignored(raw: object) -> None:
    assert parse_event(raw) == Ignored("not a JSON object")


@pytest.mark.parametrize("detail", [None, 7, "text", []])
def test_an_event_without_detail_is_ignored(detail: object) -> None:
    assert parse(INTERRUPTED, detail) == Ignored("no detail")


@pytest.mark.parametrize("kind", [("aws.ec2", None), (None, INTERRUPTED[1]), (["aws.ec2"], INTERRUPTED[1])])
def test_an_event_without_source_or_type_is_ignored(kind: tuple[object, object]) -> None:
    assert parse(kind, {"instance-id": INSTANCE_ID}) == Ignored("no source or detail-type")


def test_an_event_of_another_kind_is_ignored_and_its_name_is_made_safe() -> None:
    assert parse(("aws.s3", "Object\nRestored"), {}) == Ignored("not ours: aws.s3, Object Restored")
    ignored = parse(("x" * 300, "y"), {})
    assert isinstance(ignored, Ignored)
    assert len(ignored.reason) == 120


def test_one_of_our_types_from_another_source_is_ignored() -> None:
    assert parse(("my.app", INTERRUPTED[1]), {"instance-id": INSTANCE_ID}) == Ignored(
        f"not ours: my.app, {INTERRUPTED[1]}"
    )


def test_what_the_watchdog_asks_of_the_launcher_is_understood() -> None:
    assert parse_relaunch({"lane": "main", "run_id": RUN_ID}, "dev") == RelaunchWanted(Lane("dev"), RUN_ID)
    assert parse_relaunch({"lane": "second", "run_id": RUN_ID}, "dev") == RelaunchWanted(Lane("dev", "second"), RUN_ID)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (None, "no lane or run id"),
        ({"lane": 1, "run_id": RUN_ID}, "no lane or run id"),
        ({"lane": "main"}, "no lane or run id"),
        ({"lane": "main", "run_id": RUN_ID + "x"}, "no lane or run id"),
        ({"run_id": RUN_ID}, "no lane or run id"),
    ],
)
def test_what_is_no_order_for_the_launcher_is_ignored(event: object, reason: str) -> None:
    assert parse_relaunch(event, "dev") == Ignored(reason)


def test_a_lane_that_cannot_be_is_ignored_with_its_name() -> None:
    found = parse_relaunch({"lane": "../x", "run_id": RUN_ID}, "dev")
    assert isinstance(found, Ignored)
    assert "../x" in found.reason


def test_a_lane_with_a_long_name_is_not_logged_whole() -> None:
    found = parse_relaunch({"lane": "x" * 500, "run_id": RUN_ID}, "dev")
    assert isinstance(found, Ignored)
    assert len(found.reason) == 120


def record_of_failure(payload: object) -> dict[str, Any]:
    return {"version": "1.0", "requestContext": {"condition": "RetriesExhausted"}, "requestPayload": payload}


@pytest.mark.parametrize("times", [1, 2, 50])
def test_a_failed_invocation_that_is_fed_back_is_the_event_that_it_was_for(times: int) -> None:
    event: object = {"source": INTERRUPTED[0], "detail-type": INTERRUPTED[1], "detail": {"instance-id": INSTANCE_ID}}
    for _ in range(times):
        event = record_of_failure(event)
    assert parse_event(event) == SpotInterruption(INSTANCE_ID)


@pytest.mark.parametrize("payload", [None, 7, "text", []])
def test_a_failed_invocation_that_was_for_nothing_is_ignored(payload: object) -> None:
    assert parse_event(record_of_failure(payload)) == Ignored("not a JSON object")


def a_batch(*bodies: object) -> dict[str, Any]:
    return {"Records": [{"messageId": f"m{n}", "body": json.dumps(body)} for n, body in enumerate(bodies)]}


def written(key: str) -> dict[str, Any]:
    return {"source": "aws.s3", "detail-type": "Object Created", "detail": an_object(key)}


def test_a_batch_has_each_event_once_with_the_messages_that_brought_it() -> None:
    lock, report = "dev/system-state.json", f"dev/{RUN_ID}/status.json"
    batch = a_batch(written(lock), written(report), written(lock), written("dev/x"), written(report))
    assert parse_batch(batch) == {
        StateWritten("our-bucket", LANE): ("m0", "m2"),
        RunReported("our-bucket", "dev", RUN_ID): ("m1", "m4"),
        Ignored("not the key of a lock or of an instance's report"): ("m3",),
    }


@pytest.mark.parametrize("record", [None, 7, "text", {}, {"body": None}, {"body": "{"}, {"body": "[" * 100_000}])
def test_a_message_without_an_event_is_ignored(record: object) -> None:
    assert parse_batch({"Records": [record]}) == {Ignored("not a JSON object"): ()}


@pytest.mark.parametrize("raw", [None, [], {"Records": None}, {"Records": "text"}, written("dev/system-state.json")])
def test_what_is_no_batch_is_a_batch_of_one_event(raw: object) -> None:
    assert parse_batch(raw) == {parse_event(raw): ()}


GOLDEN_EVENTS = Path(__file__).parents[2] / "events"
_BUCKET, _INSTANCE = "chronos-ec2-dev-bucket", "i-0abcd1234ef567890"
_WRITTEN = StateWritten(_BUCKET, Lane("dev"))
_WRITTEN_NIGHTLY = StateWritten(_BUCKET, Lane("dev", "nightly"))
_TERMINATED = InstanceStateChanged(_INSTANCE, InstanceState.TERMINATED)
_REPORTED = RunReported(_BUCKET, "dev", "20261123T115900Z-1a2b3c")
_ANOTHER_KEY = Ignored("not the key of a lock or of an instance's report")
MEANING: dict[str, Event] = {
    "s3-object-created-state": _WRITTEN,
    "s3-object-created-state-unversioned": _WRITTEN,
    "s3-object-created-lane": _WRITTEN_NIGHTLY,
    "s3-object-created-foreign": _ANOTHER_KEY,
    **{f"s3-object-created-{report}": _REPORTED for report in ("status", "claim", "outcome")},
    "s3-object-deleted-state": _WRITTEN,
    "s3-object-deleted-state-unversioned": _WRITTEN,
    "s3-object-deleted-state-lifecycle": _WRITTEN,
    "s3-object-deleted-lane": _WRITTEN_NIGHTLY,
    "s3-object-deleted-foreign": _ANOTHER_KEY,
    **{f"ec2-{state}": InstanceStateChanged(_INSTANCE, state) for state in InstanceState},
    "spot-interruption": SpotInterruption(_INSTANCE),
    "rebalance": RebalanceRecommendation(_INSTANCE),
    "sweep-tick": Ignored("no detail"),
    "dlq-undelivered-state": _WRITTEN,
    "dlq-failed-instance-changed": _TERMINATED,
    "dlq-failed-instance-changed-twice": _TERMINATED,
    "relaunch": Ignored("no detail"),
    "schedule-time": Ignored("no detail"),
    "schedule-after": Ignored("no detail"),
    "group-after": Ignored("no detail"),
    "s3-object-created-data": _ANOTHER_KEY,
    "dlq-failed-launcher": Ignored("no detail"),
    "dlq-failed-sweep": Ignored("no detail"),
    **{name: Ignored("no detail") for name in ("sqs-state-event", "sqs-state-events", "malformed-batch")},
    "malformed-dlq-payload": Ignored("not a JSON object"),
    "malformed-empty": Ignored("no detail"),
    "malformed-list": Ignored("not a JSON object"),
    "malformed-text": Ignored("not a JSON object"),
    "malformed-no-detail": Ignored("no detail"),
    "malformed-detail-text": Ignored("no detail"),
    "malformed-types": Ignored("no source or detail-type"),
    "malformed-key": _ANOTHER_KEY,
    "malformed-instance-id": Ignored("no instance id or state"),
    "malformed-no-instance-id": Ignored("no instance id"),
    "malformed-state": Ignored("no instance id or state"),
    "malformed-source": Ignored("not ours: my.app, Object Created"),
}


@pytest.mark.parametrize("name", MEANING)
def test_a_golden_event_means_to_the_launcher(name: str) -> None:
    asked = name in ("relaunch", "dlq-failed-launcher")
    expected = RelaunchWanted(Lane("dev"), "20261123T115900Z-1a2b3c") if asked else Ignored("no lane or run id")
    assert parse_relaunch(json.loads((GOLDEN_EVENTS / f"{name}.json").read_bytes()), "dev") == expected


@pytest.mark.parametrize("name", MEANING)
def test_a_golden_event_means_to_the_schedules(name: str) -> None:
    raw = json.loads((GOLDEN_EVENTS / f"{name}.json").read_bytes())
    expected = {
        "schedule-time": TimeHasCome("nightly", datetime(2026, 11, 23, 3, tzinfo=UTC)),
        "schedule-after": RunSucceeded("nightly", "20261123T030000Z-1a2b3c"),
        "group-after": MemberEnded("sales", "20261123T030000Z-1a2b3c"),
        "s3-object-created-data": DataArrived("sales", datetime(2026, 11, 23, 12, tzinfo=UTC)),
    }
    found = parse_invocation(raw, "dev")
    assert found == expected[name] if name in expected else found is None or isinstance(found, Ignored)


@pytest.mark.parametrize(
    "raw",
    [
        {"schedule": "nightly"}, {"schedule": "nightly", "at": "soon"},
        {"schedule": "../x", "at": "2026-11-23T03:00:00Z"},
        {"group": "sales"}, {"group": "Sales", "after": "20261123T030000Z-1a2b3c"}, {"group": "sales", "after": "x"},
        {"group": 1, "after": "20261123T030000Z-1a2b3c"},
        {"schedule": "nightly", "after": "x"}, {"schedule": 1, "at": "2026-11-23T03:00:00Z"},
        {"schedule": "a-name-that-is-too-long-for-a-lane", "at": "2026-11-23T03:00:00Z"}, {"source": "aws.s3"},
        {"source": "aws.s3", "time": "2026-11-23T03:00:00Z",
         "detail": {"object": {"key": "cached-datasets/prod/training-data/sales/_SUCCESS"}}},
        {"source": "aws.s3", "detail": {"object": {"key": "cached-datasets/dev/training-data/sales/_SUCCESS"}}},
    ],
)  # fmt: skip
def test_what_names_no_schedule_and_time_is_ignored(raw: object) -> None:
    assert isinstance(parse_invocation(raw, "dev"), Ignored)


def test_every_golden_event_has_a_meaning() -> None:
    assert {path.stem for path in GOLDEN_EVENTS.glob("*.json")} == MEANING.keys()


@pytest.mark.parametrize("name", MEANING)
def test_a_golden_event_means(name: str) -> None:
    assert parse_event(json.loads((GOLDEN_EVENTS / f"{name}.json").read_bytes())) == MEANING[name]


@pytest.mark.parametrize("name", MEANING)
def test_a_golden_event_names_no_account_but_the_documentations(name: str) -> None:
    text = (GOLDEN_EVENTS / f"{name}.json").read_text()
    assert set(re.findall(r"(?<![0-9a-f])[0-9]{12}(?![0-9a-f])", text)) <= {"123456789012"}
