"""The beat of an agent: durations in seconds, and nothing in it that is not one of this schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chronos_ec2.domain.decide import decide
from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.facts import HeartbeatReceived, Unreadable
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.testing.builders import NOW, a_heartbeat, held, seconds, some_facts


def written(heartbeat: Heartbeat) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(heartbeat.to_json())
    return document


def read_with(**changes: Any) -> str:
    with pytest.raises(InvalidDocument) as refusal:
        Heartbeat.from_json(json.dumps(written(a_heartbeat()) | changes).encode())
    return str(refusal.value)


def test_durations_are_written_to_the_millisecond() -> None:
    document = written(a_heartbeat(stalled_for=seconds(1.23456), checkpoint_age=seconds(61.98765)))
    assert (document["stalled_seconds"], document["checkpoint_age_seconds"]) == (1.235, 61.988)


def test_a_checkpoint_made_just_now_is_not_the_same_as_none() -> None:
    assert written(a_heartbeat(checkpoint_age=seconds(0)))["checkpoint_age_seconds"] == 0
    assert written(a_heartbeat())["checkpoint_age_seconds"] is None
    assert Heartbeat.from_json(a_heartbeat(checkpoint_age=seconds(0)).to_json()).checkpoint_age == seconds(0)
    assert Heartbeat.from_json(a_heartbeat().to_json()).checkpoint_age is None


def test_a_heartbeat_before_any_work_has_no_progress() -> None:
    fresh = Heartbeat("run", 1, "i-0", "boot", a_heartbeat().status, 0, seconds(0))
    assert (fresh.step, fresh.total_steps, fresh.bytes_synced, fresh.sent_at) == (0, 0, 0, "")
    assert (fresh.loss, fresh.trainer_pid, fresh.checkpoint_age, fresh.gpu_utilisation) == (None, None, None, None)


@pytest.mark.parametrize("loss", [-1e15, -0.5, 0.0, 1e14])
def test_a_loss_may_be_negative(loss: float) -> None:
    assert Heartbeat.from_json(a_heartbeat(loss=loss).to_json()).loss == loss


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"schema_version": 2}, "schema_version 2, this release reads 1"),
        ({"schema_version": 0}, "schema_version 0, this release reads 1"),
        ({"run_id": "mine"}, "run id: 'mine' is not a run id (like 20260131T120000Z-1a2b3c)"),
        ({"status": "resting"}, "'resting' is not a valid Status"),
        ({"stalled_seconds": -1}, "field 'stalled_seconds' is out of range"),
        ({"checkpoint_age_seconds": -1}, "field 'checkpoint_age_seconds' is out of range"),
        ({"gpu_utilisation": -1}, "field 'gpu_utilisation' is out of range"),
        ({"loss": -1e15 - 0.5}, "field 'loss' is out of range"),
    ],
)
def test_a_heartbeat_that_is_not_ours_is_unreadable_and_says_why(changes: dict[str, Any], problem: str) -> None:
    assert read_with(**changes) == f"heartbeat.json: {problem}"


def test_a_duration_that_no_clock_can_hold_is_unreadable() -> None:
    for value in (9e14, 86399999999999, 10 * 366 * 86400 + 1):
        assert read_with(stalled_seconds=value) == f"heartbeat.json: {value:.0f} s is longer than any run"
        assert read_with(checkpoint_age_seconds=value).endswith("is longer than any run")


def test_the_longest_duration_that_is_read_can_be_judged() -> None:
    longest = a_heartbeat(stalled_for=seconds(10 * 366 * 86400), checkpoint_age=seconds(10 * 366 * 86400))
    assert Heartbeat.from_json(longest.to_json()) == longest
    for state in (held(), Unreadable("not JSON", '"e"', NOW)):
        beat = HeartbeatReceived(longest, '"beat"', NOW)
        facts = some_facts(heartbeat=beat, heartbeats={longest.run_id: beat}, lock=state)
        assert "no progress" in decide(facts, NOW, Limits()).reason


def test_a_wrong_word_is_quoted_no_further_than_120_characters() -> None:
    assert len(read_with(status="x" * 300)) == len("heartbeat.json: ") + 120


def test_bytes_that_are_no_heartbeat_are_unreadable() -> None:
    with pytest.raises(InvalidDocument, match=r"^heartbeat\.json: not JSON"):
        Heartbeat.from_json(b"")
