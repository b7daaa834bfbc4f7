"""What happens between two calls of a service: somebody writes, a call fails, a list is not what it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chronos_ec2.domain.decision import Decision, Terminate
from chronos_ec2.domain.errors import (
    CapacityUnavailable,
    InvalidInput,
    LostRace,
    NotAllowed,
    ServiceUnavailable,
    Superseded,
)
from chronos_ec2.domain.facts import Absent
from chronos_ec2.domain.instance import InstanceState, owner_tags
from chronos_ec2.domain.limits import MAX_NOTIFICATION_DELAY
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import bundle_key, run_key, suspect_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Stop, Verdict
from chronos_ec2.ports import Resource
from chronos_ec2.run_store import HEARTBEAT, RunStore
from chronos_ec2.services.launch import Launched
from chronos_ec2.services.publish.agent import publish_bundle
from chronos_ec2.services.run_queries import list_runs
from chronos_ec2.services.verify import verify
from chronos_ec2.testing import Environment, Faults, MemoryAws
from chronos_ec2.testing.builders import LIMITS, NOW, a_heartbeat, seconds
from chronos_ec2.testing.faults import AWS_CALLS

LOCK = "dev/system-state.json"


def heartbeat_of(launched: Launched) -> str:
    return run_key("dev", launched.run_id, HEARTBEAT)


@pytest.mark.parametrize("trigger", ["lane", "sweep", "instance"])
def test_ec2_is_listed_before_the_state_is_read(env: Environment, faults: Faults, trigger: str) -> None:
    launched = env.launch()
    faults.calls.clear()
    {"lane": lambda: env.watchdog.lane(Lane("dev")), "sweep": env.watchdog.sweep,
     "instance": lambda: env.watchdog.instance(launched.instance_id)}[trigger]()  # fmt: skip
    calls = [operation for operation, _ in faults.calls]
    assert calls.count("fleet.instances") > 0
    last_list = len(calls) - calls[::-1].index("fleet.instances")
    assert last_list <= calls.index("objects.read")


@pytest.mark.parametrize("refused", ["s3:GetObject", "ec2:DescribeInstances"])
def test_an_outage_of_any_length_ends_no_healthy_run_and_releases_nothing(
    env: Environment, faults: Faults, refused: str
) -> None:
    launched = env.launch()
    env.claim(launched)
    env.train()
    faults.fail(refused)
    for _ in range(20):
        env.clock.advance(LIMITS.sweep)
        try:
            env.watchdog.sweep()
        except ServiceUnavailable:
            assert refused == "ec2:DescribeInstances"
    faults.clear()
    env.heartbeat(launched)
    env.watchdog.sweep()
    assert env.fleet.terminate_calls == []
    assert env.lock().run.suspect is None


def test_a_verdict_that_cannot_be_written_does_not_keep_a_dead_instance_alive(env: Environment, faults: Faults) -> None:
    launched = env.launch()
    env.claim(launched)
    env.train()
    env.clock.advance(LIMITS.lease + seconds(60))
    env.first_look()
    faults.fail("s3:PutObject")
    env.watchdog.sweep()
    assert env.fleet.terminate_calls == [launched.instance_id]


def test_an_agent_that_claims_before_the_launcher_is_done_keeps_its_claim(env: Environment, faults: Faults) -> None:
    def claim(_run_id: str) -> None:
        env.agent.claim()
        env.copy_reports()

    faults.hook("fleet.launch", claim, after=True)
    env.fleet.no_capacity = {"g5.4xlarge"}
    launched = env.launch(instance_types=("g5.4xlarge", "g4dn.xlarge"), price_per_hour_usd=None)
    run = env.lock().run
    assert (run.current_step, run.instance_id, run.instance_type) == ("claimed", launched.instance_id, "g4dn.xlarge")


@pytest.mark.parametrize(
    "change", [{"instance_id": "i-00000000000000bad"}, {"attempt": 2}, {"run_id": "20260101T000000Z-ffffff"}]
)
def test_a_slow_launcher_names_its_instance_in_no_record_but_its_own(
    env: Environment, faults: Faults, change: dict[str, Any]
) -> None:
    def overwrite(_run_id: str) -> None:
        env.objects.write(env.lane.state_key, replace(env.lock().run, **change).to_json())

    faults.hook("fleet.launch", overwrite)
    with pytest.raises(Superseded, match="while i-00000000000000001 was being started"):
        env.launch()
    (instance,) = env.alive
    assert env.lock().run.instance_id != instance.instance_id


def test_an_orphan_whose_record_appears_before_its_termination_is_spared(env: Environment, faults: Faults) -> None:
    launched = env.launch()
    held = env.lock()
    env.objects.remove(LOCK)
    env.clock.advance(LIMITS.grace)
    env.watchdog.sweep()
    env.clock.advance(LIMITS.confirmation)
    faults.hook("objects.read", lambda key: env.objects.create(key, held.run.to_json()), after=True, on=LOCK, times=1)
    env.watchdog.sweep()
    assert env.fleet.terminate_calls == []
    assert launched.instance_id in {instance.instance_id for instance in env.fleet.instances("dev") if instance.alive}


def test_the_one_place_that_ends_instances_ends_none_that_is_not_listed_as_ours(env: Environment) -> None:
    foreign = env.fleet.add(owner_tags("Somebody-Else", "dev"))
    facts = env.watchdog.facts(Lane("dev"))
    with pytest.raises(Exception, match="not in EC2's list of our instances"):
        env.watchdog._executor.apply(Decision("forged", (Terminate(foreign, Cause.ORPHAN),)), facts)
    assert env.fleet.terminate_calls == []


def test_a_message_that_cannot_be_sent_delays_the_end_of_an_orphan_by_some_sweeps_only(
    env: Environment,
) -> None:
    orphan = env.fleet.add(owner_tags(env.fleet.project, "dev"))
    env.faults.fail("notifier.publish")
    env.sweeps(LIMITS.orphan_bound)
    assert env.fleet.terminate_calls == []
    env.sweeps(3 * LIMITS.sweep)
    assert env.fleet.terminate_calls == [orphan]


@pytest.mark.parametrize("state", [state for state in InstanceState if state is not InstanceState.TERMINATED])
def test_verify_names_an_instance_in_every_state_that_costs(env: Environment, state: InstanceState) -> None:
    env.fleet.move(env.launch().instance_id, state)
    assert "instance" in env.left()


def test_verify_does_not_say_that_nothing_is_left_when_it_cannot_know(env: Environment, faults: Faults) -> None:
    faults.fail("fleet.leftovers")
    with pytest.raises(ServiceUnavailable):
        env.left()


def test_two_bundles_have_two_keys() -> None:
    store = RunStore(MemoryAws().objects)
    first, second = (publish_bundle(store, body) for body in (b"one", b"two"))
    assert bundle_key(first) != bundle_key(second)
    assert store.objects.read(bundle_key(first)).body == b"one"  # type: ignore[union-attr]


def test_a_sweep_finds_an_orphan_in_a_lane_that_has_no_lock(env: Environment) -> None:
    orphan = env.fleet.add(owner_tags(env.fleet.project, "dev") | {"Lane": "forgotten"})
    env.sweeps(LIMITS.orphan_bound)
    assert env.fleet.terminate_calls == [orphan]


def test_a_record_alone_that_cannot_be_read_ends_no_healthy_run(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.faults.fail("objects.read", on=LOCK)
    for _ in range(20):
        env.heartbeat(launched)
        env.sweeps(LIMITS.sweep)
    assert env.fleet.terminate_calls == []


def test_a_write_whose_answer_was_lost_has_happened(env: Environment) -> None:
    for write in ("objects.create", "objects.replace"):
        env.faults.lose_answer(write, on=LOCK)
    launched = env.launch()
    assert env.lock().run.instance_id == launched.instance_id


SCHEDULERS_CALLS = ["scheduler:ListSchedules", "scheduler:CreateSchedule", "scheduler:DeleteSchedule"]
ANY_TROUBLE = [ServiceUnavailable, NotAllowed, RuntimeError]
"""What the port promises to raise, and what nobody thought of, like a group that somebody deleted."""


@pytest.mark.parametrize("error", ANY_TROUBLE)
def test_a_launch_succeeds_although_its_deadline_cannot_be_scheduled(
    env: Environment, faults: Faults, error: type[Exception]
) -> None:
    faults.fail("deadlines.schedule", error)
    launched = env.launch()
    assert env.lock().run.instance_id == launched.instance_id
    assert env.deadlines.schedules == {}


@pytest.mark.parametrize("error", ANY_TROUBLE)
@pytest.mark.parametrize("call", SCHEDULERS_CALLS)
def test_a_dead_agent_is_ended_whatever_scheduler_says(
    env: Environment, faults: Faults, call: str, error: type[Exception]
) -> None:
    launched = env.launch()
    env.claim(launched)
    env.clock.advance(LIMITS.lease + seconds(60))
    env.first_look()
    faults.fail(call, error)
    env.watchdog.sweep()
    assert env.fleet.terminate_calls == [launched.instance_id]


@pytest.mark.parametrize("error", ANY_TROUBLE)
@pytest.mark.parametrize("call", SCHEDULERS_CALLS)
def test_a_run_that_is_over_is_concluded_whatever_scheduler_says(
    env: Environment, faults: Faults, call: str, error: type[Exception]
) -> None:
    launched = env.launch()
    env.claim(launched)
    env.train()
    env.end(Outcome.SUCCEEDED, Cause.COMPLETED)
    env.power_off(launched)
    faults.fail(call, error)
    env.watchdog.sweep()
    assert env.store.read_lock(Lane("dev")) == Absent()
    assert env.kinds()[-1] == "completed"
    receipt = json.loads(env.objects.body(run_key("dev", launched.run_id, "cleanup_status.json")))
    (schedule,) = [resource["state"] for resource in receipt["resources"] if resource["kind"] == "schedule"]
    assert schedule == {SCHEDULERS_CALLS[0]: "unknown", SCHEDULERS_CALLS[1]: "deleted"}.get(call, "scheduled")


@pytest.mark.parametrize("error", ANY_TROUBLE)
def test_a_schedule_that_nobody_needs_and_that_cannot_be_deleted_keeps_no_lane_from_its_sweep(
    env: Environment, faults: Faults, error: type[Exception]
) -> None:
    env.deadlines.schedule("i-gone", env.clock.now())
    env.clock.advance(LIMITS.boot)
    orphan = env.fleet.add(owner_tags(env.fleet.project, "dev"))
    faults.fail("deadlines.cancel", error)
    env.sweeps(LIMITS.orphan_bound)
    assert env.fleet.terminate_calls == [orphan]
    assert "is refused" in env.watchdog.sweep()[0].error


@pytest.mark.parametrize("error", ANY_TROUBLE)
def test_verify_raises_our_error_if_it_cannot_ask(env: Environment, faults: Faults, error: type[Exception]) -> None:
    faults.fail("deadlines.scheduled", error)
    with pytest.raises((ServiceUnavailable, NotAllowed), match="is refused"):
        env.left()


def test_a_missing_permission_does_not_stop_what_needs_others(env: Environment, faults: Faults) -> None:
    launched = env.launch()
    env.claim(launched)
    env.clock.advance(LIMITS.lease + seconds(60))
    env.first_look()

    faults.fail("objects.replace", NotAllowed("not allowed to put an object"), on=LOCK)
    (report,) = env.watchdog.sweep()
    assert "not allowed" in report.error
    assert env.fleet.terminate_calls == [launched.instance_id]


@pytest.mark.parametrize("name", ["Upper", "cached-datasets", "", "main", "a lane", "x" * 32, "é"])
def test_a_key_that_no_lane_can_have_keeps_nobody_from_the_lanes_that_are(env: Environment, name: str) -> None:
    launched = env.launch()
    env.claim(launched)
    env.objects.write(f"dev/lanes/{name}/system-state.json", b"{}")
    reports = env.watchdog.sweep()
    assert [report.error for report in reports] == ["", ""]
    assert reports[0].decision.reason.startswith(f"dev/lanes/{name}/: not the lock of a lane")
    assert [snapshot.active for snapshot in list_runs(env.store, "dev")] == [True]
    assert env.left() == ["instance", "volume", "schedule", "lock"]
    assert env.kill().run_id == launched.run_id
    env.sweeps(LIMITS.grace + 3 * LIMITS.sweep)
    assert env.left() == []


def an_untagged_instance(env: Environment) -> str:
    """The instance of a run, older than a boot, from which somebody has taken our tags."""
    launched = env.launch()
    env.claim(launched)
    env.train()
    for _ in range(int(LIMITS.boot / LIMITS.sweep)):
        env.heartbeat(launched)
        env.sweeps(LIMITS.sweep)
    env.fleet.untag(launched.instance_id)
    return launched.instance_id


def test_the_schedule_of_an_instance_that_lost_its_tags_stays_and_people_are_published_once(env: Environment) -> None:
    instance_id = an_untagged_instance(env)
    env.sweeps(10 * LIMITS.sweep)
    assert env.deadlines.schedules.keys() == {instance_id}
    assert env.fleet.terminate_calls == []
    assert env.kinds() == ["started", "leak", "failed"]
    leak = env.notifier.messages[1]
    assert leak.document["instance_id"] == instance_id
    assert f"aws ec2 terminate-instances --instance-ids {instance_id}" in leak.body
    found = verify("dev", env.store, env.fleet, env.deadlines)
    assert [(finding.kind, finding.name) for finding in found] == [
        ("instance", f"{instance_id} (without our tags)"), ("schedule", instance_id),
    ]  # fmt: skip
    env.fleet.move(instance_id, InstanceState.TERMINATED)
    env.watchdog.sweep()
    assert env.left() == []


def test_a_calm_sweep_asks_ec2_once(env: Environment, faults: Faults) -> None:
    launched = env.launch()
    env.claim(launched)
    env.clock.advance(LIMITS.boot)
    env.heartbeat(launched)
    faults.calls.clear()
    env.watchdog.sweep()
    assert [AWS_CALLS[operation] for operation, _ in faults.calls].count("ec2:DescribeInstances") == 1


def test_a_schedule_stays_when_ec2_cannot_be_asked_and_the_lanes_are_swept(env: Environment) -> None:
    an_untagged_instance(env)
    orphan = env.fleet.add(owner_tags(env.fleet.project, "dev"))
    env.faults.fail("fleet.look_up", NotAllowed("not allowed to list EC2 instances"))
    env.sweeps(LIMITS.orphan_bound)
    assert "not allowed" in env.watchdog.sweep()[0].error
    assert env.fleet.terminate_calls == [orphan]
    assert len(env.deadlines.schedules) == 1


S3S_CALLS = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"]


@pytest.mark.parametrize("error", [ServiceUnavailable, NotAllowed])
@pytest.mark.parametrize("calls", [S3S_CALLS, S3S_CALLS[:1], S3S_CALLS[-1:]], ids=["all", "reads", "lists"])
def test_a_deadline_holds_whatever_s3_says(
    env: Environment, faults: Faults, calls: list[str], error: type[Exception]
) -> None:
    launched = env.launch()
    env.claim(launched)
    second = env.launch(lane=Lane("dev", "second"))
    orphan = env.fleet.add(owner_tags(env.fleet.project, "dev"))
    deadline = env.clock.now() + LIMITS.max_runtime
    env.clock.advance(LIMITS.max_runtime - 15 * LIMITS.sweep)
    for name, run_id in (("main", launched.run_id), ("second", second.run_id)):
        held = env.lock(Lane("dev", name))
        env.store.replace_lock(replace(held.run, claimed_at=env.clock.now()), held)
        env.store.write_heartbeat("dev", a_heartbeat(run_id=run_id, instance_id=held.run.instance_id))
    for call in calls:
        faults.fail(call, error)
    for _ in range(30):
        env.clock.advance(LIMITS.sweep)
        reports = env.watchdog.sweep()
        assert any("is refused" in report.error or "is refused" in report.decision.reason for report in reports)
        if calls != S3S_CALLS[-1:] and env.clock.now() < deadline:
            assert env.fleet.terminate_calls == []
    assert {launched.instance_id, second.instance_id} <= set(env.fleet.terminate_calls)
    assert (orphan in env.fleet.terminate_calls) is (calls == S3S_CALLS[-1:])


def test_a_note_that_cannot_be_read_puts_the_end_of_an_orphan_off_and_not_back(env: Environment) -> None:
    orphan = env.fleet.add(owner_tags(env.fleet.project, "dev"))
    env.sweeps(LIMITS.grace)
    key = suspect_key("dev", orphan)
    first = env.objects.read(key)
    env.faults.fail("objects.read", on=key)
    env.sweeps(3 * LIMITS.sweep)
    assert env.fleet.terminate_calls == []
    env.faults.clear()
    assert env.objects.read(key) == first
    env.watchdog.sweep()
    assert env.fleet.terminate_calls == [orphan]


@pytest.mark.parametrize("error", [ServiceUnavailable, NotAllowed])
def test_kill_says_that_it_could_not_look_and_not_that_there_is_no_run(
    env: Environment, faults: Faults, error: type[Exception]
) -> None:
    launched = env.launch()
    faults.fail("s3:GetObject", error)
    with pytest.raises(error, match="is refused"):
        env.kill(launched.run_id)


def test_beside_an_unreadable_lock_kill_takes_the_run_that_is_named_and_no_other(env: Environment) -> None:
    launched, other = env.launch(), env.launch(Lane("dev", "second"))
    env.objects.write("dev/lanes/second/system-state.json", b"{")
    with pytest.raises(InvalidInput, match=rf"active: {launched.run_id}, and another may be: .*second.*\(name one\)"):
        env.kill(None)
    with pytest.raises(ServiceUnavailable, match=f"run {other.run_id} could not be read: .*second"):
        env.kill(other.run_id)
    env.kill(launched.run_id)
    assert env.lock().run.stop


def rewrite_at_each_read(env: Environment, change: Callable[[Run], Run] = lambda run: run) -> None:
    """Somebody writes the lock again whenever anybody has read it."""

    def rewrite(_key: str) -> None:
        held = env.lock()
        env.store.replace_lock(change(held.run), held)

    env.faults.hook("objects.read", rewrite, after=True, on=LOCK)


FORGED = Verdict(Outcome.FAILED, Cause.HUNG, "forged", DecidedBy.WATCHDOG)


@pytest.mark.parametrize(
    ("age", "changes"),
    [
        pytest.param(LIMITS.max_runtime, {}, id="deadline"),
        pytest.param(LIMITS.max_runtime, {"verdict": FORGED, "status": Status.FAILED}, id="a forged verdict"),
        pytest.param(seconds(3600), {"max_cost_usd": 0.75}, id="cap"),
        pytest.param(LIMITS.grace, {"stop": Stop(Cause.REQUESTED, "by hand", NOW)}, id="kill"),
    ],
)
def test_rewriting_the_lock_again_and_again_escapes_no_hard_limit(
    env: Environment, age: timedelta, changes: dict[str, Any]
) -> None:
    launched = env.launch()
    env.claim(launched)
    env.train()
    env.clock.advance(age)
    env.heartbeat(launched)
    rewrite_at_each_read(env, lambda run: replace(run, **changes))
    for _ in range(2):  # the first may have read what was there before
        env.watchdog.sweep()
    assert env.fleet.terminate_calls == [launched.instance_id]


def test_a_lease_ends_no_run_whose_lock_others_keep_writing_and_the_report_says_so(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.train()
    env.clock.advance(LIMITS.lease + seconds(60))
    rewrite_at_each_read(env)
    (report,) = env.watchdog.sweep()
    assert env.fleet.terminate_calls == []
    assert "dev/system-state.json kept changing" in report.error
    assert report.lost_races == 3
    assert report.instances == (launched.instance_id,)


GARBAGE = b"\xef\xbb\xbf{"


def an_orphan_and_a_run(env: Environment) -> tuple[str, Launched]:
    """An orphan that EC2 lists first, and a healthy run in training; both are older than a boot may take."""
    tags = owner_tags(env.fleet.project, "dev") | {"RunId": "20260101T000000Z-ffffff"}
    orphan = env.fleet.add(tags)
    launched = env.launch()
    env.claim(launched)
    env.train()
    env.clock.advance(LIMITS.boot + seconds(1))
    env.heartbeat(launched, counter=2)
    return orphan, launched


def test_beside_an_unreadable_lock_an_orphan_is_ended_and_a_live_run_is_not(
    env: Environment,
) -> None:
    orphan, launched = an_orphan_and_a_run(env)
    before = env.lock().run.to_json()
    env.objects.write(LOCK, GARBAGE)
    for counter in range(3, 60):
        env.sweeps(LIMITS.sweep)
        env.heartbeat(launched, counter)
    assert env.fleet.terminate_calls == [orphan]
    assert env.objects.body(LOCK) == GARBAGE

    env.objects.write(LOCK, before)
    env.end(Outcome.SUCCEEDED, Cause.COMPLETED)
    env.power_off(launched)
    env.watchdog.sweep()
    assert env.left() == []


def test_a_heartbeat_that_comes_just_before_an_end_beside_an_unreadable_lock_spares_its_agent(env: Environment) -> None:
    orphan, launched = an_orphan_and_a_run(env)
    env.fleet.move(orphan, InstanceState.TERMINATED)
    env.objects.write(LOCK, GARBAGE)
    env.sweeps(LIMITS.lease + 2 * LIMITS.sweep)
    env.fleet.terminate_calls.clear()
    env.fleet.move(launched.instance_id, InstanceState.RUNNING)
    env.faults.hook(
        "objects.read", lambda _key: env.heartbeat(launched, counter=9), after=True, on=heartbeat_of(launched), times=1
    )
    assert env.watchdog.lane(Lane("dev")).lost_races == 1
    assert env.fleet.terminate_calls == []


def without_a_lock(env: Environment, launched: Launched) -> Callable[[], None]:
    """Take the lock away; what is returned brings it back."""
    body = env.lock().run.to_json()
    env.objects.remove(LOCK)

    def bring_back() -> None:
        env.objects.write(LOCK, body)
        env.heartbeat(launched)

    return bring_back


def test_a_suspicion_of_long_ago_makes_no_first_look_fatal(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.train()
    env.clock.advance(LIMITS.grace)
    bring_back = without_a_lock(env, launched)
    env.watchdog.sweep()
    bring_back()
    for counter in range(2, 122):
        env.sweeps(LIMITS.sweep)
        env.heartbeat(launched, counter)
    bring_back = without_a_lock(env, launched)
    env.watchdog.sweep()
    bring_back()
    env.sweeps(LIMITS.sweep)
    assert env.fleet.terminate_calls == []


def test_an_orphan_that_could_not_be_ended_for_an_hour_is_ended_within_a_grace_when_it_can(
    env: Environment, faults: Faults
) -> None:
    orphan = env.fleet.add(owner_tags(env.fleet.project, "dev"))
    faults.fail("fleet.terminate")
    env.sweeps(seconds(3600))
    faults.clear()
    env.sweeps(LIMITS.grace)
    assert not next(instance for instance in env.fleet.instances("dev") if instance.instance_id == orphan).alive


def test_a_list_of_ec2_that_lags_for_minutes_ends_no_run_whose_agent_sends_heartbeats(env: Environment) -> None:
    launched = env.launch(crashes_left=1)
    env.claim(launched)
    env.train()
    env.fleet.lists_nothing = True
    for counter in range(2, 12):
        env.heartbeat(launched, counter, checkpoint_age=seconds(30))
        env.sweeps(LIMITS.sweep)
    assert env.lock().run.attempt == 1
    assert env.lock().run.verdict is None
    env.fleet.lists_nothing = False
    env.heartbeat(launched, 12)
    env.watchdog.sweep()
    assert env.lock().run.suspect is None
    assert env.fleet.terminate_calls == []


def test_the_lane_of_an_instance_that_vanished_is_free_within_the_promise(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.train()
    env.heartbeat(launched, 2)
    env.fleet.lists_nothing = True
    env.sweeps(LIMITS.vanished_bound)
    assert env.store.read_lock(Lane("dev")) == Absent()


@pytest.mark.parametrize("crashes_left", [0, 1])
def test_a_heartbeat_that_comes_just_before_a_run_is_given_up_keeps_it(env: Environment, crashes_left: int) -> None:
    launched = env.launch(crashes_left=crashes_left)
    env.claim(launched)
    env.train()
    env.heartbeat(launched, 2, checkpoint_age=seconds(30))
    env.fleet.lists_nothing = True
    env.sweeps(LIMITS.lease - seconds(30))
    env.clock.advance(LIMITS.sweep)
    env.faults.hook(
        "objects.read",
        lambda _key: env.heartbeat(launched, 3, checkpoint_age=seconds(30)),
        after=True,
        on=heartbeat_of(launched),
        times=1,
    )
    assert env.watchdog.lane(Lane("dev")).lost_races == 1
    assert (env.lock().run.attempt, env.lock().run.verdict) == (1, None)


@pytest.mark.parametrize("error", ANY_TROUBLE)
def test_an_instance_that_ec2_refuses_to_end_keeps_no_other_alive_and_is_published(
    env: Environment, error: type[Exception]
) -> None:
    tags = owner_tags(env.fleet.project, "dev")
    protected, other = env.fleet.add(tags), env.fleet.add(tags)
    env.faults.fail("fleet.terminate", error("OperationNotPermitted: it is protected"), on=protected)
    env.sweeps(LIMITS.orphan_bound)
    assert env.fleet.terminate_calls == [other]
    assert "OperationNotPermitted" in env.watchdog.sweep()[-1].error
    env.sweeps(LIMITS.alarm)
    published = [(m.attributes["kind"], m.document["incident"]) for m in env.notifier.messages]
    assert sorted(published) == [("leak", protected), ("orphan", protected), ("orphan", other)]


def a_run_that_is_over(env: Environment) -> str:
    launched = env.launch()
    env.claim(launched)
    env.end(Outcome.SUCCEEDED, Cause.COMPLETED)
    env.power_off(launched)
    return launched.run_id


@pytest.mark.parametrize("error", ANY_TROUBLE[1:])
def test_a_message_that_sns_refuses_holds_the_lane_for_a_while_and_no_longer(
    env: Environment, error: type[Exception]
) -> None:
    run_id = a_run_that_is_over(env)
    env.faults.fail("notifier.publish", error)
    env.sweeps(MAX_NOTIFICATION_DELAY - LIMITS.sweep)
    assert env.lock().run.run_id == run_id
    env.clock.advance(LIMITS.sweep)
    assert "is refused" in env.watchdog.sweep()[-1].error
    assert env.left() == []
    assert not [key for key, _ in env.objects.keys(run_key("dev", run_id, "notified/"))]


def test_an_sns_that_does_not_answer_is_waited_for(env: Environment) -> None:
    a_run_that_is_over(env)
    env.faults.fail("notifier.publish")
    env.sweeps(2 * MAX_NOTIFICATION_DELAY)
    env.faults.clear()
    env.watchdog.sweep()
    assert (env.kinds(), env.left()) == (["completed"], [])


@pytest.mark.parametrize(
    ("call", "found"),
    [
        ("ec2:DeleteVolume", ("volume", "vol-1", "not deleted: ec2:DeleteVolume is refused")),
        (
            "ec2:DescribeVolumes",
            (
                "volume, network-interface, spot-instances-request",
                "unknown",
                "not listed: ec2:DescribeVolumes is refused",
            ),
        ),
        (
            "s3:ListBucketMultipartUploads",
            ("multipart-upload", "unknown", "not listed: s3:ListBucketMultipartUploads is refused"),
        ),
        (
            "s3:AbortMultipartUpload",
            ("multipart-upload", "dev/{run_id}/models/a", "not aborted: s3:AbortMultipartUpload is refused"),
        ),
    ],
)
def test_a_leftover_that_may_not_be_deleted_or_listed_stands_in_the_receipt_and_holds_no_lane(
    env: Environment, faults: Faults, call: str, found: tuple[str, str, str]
) -> None:
    run_id = a_run_that_is_over(env)
    env.fleet.left = {Resource("volume", "vol-1", "available"): run_id}
    env.objects.begin(f"dev/{run_id}/models/a")
    faults.fail(call, NotAllowed)
    (report,) = env.watchdog.sweep()
    assert report.error == ""
    assert env.store.read_lock(Lane("dev")) == Absent()
    receipt = json.loads(env.objects.body(run_key("dev", run_id, "cleanup_status.json")))
    assert tuple(text.format(run_id=run_id) for text in found) in [tuple(one.values()) for one in receipt["resources"]]


def test_a_leftover_of_which_ec2_does_not_answer_is_deleted_by_a_later_sweep(env: Environment, faults: Faults) -> None:
    run_id = a_run_that_is_over(env)
    env.fleet.left = {Resource("volume", "vol-1", "available"): run_id}
    faults.fail("fleet.delete")
    env.watchdog.sweep()
    assert env.lock().run.run_id == run_id
    faults.clear()
    env.watchdog.sweep()
    assert env.left() == []


def test_a_launch_that_is_not_allowed_frees_its_lane(env: Environment, faults: Faults) -> None:
    faults.fail("fleet.launch", NotAllowed)
    with pytest.raises(NotAllowed):
        env.launch()
    assert env.left() == []


def test_a_request_whose_answer_was_lost_and_that_was_sent_again_is_written(env: Environment, faults: Faults) -> None:
    faults.lose_answer("objects.create", LostRace("412"), on="*/request.json")
    launched = env.launch()
    assert env.lock().run.run_id == launched.run_id


def test_a_request_that_somebody_else_wrote_is_not_ours(env: Environment, faults: Faults) -> None:
    faults.hook("objects.create", lambda key: env.objects.create(key, b"{}"), on="*/request.json")
    with pytest.raises(LostRace):
        env.launch()
    assert env.left() == []


@pytest.mark.parametrize("error", [LostRace, ServiceUnavailable, NotAllowed])
def test_a_lane_that_cannot_be_freed_does_not_hide_why_nothing_was_launched(
    env: Environment, error: type[Exception]
) -> None:
    env.fleet.no_capacity = {"g4dn.2xlarge"}
    env.faults.fail("objects.remove", error, on=LOCK)
    with pytest.raises(CapacityUnavailable):
        env.launch()
    env.faults.clear()
    env.sweeps(LIMITS.boot + 3 * LIMITS.sweep)
    assert env.left() == []


def test_of_another_lane_than_the_main_one_that_lanes_instances_alone_are_listed(env: Environment) -> None:
    second = Lane("dev", "second")
    env.launch(lane=second)
    env.fleet.add(owner_tags(env.fleet.project, "dev"))
    env.faults.calls.clear()
    assert [len(env.watchdog.facts(lane).instances) for lane in (second, Lane("dev"))] == [1, 1]
    env.watchdog.sweep()
    assert [lane for operation, lane in env.faults.calls if operation == "fleet.instances"] == ["second", "", ""]


def test_a_step_that_has_no_encoding_does_not_delay_the_end_of_a_dead_agent(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.heartbeat(launched)
    lock = env.objects.body(env.lane.state_key)
    env.objects.write(env.lane.state_key, lock.replace(b'"current_step": "claimed"', b'"current_step": "\\ud800"'))
    env.sweeps(LIMITS.dead_agent_bound)
    assert env.fleet.terminate_calls == [launched.instance_id]
