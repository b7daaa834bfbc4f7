"""Documents of ours: what is written is read back, and what is not ours is InvalidDocument, never another error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.events import Ignored, parse_event
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.capacity import Launching, LaunchOption, Refusal, Waiting
from chronos_ec2.domain.records.champion import Champion, How, Judgement, Promote, Promotion
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.reports import Claim, CleanedUp, CleanupReport, Comparison, OutcomeReport, StatusReport
from chronos_ec2.domain.records.request import Budget, DataObject, ModelReference, Parent, Request
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, DecidedBy, Job, Outcome, Status, Stop, Suspect, Verdict
from chronos_ec2.testing.builders import INSTANCE_ID, LANE, NOW, RUN_ID, a_heartbeat, a_run, seconds

FULL_RUN = a_run(
    verdict=Verdict(Outcome.FAILED, Cause.HUNG, "no progress", DecidedBy.WATCHDOG),
    stop=Stop(Cause.REQUESTED, "by hand", NOW),
    suspect=Suspect(Cause.HUNG, "no progress", NOW),
    max_cost_usd=12.5,
    spent_usd=1.5,
    launched_at=NOW - seconds(3000),
    ended_at=NOW,
    attempt=2,
    preemptions_left=4,
    crashes_left=3,
    prices=(("g4dn.2xlarge", 0.752), ("g5.4xlarge", 1.624)),
    launching=Launching(LaunchOption("g5.4xlarge", "subnet-b", "spot"), NOW),
    waiting=Waiting(
        NOW,
        NOW + seconds(7200),
        2,
        NOW + seconds(120),
        (Refusal(LaunchOption("g4dn.2xlarge", "subnet-a"), "InsufficientInstanceCapacity", "none in us-east-1a"),),
    ),
    parent="20260130T120000Z-0a0b0c",
    models=(("config.json", "a" * 64),),
    job=Job.FORECAST,
)
FULL_BEAT = a_heartbeat(
    attempt=2,
    counter=4216,
    stalled_for=seconds(1.234),
    bytes_synced=4096,
    loss=-0.25,
    trainer_pid=12,
    checkpoint_age=seconds(61.5),
    gpu_utilisation=100.0,
    sent_at="2026-01-31T12:00:00Z",
)
A_REQUEST = Request(
    RUN_ID, LANE, {"trainer": "probe"}, ("g4dn.2xlarge",), "0" * 64,
    (DataObject("cached-datasets/a.parquet", 4, '"0a1b"'),), Limits(), True, "spot", "/chronos-ec2-dev/agent",
    "1" * 64, "2" * 40 + "-dirty", seconds(7200), seconds(1800),
    Parent("20260130T120000Z-0a0b0c", "20260129T120000Z-0a0b0c", "3" * 64),
    Budget(NOW + seconds(43200), 12.5, 1.624, (("g4dn.2xlarge", 0.752), ("g5.4xlarge", 1.624)), 4, 3),
    Promotion("default", Promote.BETTER, 3),
    Job.FORECAST, (DataObject("cached-datasets/b.parquet", 5, '"0a1c"'),),
    (ModelReference("amazon/chronos-2", "s3://bucket/cached-datasets/models/4/", (("config.json", "4" * 64),)),),
    schedule="nightly", group="sales",
)  # fmt: skip
A_CLAIM = Claim(RUN_ID, 2, INSTANCE_ID, "3f8e2a6c-boot", "00ff")
A_STATUS = StatusReport(
    RUN_ID, 2, ((Status.INITIALIZATION, NOW), (Status.DATA_SYNC, NOW + seconds(9))), "downloading"
)  # fmt: skip
AN_OUTCOME = OutcomeReport(
    RUN_ID,
    2,
    "00ff",
    Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "trained", DecidedBy.AGENT),
    CleanupReport((CleanedUp("folder", "checkpoints", "deleted"),), 12, 4096, 3, True),
    (("config.json", "a" * 64), ("parts/model-00001.safetensors", "b" * 64)),
    Comparison("trained", ("base", "champion", "seasonal_naive"), ("seasonal_naive",), 0.125),
)
A_CHAMPION = Champion(
    "default", 3, RUN_ID, (("config.json", "a" * 64),), How.CONCLUSION, "significantly better than the champion", NOW
)
A_JUDGEMENT = Judgement(RUN_ID, True, 2, "significantly better than the champion")


SPANS = {"wait_for_capacity_seconds", "on_demand_after_seconds"}
GOLDEN = Path(__file__).with_name("golden")


def read_run(raw: bytes) -> Run:
    return Run.from_json(raw, LANE)


READERS: dict[str, Callable[[bytes], Any]] = {
    "run": read_run,
    "heartbeat": Heartbeat.from_json,
    "request": Request.from_json,
    "claim": lambda raw: Claim.from_json(raw, RUN_ID, 2),
    "status": lambda raw: StatusReport.from_json(raw, RUN_ID, 2),
    "outcome": lambda raw: OutcomeReport.from_json(raw, RUN_ID, 2),
    "champion": lambda raw: Champion.from_json(raw, "default"),
    "judgement": Judgement.from_json,
}
EXAMPLES: dict[str, Any] = {
    "run": FULL_RUN, "heartbeat": FULL_BEAT, "request": A_REQUEST, "claim": A_CLAIM, "status": A_STATUS,
    "outcome": AN_OUTCOME, "champion": A_CHAMPION, "judgement": A_JUDGEMENT,
}  # fmt: skip
OPTIONAL = {
    "run": {"verdict", "stop", "suspect", "instance_id", "price_per_hour_usd", "max_cost_usd", "prices"}
    | {"launching", "waiting", "launched_at", "claimed_at", "ended_at", "parent", "models"},
    "heartbeat": {"loss", "trainer_pid", "checkpoint_age_seconds", "gpu_utilisation"},
    "request": {
        "market",
        "log_group",
        "code_sha256",
        "commit",
        "parent",
        "budget",
        "promotion",
        "schedule",
        "group",
        *SPANS,
    },
    "claim": set(),
    "status": set(),
    "outcome": {"cleanup", "comparison"},
    "champion": set(),
    "judgement": set(),
}


@pytest.mark.parametrize("kind", READERS)
def test_what_was_written_is_read_back(kind: str) -> None:
    assert READERS[kind](EXAMPLES[kind].to_json()) == EXAMPLES[kind]


@pytest.mark.golden
@pytest.mark.parametrize("kind", READERS)
def test_a_document_of_this_schema_is_written_as_its_golden_file(kind: str) -> None:
    golden = json.loads((GOLDEN / f"{kind}.json").read_text())
    written = json.loads(EXAMPLES[kind].to_json())
    assert list(written.items()) == list(golden.items())


@pytest.mark.parametrize("kind", READERS)
def test_each_field_of_a_document_is_there_or_the_document_is_unreadable(kind: str) -> None:
    document = json.loads((GOLDEN / f"{kind}.json").read_text())
    for name in document.keys() - OPTIONAL[kind]:
        rest = {key: value for key, value in document.items() if key != name}
        with pytest.raises(InvalidDocument, match=f"'{name}' is missing"):
            READERS[kind](json.dumps(rest).encode())


@pytest.mark.parametrize("kind", READERS)
def test_an_optional_field_may_be_missing_and_then_says_nothing(kind: str) -> None:
    document = json.loads((GOLDEN / f"{kind}.json").read_text())
    bare = json.dumps({key: value for key, value in document.items() if key not in OPTIONAL[kind]})
    empty = json.dumps(document | dict.fromkeys(OPTIONAL[kind]))
    assert READERS[kind](bare.encode()) == READERS[kind](empty.encode())


def test_a_request_may_list_a_hundred_thousand_files() -> None:
    names = (f"cached-datasets/dev/training-data/sales/2010/01/part-{n:06}.parquet" for n in range(100_000))
    keys = tuple(DataObject(name, 123_456, f'"{n:032x}"') for n, name in enumerate(names))
    request = Request(RUN_ID, LANE, {}, ("g4dn.2xlarge",), "0" * 64, keys, Limits())
    assert Request.from_json(request.to_json()).dataset_keys == keys


@pytest.mark.parametrize("kind", READERS)
@given(raw=st.binary(max_size=300))
def test_bytes_of_any_kind_are_unreadable(kind: str, raw: bytes) -> None:
    with pytest.raises(InvalidDocument):
        READERS[kind](raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", READERS)
@given(data=st.data())
def test_a_document_with_one_field_changed_is_read_or_unreadable(kind: str, data: st.DataObject) -> None:
    document = json.loads(EXAMPLES[kind].to_json())
    document[data.draw(st.sampled_from(sorted(document)))] = data.draw(json_values)
    try:
        READERS[kind](json.dumps(document).encode())
    except InvalidDocument:
        return


@pytest.mark.parametrize("kind", READERS)
def test_a_newer_schema_is_unreadable(kind: str) -> None:
    document = json.loads(EXAMPLES[kind].to_json()) | {"schema_version": 2}
    with pytest.raises(InvalidDocument, match="schema_version 2"):
        READERS[kind](json.dumps(document).encode())


def test_the_record_of_another_lane_is_unreadable() -> None:
    with pytest.raises(InvalidDocument, match="another lane"):
        Run.from_json(FULL_RUN.to_json(), Lane("dev", "second"))


def test_a_timestamp_without_zone_is_unreadable() -> None:
    document = json.loads(FULL_RUN.to_json()) | {"deadline": "2026-01-31T12:00:00"}
    with pytest.raises(InvalidDocument, match="deadline"):
        read_run(json.dumps(document).encode())


@given(json_values)
def test_an_event_of_any_shape_is_an_event_or_ignored(raw: object) -> None:
    assert parse_event(raw)


@given(st.sampled_from(["aws.s3", "aws.ec2"]), json_values, json_values)
def test_an_event_with_any_detail_never_raises(source: str, kind: object, detail: object) -> None:
    assert isinstance(parse_event({"source": source, "detail-type": kind, "detail": detail}), Ignored)
