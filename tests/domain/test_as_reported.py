"""What an instance can bring into the record of its run, whatever bytes it writes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_ec2.domain.facts import Absent, Found, ReadFailed, Reports, Unreadable
from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.records.capacity import Launching, LaunchOption
from chronos_ec2.domain.records.reports import Claim, OutcomeReport, StatusReport
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import claim_key, outcome_key, status_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Stop, Suspect, Verdict
from chronos_ec2.domain.rules.as_reported import as_reported, run_as_reported
from chronos_ec2.run_store import RunStore
from chronos_ec2.testing import MemoryAws
from chronos_ec2.testing.builders import (
    INSTANCE_ID,
    LANE,
    NOW,
    RUN_ID,
    a_run,
    an_instance,
    held,
    launching,
    seconds,
    some_facts,
)

OTHER = "i-0bbbbbbbbbbbbbbbb"
CLAIM = Claim(RUN_ID, 1, INSTANCE_ID, "boot", "00ff")
DONE = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "trained", DecidedBy.AGENT)
HUNG = Verdict(Outcome.FAILED, Cause.HUNG, "no progress", DecidedBy.WATCHDOG)
PHASES = (Status.INITIALIZATION, Status.DATA_SYNC, Status.TRAINING, Status.RESULTS_SYNC)


def claim(by: str | None = INSTANCE_ID, at: datetime = NOW - seconds(60)) -> Reports:
    return Reports(Found(replace(CLAIM, instance_id=by), at))


def status(
    upto: Status, step: str = "step_1", at: datetime = NOW - seconds(30), written: timedelta = seconds(10)
) -> Any:
    phases = tuple((phase, at) for phase in PHASES[: PHASES.index(upto) + 1])
    return Found(StatusReport(RUN_ID, 1, phases, step), NOW - written)


def outcome(verdict: Verdict = DONE, written: timedelta = seconds(5)) -> Any:
    return Found(OutcomeReport(RUN_ID, 1, "00ff", verdict), NOW - written)


def reported(run: Run, reports: Reports, *instances: Instance) -> Run:
    return run_as_reported(run, reports, instances, NOW)


# --- the claim


def test_a_claim_is_taken_over_with_s3s_time_and_withdraws_the_suspicion_of_absence() -> None:
    fresh = launching(suspect=Suspect(Cause.INFRA, "EC2 lists no instance of the run", NOW))
    run = reported(fresh, claim(), an_instance())
    assert (run.claimed_at, run.instance_id, run.current_step) == (NOW - seconds(60), INSTANCE_ID, "claimed")
    assert (run.suspect, run.updated_at) == (None, NOW)


def test_ec2_says_which_instances_are_the_attempts_and_of_which_type() -> None:
    dear = an_instance(instance_type="p5.48xlarge")
    assert reported(launching(), claim(), dear).instance_type == "p5.48xlarge"
    assert reported(launching(), claim(OTHER), an_instance()).instance_id is None
    assert reported(launching(instance_id=INSTANCE_ID), claim(OTHER)).instance_id == INSTANCE_ID
    foreign = an_instance(instance_id=OTHER, run_id="20260131T110000Z-ffffff")
    assert reported(launching(instance_id=INSTANCE_ID), claim(OTHER), foreign).instance_id == INSTANCE_ID


def test_while_ec2_lists_none_the_claim_names_the_instance_and_the_option_in_work_its_type() -> None:
    option = Launching(LaunchOption("g5.xlarge", "subnet-a"), NOW - seconds(90))
    run = reported(launching(launching=option), claim())
    assert (run.instance_id, run.instance_type, run.launched_at) == (INSTANCE_ID, "g5.xlarge", NOW - seconds(90))


def test_an_attempt_that_no_instance_was_asked_for_is_claimed_by_nobody() -> None:
    assert reported(launching(launching=None), claim(OTHER)) == launching(launching=None)


def test_of_two_instances_the_one_that_has_claimed_is_the_runs() -> None:
    second = an_instance(instance_id=OTHER)
    assert reported(launching(instance_id=INSTANCE_ID), claim(OTHER), an_instance(), second).instance_id == OTHER


@pytest.mark.parametrize(
    "nothing",
    [Absent(), ReadFailed("503"), Unreadable("not JSON", '"e"', NOW), Found(Claim.of_nobody(RUN_ID, 1), NOW)],
)
def test_without_a_claim_nothing_else_counts(nothing: Any) -> None:
    reports = Reports(nothing, status(Status.TRAINING), outcome())
    assert reported(launching(), reports, an_instance()) == launching()


def test_a_claim_later_than_now_counts_from_now() -> None:
    assert reported(launching(), claim(at=NOW + timedelta(days=300)), an_instance()).claimed_at == NOW


# --- phases


def test_phases_are_taken_over_in_order_and_the_step_with_them() -> None:
    fresh = launching()
    run = reported(fresh, replace(claim(), status=status(Status.TRAINING)), an_instance())
    assert [phase for phase, _ in run.phases] == ["initialization", "data_sync", "training"]
    assert (run.status, run.current_step) == (Status.TRAINING, "step_1")


def test_a_report_that_is_late_takes_nothing_back() -> None:
    run = a_run()
    assert reported(run, Reports(status=status(Status.DATA_SYNC, "downloading"))) == run
    ahead = reported(run, Reports(status=status(Status.RESULTS_SYNC, "uploading")))
    assert (ahead.status, ahead.current_step) == (Status.RESULTS_SYNC, "uploading")


@pytest.mark.parametrize("at", [NOW - timedelta(days=900), NOW + timedelta(days=900)])
def test_a_phase_begins_between_the_one_before_and_the_arrival_of_its_report(at: datetime) -> None:
    run = reported(a_run(), Reports(status=status(Status.RESULTS_SYNC, at=at)))
    before, (_, began) = a_run().phases[-1][1], run.phases[-1]
    assert before <= began <= NOW - seconds(10)


# --- the end


def test_an_outcome_gives_the_run_its_verdict() -> None:
    run = reported(a_run(), Reports(outcome=outcome()))
    assert (run.verdict, run.status, run.phases[-1]) == (DONE, Status.CLEANUP, (Status.CLEANUP, NOW - seconds(5)))


def test_a_run_that_was_claimed_worked_and_ended_between_two_looks_has_all_of_it() -> None:
    reports = replace(claim(), status=status(Status.RESULTS_SYNC), outcome=outcome())
    run = reported(launching(launching=Launching(LaunchOption("g4dn.2xlarge", "subnet-a"), NOW)), reports)
    assert [phase for phase, _ in run.phases] == [*PHASES, "cleanup"]
    assert (run.verdict, run.instance_id) == (DONE, INSTANCE_ID)


def test_the_first_verdict_stands() -> None:
    ended = a_run().end(HUNG, NOW)
    assert reported(ended, replace(claim(), status=status(Status.RESULTS_SYNC), outcome=outcome())) == ended


def test_the_verdict_that_the_watchdog_wrote_before_it_crashed_is_its_own() -> None:
    assert reported(a_run(), Reports(outcome=outcome(HUNG))).verdict == HUNG


def test_what_is_in_the_record_already_changes_nothing() -> None:
    reports = replace(claim(), status=status(Status.TRAINING))
    once = reported(launching(), reports, an_instance())
    assert run_as_reported(once, reports, (an_instance(),), NOW + seconds(60)) == once


def test_a_phase_is_the_step_until_the_agent_names_one_and_the_record_has_its_time() -> None:
    run = reported(a_run(status=Status.DATA_SYNC, phases=a_run().phases[:1]), Reports(status=status(Status.TRAINING)))
    assert (run.status, run.current_step, run.updated_at) == (Status.TRAINING, "step_1", NOW)
    backwards = ((Status.TRAINING, NOW - seconds(30)), (Status.DATA_SYNC, NOW - seconds(20)))
    run = reported(a_run(status=Status.DATA_SYNC), Reports(status=Found(StatusReport(RUN_ID, 1, backwards, "x"), NOW)))
    assert (run.status, run.current_step) == (Status.TRAINING, "training")


def test_of_the_facts_of_a_lane_only_the_run_becomes_what_is_reported() -> None:
    facts = some_facts(lock=held(launching()), instances=(an_instance(instance_type="p5.48xlarge"),), reports=claim())
    run = run_as_reported(launching(), claim(), facts.instances, NOW)
    assert (run.instance_type, run.updated_at) == ("p5.48xlarge", NOW)
    assert as_reported(facts, NOW) == replace(facts, lock=held(run))
    assert as_reported(quiet := replace(facts, reports=Reports()), NOW) is quiet


@pytest.mark.parametrize("lock", [Absent(), ReadFailed("503"), Unreadable("not JSON", '"e"', NOW)])
def test_without_a_record_there_is_nothing_to_report_about(lock: Any) -> None:
    facts = some_facts(lock=lock, reports=replace(claim(), outcome=outcome()))
    assert as_reported(facts, NOW) is facts


# --- whatever an instance writes

TEXTS = st.text('aZ09-._/{"\n\x1b\u2028\ud800', max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=4,
)
GENUINE = {
    claim_key("dev", RUN_ID, 1): CLAIM.to_json(),
    status_key("dev", RUN_ID): status(Status.RESULTS_SYNC).document.to_json(),
    outcome_key("dev", RUN_ID, 1): outcome().document.to_json(),
}
FORGED: dict[str, Any] = {
    "deadline": "9999-12-31T23:59:59Z", "max_cost_usd": None, "spent_usd": -1, "stop": None, "attempt": 2,
    "preemptions_left": 1000, "crashes_left": 1000, "status": "initialization", "step": "launching",
    "current_step": "launching", "claimed_at": None, "decided_by": "watchdog", "void": True, "phases": [],
    "instance_id": OTHER, "verdict": None, "prices": {}, "seq": 0,
}  # fmt: skip


def documents(genuine: bytes) -> st.SearchStrategy[bytes | None]:
    """Nothing, what an agent writes, the same with changes, or any bytes."""
    names = st.sampled_from(sorted({*json.loads(genuine), *FORGED}))
    changes = st.dictionaries(names, json_values | st.sampled_from([*FORGED.values()]), max_size=4)
    changed = changes.map(lambda each: json.dumps(json.loads(genuine) | each).encode())
    return st.one_of(st.none(), st.just(genuine), changed, st.binary(max_size=100))


WRITTEN = st.fixed_dictionaries({key: documents(genuine) for key, genuine in GENUINE.items()})
runs = st.sampled_from(
    [
        launching(),
        launching(instance_id=INSTANCE_ID, max_cost_usd=10.0),
        launching(stop=Stop(Cause.REQUESTED, "by hand", NOW)),
        a_run(crashes_left=2, preemptions_left=3, spent_usd=1.5),
        a_run(stop=Stop(Cause.OVER_BUDGET, "the cap is near", NOW), max_cost_usd=2.0),
        a_run().end(HUNG, NOW),
        a_run().end(DONE, NOW),
    ]
)
UNTOUCHED = (
    "run_id", "lane", "attempt", "seq", "nonce", "created_at", "deadline", "price_per_hour_usd", "max_cost_usd",
    "spent_usd", "ended_at", "preemptions_left", "crashes_left", "stop", "prices", "launching", "parent",
)  # fmt: skip


@given(run=runs, written=WRITTEN, listed=st.sampled_from([(), (an_instance(),), (an_instance(attempt=2),)]))
def test_nothing_that_an_instance_writes_moves_money_time_or_people_s_wishes(
    run: Run, written: dict[str, bytes | None], listed: tuple[Instance, ...]
) -> None:
    aws = MemoryAws()
    for key, body in written.items():
        if body is not None:
            aws.objects.write(key, body)
    store = RunStore(aws.objects)
    reports = Reports(store.read_claim(run), store.read_status(run), store.read_outcome(run))
    after = run_as_reported(run, reports, listed, NOW)
    for name in UNTOUCHED:
        assert getattr(after, name) == getattr(run, name), name
    if run.verdict is not None:
        assert after == run
    if run.claimed:
        assert after.claimed_at == run.claimed_at
        assert after.instance_id == run.instance_id
    assert after.phases[: len(run.phases)] == run.phases
    assert all(moment <= NOW for _, moment in after.phases)
    assert Run.from_json(after.to_json(), LANE) == Run.from_json(replace(after).to_json(), LANE)
    assert held(after).run.attempt_started_at == run.attempt_started_at
