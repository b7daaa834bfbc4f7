"""Claims and outcomes as one-shot registers: each race has one winner, and no crash between two writes a second."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from chronos_ec2.domain.errors import Fenced, LostRace, ServiceUnavailable
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.reports import MAX_MODEL_FILES, Claim, OutcomeReport, StatusReport
from chronos_ec2.domain.records.s3_keys import claim_key, outcome_key, run_key, status_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Verdict
from chronos_ec2.services.launch import Launched
from chronos_ec2.services.run_queries import find_run
from chronos_ec2.testing import Agent, AgentBehaviour, Crash, Environment
from chronos_ec2.testing.agent import COMPLETED
from chronos_ec2.testing.builders import LIMITS

CLAIMS, OUTCOMES, STATUS = "*/claims/*.json", "*/outcomes/*.json", "*/status.json"
GARBAGE = [b"", b"\xff", b"[" * 60_000, b'{"schema_version": 1}', b"x" * 70_000, b'{"message": "\\ud800"}', None]
"""None: whatever it is, S3 gives it to nobody."""


def spoil(env: Environment, key: str, garbage: bytes | None) -> None:
    if garbage is None:
        env.objects.withhold(key, b"archived")
    else:
        env.objects.write(key, garbage)


def past_boot(env: Environment) -> Launched:
    """A run whose instance has not claimed it in time."""
    launched = env.launch()
    env.clock.advance(LIMITS.boot)
    return launched


def in_training(env: Environment) -> Launched:
    launched = env.launch()
    env.work_until(Status.TRAINING)
    return launched


# --- a claim against the end of its attempt


def test_an_instance_that_claims_before_its_attempt_is_void_keeps_it(env: Environment) -> None:
    past_boot(env)
    agent = env.agent
    env.faults.hook("objects.create", lambda _key: agent.claim(), on=CLAIMS, times=1)
    env.watchdog.sweep()
    assert env.fleet.terminate_calls == []
    assert env.lock().run.claimed
    assert env.lock().run.verdict is None


def test_an_instance_that_claims_after_its_attempt_is_void_powers_off(env: Environment) -> None:
    past_boot(env)
    agent = env.agent
    env.watchdog.sweep()
    verdict = env.lock().run.verdict
    assert verdict is not None
    with pytest.raises(Fenced):
        agent.claim()
    assert not env.lock().run.claimed


def test_an_instance_that_has_read_the_lock_cannot_claim_an_attempt_that_ended_meanwhile(env: Environment) -> None:
    past_boot(env)
    agent = env.agent
    env.faults.hook("objects.create", lambda _key: env.watchdog.sweep(), on=CLAIMS, times=1)
    with pytest.raises(Fenced, match="void"):
        agent.claim()
    assert env.lock().run.verdict is not None


@pytest.mark.parametrize("late", ["crash", "no answer"])
def test_a_watchdog_that_dies_between_void_and_verdict_leaves_both_to_the_next(env: Environment, late: str) -> None:
    launched = past_boot(env)
    if late == "crash":
        env.faults.crash_after("objects.create", on=CLAIMS)
        with pytest.raises(Crash):
            env.watchdog.sweep()
    else:
        env.faults.fail("objects.replace", on=env.lane.state_key, times=1)
        env.watchdog.sweep()
    assert env.lock().run.verdict is None
    with pytest.raises(Fenced):
        env.agent_of(env.fleet.instances("dev")[0]).claim()
    env.watchdog.sweep()
    assert launched.instance_id in env.fleet.terminate_calls
    env.sweeps(timedelta(minutes=5))
    assert env.settled


@pytest.mark.parametrize("lost", ["answer", "answer and a retry that meets its own write"])
def test_a_void_claim_whose_answer_was_lost_is_recognised(env: Environment, lost: str) -> None:
    past_boot(env)
    error = ServiceUnavailable if lost == "answer" else LostRace
    env.faults.lose_answer("objects.create", error, on=CLAIMS, times=1)
    (report,) = env.watchdog.sweep()
    assert (report.error, report.lost_races) == ("", 0)
    assert env.lock().run.verdict is not None


def test_without_an_answer_about_the_claim_nobody_is_terminated(env: Environment) -> None:
    """The instance may have claimed just now."""
    past_boot(env)
    agent = env.agent

    def claims(_key: str) -> None:
        agent.claim()

    env.faults.hook("objects.create", claims, on=CLAIMS, times=1)
    env.faults.fail("objects.create", on=CLAIMS)
    env.watchdog.sweep()
    assert env.fleet.terminate_calls == []


@pytest.mark.parametrize("extra", [{}, {"nonce": "00ff"}, {"instance_id": None}])
def test_an_attempt_that_an_instance_has_claimed_as_void_ends_like_any_other_that_nobody_claims(
    env: Environment, extra: dict[str, object]
) -> None:
    launched = env.launch()
    void = {"schema_version": 1, "run_id": launched.run_id, "attempt": 1, "void": True} | extra
    env.objects.create(claim_key("dev", launched.run_id, 1), json.dumps(void).encode())
    env.sweeps(LIMITS.boot_bound)
    assert env.alive == []
    env.sweeps(2 * LIMITS.sweep)
    assert env.left() == []
    assert env.kinds() == ["failed"]


@pytest.mark.parametrize("ends", [False, True])
def test_a_claim_of_an_attempt_that_no_instance_was_asked_for_costs_nothing_and_keeps_nothing(
    env: Environment, ends: bool
) -> None:
    env.fleet.no_capacity = {"g4dn.2xlarge"}
    waits = env.try_launch(wait_for_capacity=timedelta(hours=2))
    forged = Claim(waits.run_id, 1, "i-0123456789abcdef0", "boot", "00ff")
    env.objects.create(claim_key("dev", waits.run_id, 1), forged.to_json())
    env.sweeps(timedelta(minutes=20))
    assert not env.lock().run.claimed
    if ends:
        env.kill()
        env.sweeps(2 * LIMITS.sweep)
        assert env.left() == []
        assert find_run(env.store, "dev", waits.run_id).run.spent_usd == 0
        return
    env.fleet.no_capacity = set()
    env.sweeps(timedelta(minutes=20))
    (instance,) = env.alive or env.fleet.instances("dev")
    env.sweeps(LIMITS.boot_bound)
    assert env.left() == []
    run = find_run(env.store, "dev", waits.run_id).run
    assert run.instance_id == instance.instance_id
    assert run.verdict is not None


def test_a_person_who_kills_at_once_while_the_instance_claims_still_kills(env: Environment) -> None:
    launched = env.launch()
    agent = env.agent
    env.faults.hook("objects.create", lambda _key: agent.claim(), on=CLAIMS, times=1)
    run = env.kill(at_once=True)
    assert run.verdict == Verdict(Outcome.KILLED, Cause.REQUESTED, "by hand", DecidedBy.WATCHDOG)
    assert run.claimed
    assert launched.instance_id in env.fleet.terminate_calls


def test_of_two_instances_of_an_attempt_one_works_and_the_other_ends(env: Environment) -> None:
    env.faults.crash_before("deadlines.schedule")
    with pytest.raises(Crash):
        env.launch()  # no record says which is the run's
    (first,) = env.alive
    tags = {"Lane": "main", "RunId": env.lock().run.run_id, "Attempt": "1"}
    twin_id = env.fleet.add({"Project": env.fleet.project, "Environment": "dev", "ManagedBy": "chronos-ec2"} | tags)
    twin = next(one for one in env.alive if one.instance_id == twin_id)
    env.agent_of(twin).claim()
    with pytest.raises(Fenced, match="claimed by another instance"):
        env.agent_of(first).claim()
    env.watchdog.sweep()
    assert env.lock().run.instance_id == twin_id
    for _ in range(5):
        env.pass_time(LIMITS.sweep)
        env.watchdog.sweep()
    assert set(env.fleet.terminate_calls) == {first.instance_id}


# --- an outcome against a verdict of the watchdog


def finishing(agent: Agent) -> None:
    agent.finish(COMPLETED)


def overdue(env: Environment) -> Agent:
    """An agent that obeys nobody, at its deadline."""
    in_training(env)
    agent = env.agent
    agent.behaviour = AgentBehaviour.DEAF
    env.pass_time(LIMITS.max_runtime)
    return agent


def test_an_outcome_that_is_written_before_the_watchdogs_verdict_stands(env: Environment) -> None:
    agent = overdue(env)
    env.faults.hook("objects.create", lambda _key: finishing(agent), on=OUTCOMES, times=1)
    env.watchdog.sweep()
    assert env.lock().run.verdict == COMPLETED


def test_an_outcome_that_is_written_after_the_watchdogs_verdict_does_not(env: Environment) -> None:
    agent = overdue(env)
    env.watchdog.sweep()
    with pytest.raises(Fenced, match="ended by the watchdog"):
        finishing(agent)
    verdict = env.lock().run.verdict
    assert verdict is not None
    assert (verdict.cause, verdict.decided_by) == (Cause.OVER_DEADLINE, DecidedBy.WATCHDOG)


def test_a_watchdog_that_dies_between_outcome_and_lock_has_decided(env: Environment) -> None:
    agent = overdue(env)
    env.faults.crash_after("objects.create", on=OUTCOMES)
    with pytest.raises(Crash):
        env.watchdog.sweep()
    assert env.lock().run.verdict is None
    with pytest.raises(Fenced, match="already has an outcome"):
        finishing(agent)
    env.sweeps(timedelta(minutes=5))
    assert env.settled
    assert env.kinds()[-1] == "failed"
    final = find_run(env.store, "dev", agent.session.run.run_id).run
    assert final.verdict is not None
    assert (final.verdict.cause, final.verdict.decided_by) == (Cause.OVER_DEADLINE, DecidedBy.WATCHDOG)


@pytest.mark.parametrize("error", [ServiceUnavailable, LostRace])
def test_an_outcome_whose_answer_was_lost_is_recognised(env: Environment, error: type[Exception]) -> None:
    agent = overdue(env)
    env.faults.lose_answer("objects.create", error, on=OUTCOMES, times=1)
    (report,) = env.watchdog.sweep()
    assert (report.error, report.lost_races) == ("", 0)
    assert env.lock().run.verdict is not None
    with pytest.raises(Fenced):
        finishing(agent)


def test_a_run_that_ends_before_anybody_looks_is_completed(env: Environment) -> None:
    launched = env.launch()
    agent = env.agent
    agent.claim()
    for _ in range(8):
        agent.advance()
    finishing(agent)
    env.power_off(launched)
    assert not env.lock().run.claimed
    env.watchdog.sweep()
    assert env.settled
    final = find_run(env.store, "dev", launched.run_id).run
    assert final.verdict == COMPLETED
    assert [status for status, _ in final.phases][1:] == ["data_sync", "training", "results_sync", "cleanup"]
    assert env.kinds()[-1] == "completed"


def test_a_lost_attempt_ends_before_the_next_begins(env: Environment) -> None:
    """Its instance, if it lives after all, then neither works nor says how it ended."""
    launched = env.launch(crashes_left=1)
    env.claim(launched)
    env.heartbeat(launched, checkpoint_age=timedelta(seconds=30))
    env.power_off(launched)
    env.watchdog.sweep()
    run = env.lock().run
    assert (run.attempt, run.claimed, run.verdict) == (2, False, None)
    outcome = json.loads(env.objects.body(outcome_key("dev", launched.run_id, 1)))
    assert (outcome["cause"], outcome["decided_by"]) == ("infra", "watchdog")


def test_a_crash_between_the_end_of_an_attempt_and_the_next_changes_nothing(env: Environment) -> None:
    launched = env.launch(crashes_left=1)
    env.claim(launched)
    env.heartbeat(launched, checkpoint_age=timedelta(seconds=30))
    env.power_off(launched)
    env.faults.crash_after("objects.replace", on=env.lane.state_key)
    with pytest.raises(Crash):
        env.watchdog.sweep()
    assert env.lock().run.verdict is not None
    env.watchdog.sweep()
    run = env.lock().run
    assert (run.attempt, run.crashes_left) == (2, 0)


def test_the_store_begins_no_attempt_before_the_last_has_its_verdict(env: Environment) -> None:
    env.launch(crashes_left=1)
    held = env.lock()
    with pytest.raises(ValueError, match="attempt 1 of run"):
        env.store.replace_lock(held.run.next_attempt(Cause.INFRA, 0.0, env.clock.now()), held)


def test_a_lock_without_a_verdict_is_released_only_if_nobody_has_claimed(env: Environment) -> None:
    env.launch()
    held = env.lock()
    env.agent.claim()
    with pytest.raises(LostRace):
        env.store.release_lock(held)
    assert env.lock() == held


# --- what nobody can read


@pytest.mark.parametrize("garbage", GARBAGE)
def test_an_unreadable_claim_gives_no_lease_beyond_the_boot(env: Environment, garbage: bytes | None) -> None:
    """Heartbeats and reports beside it prove nothing: no agent of ours works under it."""
    launched = env.launch()
    spoil(env, claim_key("dev", launched.run_id, 1), garbage)
    with pytest.raises(Fenced):
        env.agent.claim()
    for _ in range(int(LIMITS.boot / LIMITS.sweep) - 1):
        env.clock.advance(LIMITS.sweep)
        env.heartbeat(launched)
        env.watchdog.sweep()
    assert env.fleet.terminate_calls == []
    env.sweeps(2 * LIMITS.sweep)
    assert launched.instance_id in env.fleet.terminate_calls
    env.sweeps(timedelta(minutes=5))
    assert env.settled


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("key", [STATUS, OUTCOMES])
def test_unreadable_reports_neither_stop_a_run_nor_its_conclusion(
    env: Environment, key: str, garbage: bytes | None
) -> None:
    launched = in_training(env)
    place = status_key("dev", launched.run_id) if key == STATUS else outcome_key("dev", launched.run_id, 1)
    spoil(env, place, garbage)
    env.watchdog.sweep()
    assert env.lock().run.status is Status.TRAINING
    env.agent.behaviour = AgentBehaviour.SILENT
    env.sweeps(timedelta(minutes=10))
    assert env.settled
    assert env.kinds()[-1] == "failed"
    assert json.loads(env.objects.body(run_key("dev", launched.run_id, "cleanup_status.json")))["agent"] is None


def test_a_heartbeat_that_nobody_can_read_keeps_a_dead_agent_no_longer_than_its_lease(env: Environment) -> None:
    launched = in_training(env)
    env.agent.behaviour = AgentBehaviour.SILENT
    spoil(env, run_key("dev", launched.run_id, "heartbeat.json"), None)
    started = env.clock.now()
    while not env.fleet.terminate_calls and env.clock.now() - started < timedelta(hours=1):
        env.sweeps(LIMITS.sweep)
    assert env.clock.now() - started <= LIMITS.dead_agent_bound
    env.sweeps(timedelta(minutes=5))
    assert env.settled


def test_a_lock_that_nobody_can_read_is_set_aside_like_any_other_unreadable_one(env: Environment) -> None:
    env.objects.withhold(env.lane.state_key, b"archived")
    env.sweeps(LIMITS.boot + timedelta(minutes=10))
    assert env.settled


def test_reports_that_keep_coming_without_a_heartbeat_prolong_no_life(env: Environment) -> None:
    """Each of them makes the watchdog write the lock, whose time therefore proves nothing."""
    launched = env.launch()
    env.store.claim("dev", Claim(launched.run_id, 1, launched.instance_id, "boot", "ff"))
    started, minute = env.clock.now(), 0
    while not env.fleet.terminate_calls and minute < 30:
        minute += 1
        phases = ((Status.INITIALIZATION, env.clock.now()),)
        env.store.report("dev", StatusReport(launched.run_id, 1, phases, f"step_{minute}"))
        env.clock.advance(LIMITS.sweep)
        env.watchdog.sweep()
    assert env.clock.now() - started <= LIMITS.dead_agent_bound


def test_the_grace_after_an_outcome_counts_from_when_it_was_written(env: Environment) -> None:
    launched = in_training(env)
    finishing(env.agent)
    env.pass_time(LIMITS.grace)
    env.watchdog.sweep()
    assert env.fleet.terminate_calls == [launched.instance_id]


def test_an_outcome_lets_nobody_live_past_the_grace(env: Environment) -> None:
    launched = in_training(env)
    env.agent.behaviour = AgentBehaviour.LINGERING
    finishing(env.agent)
    for _ in range(4):
        env.pass_time(LIMITS.sweep)
        env.store.report("dev", StatusReport(launched.run_id, 1, ((Status.INITIALIZATION, env.clock.now()),), "more"))
        env.watchdog.sweep()
    assert launched.instance_id in env.fleet.terminate_calls


# --- what is kept of an outcome


def test_the_final_record_has_the_hashes_of_the_model_and_the_receipt_the_agents_part(env: Environment) -> None:
    launched = in_training(env)
    models = tuple((f"part-{number:02}", f"{number:064x}") for number in range(MAX_MODEL_FILES))
    outcome = OutcomeReport(launched.run_id, 1, "ff", COMPLETED, models=models)
    env.store.end("dev", outcome)
    env.power_off(launched)
    env.watchdog.sweep()
    assert find_run(env.store, "dev", launched.run_id).run.models == models


def test_a_final_record_waits_for_an_outcome_that_could_not_be_read(env: Environment) -> None:
    """Without the hashes of its model nobody could load it."""
    launched = in_training(env)
    env.store.end("dev", OutcomeReport(launched.run_id, 1, "ff", COMPLETED, models=(("a", "0" * 64),)))
    env.power_off(launched)
    env.copy_reports()
    env.faults.fail("objects.read", on=OUTCOMES, times=1)
    (report,) = env.watchdog.sweep()
    assert "is refused" in report.error
    env.watchdog.sweep()
    assert find_run(env.store, "dev", launched.run_id).run.models == (("a", "0" * 64),)


# --- events


@pytest.mark.parametrize("lane", [Lane("dev"), Lane("dev", "second")])
def test_a_report_wakes_the_watchdog_for_the_lane_of_its_run(env: Environment, lane: Lane) -> None:
    launched = env.launch(lane=lane)
    (instance,) = env.alive
    env.agent_of(instance).claim()
    for key in (claim_key("dev", launched.run_id, 1), outcome_key("dev", launched.run_id, 1)):
        env.handle(_created(key))
    assert env.lock(lane).run.claimed


def _created(key: str) -> object:
    detail = {"bucket": {"name": "a-bucket"}, "object": {"key": key}}
    return {"source": "aws.s3", "detail-type": "Object Created", "detail": detail}
