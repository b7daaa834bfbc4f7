"""The record of a run: its phases, its one verdict, its attempts, its form in S3."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chronos_ec2.domain.errors import InvalidDocument, InvalidInput
from chronos_ec2.domain.instance import client_token
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run, check_run_id, new_run_id
from chronos_ec2.domain.records.status import ACTIVE, Cause, DecidedBy, Outcome, Status, Stop, Suspect, Verdict
from chronos_ec2.testing.builders import LANE, NOW, RUN_ID, a_run, launching

PHASES = [Status.INITIALIZATION, Status.DATA_SYNC, Status.TRAINING, Status.RESULTS_SYNC, Status.CLEANUP]
ENDS = [Status.CLEANUP, Status.FAILED, Status.KILLED]
LATER = NOW + timedelta(minutes=1)
FAILED = Verdict(Outcome.FAILED, Cause.HUNG, "no progress", DecidedBy.WATCHDOG)

# --- phases ----------------------------------------------------------------------------------------------------


def test_the_values_in_a_record_are_those_of_the_reference_and_never_change() -> None:
    assert [str(status) for status in Status] == [
        "initialization",
        "data_sync",
        "training",
        "results_sync",
        "cleanup",
        "failed",
        "killed",
    ]
    assert [str(outcome) for outcome in Outcome] == ["succeeded", "failed", "killed"]
    assert [str(by) for by in DecidedBy] == ["agent", "watchdog"]
    assert [str(cause) for cause in Cause] == [
        "completed",
        "requested",
        "user-code",
        "preempted",
        "hung",
        "over-deadline",
        "over-budget",
        "orphan",
        "infra",
        "no-capacity",
    ]


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("following", Status)
def test_a_run_goes_to_the_next_phase_or_fails_and_nowhere_else(status: Status, following: Status) -> None:
    allowed = {status}
    if status not in ENDS:
        allowed |= {PHASES[PHASES.index(status) + 1], Status.FAILED, Status.KILLED}
    run = a_run(status=status)
    if following in allowed:
        assert run.advance(following, "step", NOW).status is following
    else:
        with pytest.raises(ValueError, match=f"^no transition {status} -> {following}$"):
            run.advance(following, "step", NOW)


def test_a_new_phase_is_noted_with_its_time() -> None:
    run = a_run()
    ahead = run.advance(Status.RESULTS_SYNC, "uploading", LATER)
    assert ahead.phases == (*run.phases, (Status.RESULTS_SYNC, LATER))
    assert (ahead.current_step, ahead.updated_at) == ("uploading", LATER)


def test_a_new_step_of_the_same_phase_is_no_new_phase() -> None:
    run = a_run()
    ahead = run.advance(Status.TRAINING, "evaluating", LATER)
    assert ahead.phases == run.phases
    assert (ahead.current_step, ahead.updated_at) == ("evaluating", LATER)


def test_a_run_is_active_until_it_ends() -> None:
    assert set(Status) - set(ENDS) == ACTIVE


@pytest.mark.parametrize("step", ["launching", "waiting-for-capacity", "training"])
def test_a_run_is_claimed_since_its_claim_whatever_its_step_is_called(step: str) -> None:
    assert not launching(current_step=step).claimed
    assert launching(current_step=step, claimed_at=NOW).claimed
    assert not launching(claimed_at=NOW).next_attempt(Cause.INFRA, 0.0, NOW).claimed


# --- the end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.SUCCEEDED, Status.CLEANUP),
        (Outcome.FAILED, Status.FAILED),
        (Outcome.KILLED, Status.KILLED),
    ],
)
def test_a_verdict_decides_the_last_status(outcome: Outcome, status: Status) -> None:
    verdict = Verdict(outcome, Cause.HUNG, "why", DecidedBy.AGENT)
    run = a_run(suspect=Suspect(Cause.HUNG, "no progress", NOW))
    ended = run.end(verdict, LATER)
    assert (ended.status, ended.verdict) == (status, verdict)
    assert (ended.current_step, ended.updated_at) == ("ended_hung", LATER)
    assert ended.phases == (*run.phases, (status, LATER))
    assert ended.suspect is None


def test_the_first_verdict_stands() -> None:
    ended = a_run().end(FAILED, NOW)
    assert ended.end(Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "done", DecidedBy.AGENT), LATER) is ended


def test_the_message_of_a_verdict_is_one_line() -> None:
    ended = a_run().end(Verdict(Outcome.FAILED, Cause.USER_CODE, "a\nb", DecidedBy.AGENT), NOW)
    assert ended.verdict is not None
    assert ended.verdict.message == "a b"


@pytest.mark.parametrize("cause", Cause)
def test_a_stop_by_a_person_kills_and_any_other_fails(cause: Cause) -> None:
    expected = Outcome.KILLED if cause == "requested" else Outcome.FAILED
    assert Stop(cause, "why", NOW).outcome is expected


# --- attempts --------------------------------------------------------------------------------------------------


def test_the_next_attempt_starts_afresh_but_keeps_deadline_cap_and_past() -> None:
    run = a_run(verdict=FAILED, suspect=Suspect(Cause.HUNG, "x", NOW), max_cost_usd=9.0, spent_usd=1.0, crashes_left=2)
    again = run.next_attempt(Cause.INFRA, 3.5, LATER)
    assert (again.attempt, again.spent_usd, again.instance_id) == (2, 3.5, None)
    assert (again.status, again.claimed, again.verdict, again.suspect) == (Status.INITIALIZATION, False, None, None)
    assert (again.deadline, again.max_cost_usd, again.run_id) == (run.deadline, 9.0, RUN_ID)
    assert again.updated_at == LATER
    assert again.phases == (*run.phases, (Status.INITIALIZATION, LATER))


@pytest.mark.parametrize(
    ("cause", "preemptions", "crashes"), [(Cause.PREEMPTED, 4, 3), (Cause.INFRA, 5, 2), (Cause.HUNG, 5, 2)]
)
def test_preemptions_and_crashes_have_budgets_of_their_own(cause: Cause, preemptions: int, crashes: int) -> None:
    again = a_run(preemptions_left=5, crashes_left=3).next_attempt(cause, 0.0, NOW)
    assert (again.preemptions_left, again.crashes_left) == (preemptions, crashes)


def test_the_next_attempt_is_priced_at_the_most_expensive_type_that_it_may_get() -> None:
    prices = (("g6.xlarge", 0.805), ("g5.xlarge", 1.006))
    assert a_run(prices=prices).next_attempt(Cause.INFRA, 0.0, NOW).instance_type == "g5.xlarge"
    assert a_run(prices=()).next_attempt(Cause.INFRA, 0.0, NOW).instance_type == "g4dn.2xlarge"


def test_a_run_as_it_is_first_made_has_no_instance_no_cap_no_end_and_no_second_attempt() -> None:
    run = Run(RUN_ID, LANE, Status.INITIALIZATION, "launching", 1, 1, "00ff", "g5.xlarge", NOW, NOW, LATER)
    assert (run.instance_id, run.price_per_hour_usd, run.max_cost_usd) == (None, None, None)
    assert (run.verdict, run.stop, run.suspect) == (None, None, None)
    assert (run.spent_usd, run.preemptions_left, run.crashes_left, run.phases) == (0.0, 0, 0, ())


# --- names -----------------------------------------------------------------------------------------------------


def test_a_run_id_is_the_second_and_six_hex_digits() -> None:
    moment = datetime(2026, 1, 31, 11, 0, 59, 999_999, tzinfo=UTC)
    assert new_run_id(moment, bytes.fromhex("1a2b3c4d")) == "20260131T110059Z-1a2b3c"


@pytest.mark.parametrize("value", ["", "20260131T110000Z", f"{RUN_ID}0", f"{RUN_ID}\n", RUN_ID.upper(), "../x"])
def test_what_is_no_run_id_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput, match="is not a run id") as refusal:
        check_run_id(value)
    assert refusal.value.where == "run id"


def test_the_refusal_of_a_run_id_quotes_60_characters_and_shows_one() -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_run_id("x" * 100)
    assert str(refusal.value) == f"run id: '{'x' * 59}…' is not a run id (like 20260131T120000Z-1a2b3c)"


def test_a_client_token_is_64_ascii_characters_and_the_same_for_a_retry() -> None:
    token = client_token(a_run(), "g5.xlarge", "subnet-a", "spot")
    assert token == client_token(a_run(seq=99, nonce="ff"), "g5.xlarge", "subnet-a", "spot")
    assert len(token) == 64
    assert token.isascii()


@pytest.mark.parametrize(
    ("run", "way"),
    [
        (a_run(lane=Lane("prod")), ("g5.xlarge", "subnet-a", "spot")),
        (a_run(run_id="20260131T110000Z-ffffff"), ("g5.xlarge", "subnet-a", "spot")),
        (a_run(attempt=2), ("g5.xlarge", "subnet-a", "spot")),
        (a_run(), ("g5.2xlarge", "subnet-a", "spot")),
        (a_run(), ("g5.xlarge", "subnet-b", "spot")),
        (a_run(), ("g5.xlarge", "subnet-a", "on-demand")),
    ],
    ids=["environment", "run", "attempt", "type", "subnet", "market"],
)
def test_a_client_token_differs_with_each_part_of_the_launch(run: Run, way: tuple[str, str, str]) -> None:
    assert client_token(run, *way) != client_token(a_run(), "g5.xlarge", "subnet-a", "spot")


def test_a_client_token_is_the_same_in_every_release() -> None:
    token = client_token(a_run(), "g5.xlarge", "subnet-a", "spot")
    assert token == "a8f5bed07c334cdbdefccb7b46b3c9a670bf9a2ca339e69cee7c5a4ed88c0fd6"


def test_the_parts_of_a_client_token_do_not_run_into_each_other() -> None:
    assert client_token(a_run(), "a", "bc", "spot") != client_token(a_run(), "ab", "c", "spot")


# --- refusals of a record --------------------------------------------------------------------------------------


def read_with(**changes: Any) -> str:
    document = json.loads(a_run(verdict=FAILED, stop=Stop(Cause.HUNG, "x", NOW)).to_json()) | changes
    with pytest.raises(InvalidDocument) as refusal:
        Run.from_json(json.dumps(document).encode(), LANE)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"schema_version": 2}, "schema_version 2, this release reads 1"),
        ({"schema_version": 0}, "schema_version 0, this release reads 1"),
        ({"environment": "prod"}, "a record of another lane"),
        ({"lane": "second"}, "a record of another lane"),
        ({"status": "resting"}, "'resting' is not a valid Status"),
        ({"run_id": "mine"}, "run id: 'mine' is not a run id (like 20260131T120000Z-1a2b3c)"),
        ({"attempt": -1}, "field 'attempt' is out of range"),
    ],
)
def test_a_record_that_is_not_ours_is_unreadable_and_says_why(changes: dict[str, Any], problem: str) -> None:
    assert read_with(**changes) == f"dev/system-state.json: {problem}"


def test_a_wrong_word_is_quoted_no_further_than_120_characters() -> None:
    assert len(read_with(status="x" * 300)) == len("dev/system-state.json: ") + 120


@pytest.mark.parametrize("part", ["verdict", "stop"])
def test_a_fault_inside_a_part_gives_the_path(part: str) -> None:
    assert read_with(**{part: {"outcome": "failed"}}).startswith(f"dev/system-state.json.{part}: field 'cause'")


def test_bytes_that_are_no_record_are_unreadable_by_the_name_of_the_lock() -> None:
    with pytest.raises(InvalidDocument, match=r"^dev/lanes/second/system-state\.json: not JSON"):
        Run.from_json(b"", Lane("dev", "second"))
