"""Runs from launch to release, with nothing but sweeps to watch them."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from random import Random
from typing import Any

import pytest

from chronos_ec2.domain.errors import (
    CapacityUnavailable,
    InvalidInput,
    LaneBusy,
    NotAllowed,
    RunNotFound,
    ServiceUnavailable,
)
from chronos_ec2.domain.facts import Absent
from chronos_ec2.domain.instance import InstanceState, owner_tags
from chronos_ec2.domain.records.capacity import LaunchOption
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import exit_report_key, run_key
from chronos_ec2.domain.records.status import Cause, Outcome, Status
from chronos_ec2.ports import Resource
from chronos_ec2.run_store import HEARTBEAT
from chronos_ec2.services.launch import Launched
from chronos_ec2.services.run_queries import find_run, list_runs
from chronos_ec2.testing import Crash, Environment
from chronos_ec2.testing.builders import LIMITS, seconds


def test_a_successful_run_leaves_its_records_and_two_messages_and_nothing_else(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.train()
    env.watchdog.lane(Lane("dev"))
    env.end(Outcome.SUCCEEDED, Cause.COMPLETED)
    env.power_off(launched)
    env.watchdog.instance(launched.instance_id)

    assert env.left() == []
    assert env.kinds() == ["started", "completed"]
    past = find_run(env.store, "dev", launched.run_id)
    assert (past.active, past.run.status) == (False, Status.CLEANUP)
    receipt = json.loads(env.objects.body(run_key("dev", launched.run_id, "cleanup_status.json")))
    assert receipt["resources"] == [
        {"kind": "instance", "id": launched.instance_id, "state": "terminated"},
        {"kind": "schedule", "id": launched.instance_id, "state": "deleted"},
    ]
    assert [snapshot.run.run_id for snapshot in list_runs(env.store, "dev")] == [launched.run_id]


def test_the_record_is_there_before_the_instance(env: Environment) -> None:
    seen: list[object] = []
    env.faults.hook("fleet.launch", lambda _run_id: seen.append(env.lock().run.current_step))
    launched = env.launch()
    assert seen == ["launching"]
    assert env.lock().run.instance_id == launched.instance_id


def test_a_second_launch_is_refused_and_names_the_holder(env: Environment) -> None:
    launched = env.launch()
    with pytest.raises(LaneBusy, match=launched.run_id):
        env.launch()
    assert len(env.fleet.instances("dev")) == 1


def test_another_lane_is_free(env: Environment) -> None:
    env.launch()
    env.launch(lane=Lane("dev", "second"))
    assert [lane.name for lane in env.store.lanes("dev")] == ["main", "second"]


def test_without_capacity_anywhere_the_lane_is_free_again(env: Environment) -> None:
    env.fleet.no_capacity = {"g4dn.2xlarge"}
    with pytest.raises(CapacityUnavailable, match="3 places"):
        env.launch()
    assert env.left() == []


def test_capacity_elsewhere_is_used(env: Environment) -> None:
    env.fleet.no_capacity = {"subnet-a", "subnet-b"}
    assert env.launch().option.subnet_id == "subnet-c"


def test_an_agent_that_dies_is_ended_within_the_promise(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.train()
    env.sweeps(LIMITS.dead_agent_bound)
    assert env.fleet.terminate_calls == [launched.instance_id]
    env.sweeps(seconds(120))
    assert env.left() == []
    assert env.kinds() == ["started", "failed"]


def test_a_hang_is_ended_within_the_promise_and_is_called_one(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.train()
    start = env.clock.now()
    while not env.fleet.terminate_calls:
        env.clock.advance(LIMITS.heartbeat)
        env.heartbeat(launched, counter=5, stalled_for=env.clock.now() - start)
        if (env.clock.now() - start).seconds % 60 == 0:
            env.watchdog.sweep()
    assert env.clock.now() - start <= LIMITS.hung_bound
    env.sweeps(seconds(120))
    assert find_run(env.store, "dev", launched.run_id).run.verdict.cause is Cause.HUNG  # type: ignore[union-attr]
    assert env.kinds() == ["started", "stuck"]


def test_a_healthy_run_lives_to_its_deadline_and_is_asked_to_stop_before(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.train()
    start = env.clock.now()
    while env.lock().run.stop is None:
        env.clock.advance(seconds(60))
        env.heartbeat(launched, counter=int((env.clock.now() - start).total_seconds()))
        env.watchdog.sweep()
    assert env.fleet.terminate_calls == []
    assert LIMITS.max_runtime - LIMITS.grace <= env.clock.now() - start <= LIMITS.max_runtime


def test_a_killed_run_has_the_grace(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.train()
    env.kill(launched.run_id)
    env.watchdog.sweep()
    assert env.fleet.terminate_calls == []
    for _ in range(4):
        env.heartbeat(launched)
        env.sweeps(seconds(60))
    assert env.left() == []
    assert env.kinds() == ["killed"]


@pytest.mark.parametrize("reason", ["wrong data,\nand too late", "x" * 100_000])
def test_whatever_reason_somebody_gives_the_record_can_be_read(env: Environment, reason: str) -> None:
    launched = env.launch()
    env.claim(launched)
    run = env.kill(reason=reason)
    assert run.stop is not None
    assert env.lock().run.stop == run.stop
    assert run.stop.reason.startswith(("wrong data, and too late", "xxx"))


def test_kill_now_does_not_wait(env: Environment) -> None:
    launched = env.launch()
    env.kill(at_once=True)
    assert env.fleet.terminate_calls == [launched.instance_id]
    env.watchdog.sweep()
    assert env.left() == []


def test_kill_of_an_unknown_run_and_of_none_says_so(env: Environment) -> None:
    with pytest.raises(RunNotFound):
        env.kill("20200101T000000Z-000000")
    with pytest.raises(InvalidInput, match="active: none"):
        env.kill()


def test_an_instance_without_a_record_is_ended_within_the_promise(env: Environment) -> None:
    tags = owner_tags(env.fleet.project, "dev")
    orphan = env.fleet.add(tags)
    foreign = env.fleet.add({"Project": "other", "Environment": "dev", "ManagedBy": "chronos-ec2"})
    env.sweeps(LIMITS.orphan_bound)
    assert env.fleet.terminate_calls == [orphan]
    assert foreign not in env.fleet.terminate_calls
    assert env.kinds() == ["orphan"]
    (message,) = env.notifier.messages
    assert 0 < message.document["cost_usd"] <= 0.768 * LIMITS.orphan_bound.total_seconds() / 3600
    assert "about $0.04 so far, $0.77 per hour" in message.body


def silent_agent(env: Environment) -> Launched:
    """A run in training whose agent the watchdog has found silent once."""
    launched = env.launch()
    env.claim(launched)
    env.train()
    env.clock.advance(LIMITS.lease + seconds(30))
    env.first_look()
    return launched


def test_an_agent_that_comes_back_between_decision_and_termination_is_spared(env: Environment) -> None:
    launched = silent_agent(env)
    beat_after_the_first_read(env, launched)
    report = env.watchdog.lane(Lane("dev"))
    assert (report.lost_races, env.fleet.terminate_calls) == (1, [])
    assert env.lock().run.verdict is None


def beat_after_the_first_read(env: Environment, launched: Launched) -> None:
    key = run_key("dev", launched.run_id, HEARTBEAT)
    env.faults.hook("objects.read", lambda _key: env.heartbeat(launched, counter=9), after=True, on=key, times=1)


def test_a_last_look_that_fails_is_no_evidence(env: Environment) -> None:
    launched = silent_agent(env)
    env.faults.fail("objects.read", on=run_key("dev", launched.run_id, HEARTBEAT), skip=1)
    env.watchdog.lane(Lane("dev"))
    assert env.fleet.terminate_calls == []
    assert env.lock().run.verdict is None


def test_a_first_heartbeat_after_the_decision_spares_the_agent(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.train()
    env.clock.advance(LIMITS.lease + seconds(30))
    env.objects.remove(run_key("dev", launched.run_id, HEARTBEAT))
    beat_after_the_first_read(env, launched)
    env.watchdog.lane(Lane("dev"))
    assert env.fleet.terminate_calls == []


def test_a_message_that_could_not_be_sent_is_sent_by_the_next_sweep_and_holds_the_release(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.end(Outcome.FAILED, Cause.USER_CODE)
    env.power_off(launched)
    env.faults.fail("notifier.publish", ServiceUnavailable("SNS is away"))
    (report,) = env.watchdog.sweep()
    assert "SNS is away" in report.error
    env.faults.clear()
    env.watchdog.sweep()
    assert env.kinds() == ["failed"]
    assert isinstance(env.store.read_lock(Lane("dev")), Absent)


def test_duplicated_triggers_send_one_message(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.train()
    for _ in range(10):
        env.watchdog.instance(launched.instance_id)
        env.watchdog.lane(Lane("dev"))
    assert env.kinds() == ["started"]


def test_a_state_that_is_not_json_freezes_launches_and_is_set_aside_at_last(env: Environment) -> None:
    env.objects.write("dev/system-state.json", b"\xef\xbb\xbf{oops")
    with pytest.raises(InvalidInput, match=r"dev/system-state\.json"):
        env.launch()
    env.sweeps(LIMITS.boot + LIMITS.lease - LIMITS.sweep)
    assert env.left() == ["lock"]
    env.sweeps(LIMITS.sweep)
    assert env.left() == []
    assert env.kinds() == ["stuck"]
    assert any(key.startswith("dev/unreadable/main-") for key, _ in env.objects.keys("dev/"))


def test_a_run_whose_instance_was_stopped_by_hand_ends_with_its_volume(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.fleet.move(launched.instance_id, InstanceState.STOPPED)
    env.sweeps(seconds(120))
    assert env.left() == []


def test_the_price_cap_needs_a_price(env: Environment) -> None:
    with pytest.raises(InvalidInput, match="--max-cost"):
        env.launch(price_per_hour_usd=None, max_cost_usd=3.0, instance_types=("g4dn.xlarge", "t2.nano"))


FALLS_BACK: dict[str, Any] = {"instance_types": ("g4dn.xlarge", "g5.4xlarge"), "price_per_hour_usd": None}


def test_a_run_that_fell_back_to_a_dearer_type_is_ended_by_what_that_costs(env: Environment) -> None:
    env.fleet.no_capacity = {"g4dn.xlarge"}
    launched = env.launch(max_cost_usd=1.624, **FALLS_BACK)
    assert env.lock().run.instance_type == "g5.4xlarge"
    env.claim(launched)
    env.train()
    for counter in range(2, 58):
        env.heartbeat(launched, counter)
        env.sweeps(LIMITS.sweep)
    assert env.lock().run.stop is None
    for counter in range(58, 60):
        env.heartbeat(launched, counter)
        env.sweeps(LIMITS.sweep)
    assert env.lock().run.stop is not None
    assert env.lock().run.stop.cause is Cause.OVER_BUDGET  # type: ignore[union-attr]


@pytest.mark.parametrize(("type_left", "price"), [("g4dn.xlarge", 0.526), ("g5.4xlarge", 1.624)])
def test_what_a_lost_attempt_has_cost_is_published_by_ec2s_type_though_its_launcher_died_before_it_could_say(
    env: Environment, type_left: str, price: float
) -> None:
    env.fleet.no_capacity = {"g4dn.xlarge", "g5.4xlarge"} - {type_left}
    env.faults.crash_before("deadlines.schedule")
    with pytest.raises(Crash):
        env.launch(crashes_left=1, **FALLS_BACK)
    assert env.lock().run.instance_type == "g5.4xlarge"
    (instance,) = env.fleet.instances("dev")
    launched = Launched(
        instance.run_id or "", 1, instance.instance_id, instance.launched_at, LaunchOption(type_left, "subnet-a")
    )
    env.claim(launched)
    env.train()
    env.heartbeat(launched, checkpoint_age=seconds(30))
    env.clock.advance(seconds(3600))
    env.heartbeat(launched, 2, checkpoint_age=seconds(30))
    env.power_off(launched)
    env.watchdog.sweep()
    again = env.lock().run
    assert (again.attempt, again.instance_type) == (2, "g5.4xlarge")
    assert again.spent_usd == pytest.approx(price)


@pytest.mark.parametrize("path", ["training-data/none/", "training-data/sal", "training-data/"])
def test_a_data_set_must_be_there_whole(env: Environment, path: str) -> None:
    if path == "training-data/":
        env.objects.write("cached-datasets/dev/training-data/sales/empty.parquet", b"")
    with pytest.raises(InvalidInput, match=r"data\.path"):
        env.launch(data_path=path)
    assert env.left() == []


def test_the_lock_of_another_environment_is_not_touched(env: Environment) -> None:
    report = env.watchdog.lane(Lane("prod"))
    assert report.decision.actions == ()


def test_an_instance_that_hangs_in_shutting_down_keeps_the_lock_until_force_ends_it(env: Environment) -> None:
    env.fleet.slow_to_terminate = True
    launched = env.launch()
    env.claim(launched)
    env.kill(at_once=True)
    env.sweeps(LIMITS.force - seconds(60))
    assert "lock" in env.left()
    env.sweeps(seconds(180))
    assert env.left() == []


def test_a_protected_instance_is_ended_too(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.fleet.protected.add(launched.instance_id)
    env.kill(at_once=True)
    env.watchdog.sweep()
    assert env.left() == []


def test_no_protection_is_lifted_unless_ec2_refuses_for_it(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.faults.fail("fleet.terminate", NotAllowed("denied"))
    with pytest.raises(NotAllowed):
        env.kill(at_once=True)
    assert "fleet.lift_protection" not in [operation for operation, _ in env.faults.calls]


def test_what_a_run_leaves_unused_is_deleted_and_stands_in_its_receipt(env: Environment) -> None:
    launched = env.launch()
    env.fleet.left = {
        Resource("volume", "vol-unused", "available"): launched.run_id,
        Resource("volume", "vol-in-use", "in-use"): launched.run_id,
        Resource("volume", "vol-of-another", "available"): "20200101T000000Z-000000",
    }
    env.kill(at_once=True)
    env.watchdog.sweep()
    receipt = json.loads(env.objects.body(run_key("dev", launched.run_id, "cleanup_status.json")))
    assert [(left["id"], left["state"]) for left in receipt["resources"] if left["kind"] == "volume"] == [
        ("vol-unused", "deleted"), ("vol-in-use", "in-use"),
    ]  # fmt: skip
    assert [left.resource_id for left in env.fleet.left] == ["vol-in-use", "vol-of-another"]


def test_an_upload_that_a_run_did_not_end_is_aborted_and_stands_in_its_receipt(env: Environment) -> None:
    launched, objects = env.launch(), env.objects
    objects.begin(key := run_key("dev", launched.run_id, "checkpoints/100/model.safetensors"))
    others = objects.begin(run_key("dev", "20200101T000000Z-000000", "checkpoints/100/model.safetensors"))
    assert "multipart-upload" in env.left()
    env.kill(at_once=True)
    env.watchdog.sweep()
    receipt = json.loads(objects.body(run_key("dev", launched.run_id, "cleanup_status.json")))
    assert [(left["id"], left["state"]) for left in receipt["resources"] if left["kind"] == "multipart-upload"] == [
        (key, "aborted")
    ]
    assert list(objects.begun) == [others]


def test_a_lost_attempt_with_a_checkpoint_is_followed_by_another_within_its_budget(env: Environment) -> None:
    env.defaults |= {"crashes_left": 1}
    first = env.launch()
    env.claim(first)
    env.train()
    env.heartbeat(first, checkpoint_age=seconds(30))
    env.clock.advance(seconds(3600))
    env.heartbeat(first, 2, checkpoint_age=seconds(30))
    env.power_off(first)
    env.watchdog.sweep()
    again = env.lock().run
    assert (again.attempt, again.claimed, again.crashes_left) == (2, False, 0)
    assert again.spent_usd == pytest.approx(0.752)
    assert again.deadline == env.lock().run.created_at + LIMITS.max_runtime

    env.watchdog.sweep()
    second = env.lock().run
    assert second.instance_id not in (None, first.instance_id)
    env.watchdog.sweep()
    assert len(env.fleet.instances("dev")) == 2

    env.sweeps(LIMITS.boot + seconds(180))
    assert env.left() == []
    assert env.kinds() == ["resumed", "failed"]


@pytest.mark.parametrize(
    "spoiled",
    [
        "no budget",
        "no checkpoint",
        "asked to stop",
        "no time",
        "no money",
        "no money after the lost one",
        "its own fault",
    ],
)
def test_a_lost_attempt_is_the_last_when_another_cannot_help(env: Environment, spoiled: str) -> None:
    cap = {"no money": 0.1, "no money after the lost one": 0.2}.get(spoiled)
    env.defaults |= {"crashes_left": 0 if spoiled == "no budget" else 1, "max_cost_usd": cap}
    launched = env.launch()
    env.claim(launched)
    env.train()
    env.heartbeat(launched, checkpoint_age=None if spoiled == "no checkpoint" else seconds(30))
    if spoiled == "asked to stop":
        env.kill()
    if spoiled == "its own fault":
        env.end(Outcome.FAILED, Cause.USER_CODE)
    env.clock.advance(LIMITS.max_runtime - LIMITS.boot if spoiled == "no time" else seconds(240))
    env.power_off(launched)
    env.watchdog.sweep()
    assert env.left() == []


def test_the_end_of_an_instance_is_scheduled_with_its_launch_and_taken_back_with_its_end(env: Environment) -> None:
    launched = env.launch()
    deadline = env.lock().run.deadline
    assert env.deadlines.schedules == {launched.instance_id: deadline}
    env.kill(at_once=True)
    env.watchdog.sweep()
    assert env.deadlines.schedules == {}


def test_a_schedule_that_is_missing_is_made_by_the_next_sweep(env: Environment) -> None:
    launched = env.launch()
    env.deadlines.schedules.clear()
    env.watchdog.sweep()
    assert env.deadlines.schedules == {launched.instance_id: env.lock().run.deadline}


def test_a_schedule_without_an_instance_is_found_by_verify_and_taken_back_when_it_is_not_new(env: Environment) -> None:
    env.deadlines.schedule("i-0123456789abcdef0", env.clock.now() + seconds(86400))
    env.sweeps(LIMITS.boot - LIMITS.sweep)
    assert env.left() == ["schedule"]
    env.sweeps(LIMITS.sweep)
    assert env.left() == []


@pytest.mark.parametrize("seed", range(10))
def test_events_repeated_and_in_any_order_cause_one_message_an_incident(env: Environment, seed: int) -> None:
    random = Random(seed)
    orphan = env.fleet.add(owner_tags(env.fleet.project, "dev") | {"Lane": "second"})
    launched = env.launch()

    def deliver() -> None:
        calls = [lambda: env.watchdog.lane(Lane("dev")), lambda: env.watchdog.lane(Lane("dev", "second"))]
        calls += [partial(env.watchdog.instance, instance) for instance in (launched.instance_id, orphan)]
        events = 10 * [*calls, env.watchdog.sweep]
        random.shuffle(events)
        for event in events:
            event()

    env.claim(launched)
    env.train()
    deliver()
    for _ in range(5):
        env.clock.advance(LIMITS.sweep)
        env.heartbeat(launched, stalled_for=LIMITS.progress + seconds(1))
        deliver()
    env.clock.advance(LIMITS.sweep)
    deliver()
    published = Counter((message.attributes["kind"], message.document["incident"]) for message in env.notifier.messages)
    assert published == {
        ("started", launched.run_id): 1, ("stuck", launched.run_id): 1, ("orphan", orphan): 1,
    }  # fmt: skip


def lose(env: Environment, words: bytes | None) -> str:
    """A run whose instance powers off by itself; the message of its verdict."""
    launched = env.launch()
    env.claim(launched)
    env.train()
    if words is not None:
        env.objects.write(exit_report_key("dev", launched.run_id, 1), words)
    env.power_off(launched)
    env.watchdog.instance(launched.instance_id)
    verdict = find_run(env.store, "dev", launched.run_id).run.verdict
    assert env.left() == []
    assert verdict is not None
    assert (verdict.outcome, verdict.cause) == (Outcome.FAILED, Cause.INFRA)
    return verdict.message


def test_what_an_instance_reported_of_its_end_is_in_the_verdict_and_in_the_message(env: Environment) -> None:
    words = "the instance has booted a second time"
    assert lose(env, words.encode()) == f"the instance disappeared during training: {words}"
    assert words in env.notifier.messages[-1].body


def test_exit_reports_can_be_anything(env: Environment) -> None:
    assert lose(env, b"\xff\n" + b"\x1b[31m" * 10_000).isprintable()


def test_a_run_whose_instance_said_nothing_is_concluded_all_the_same(env: Environment) -> None:
    assert lose(env, None).endswith("without an exit report")
    env.faults.fail("objects.tail", NotAllowed)
    assert lose(env, b"words").endswith("without an exit report")


def test_nobody_asks_for_the_exit_reports_of_a_instance_that_is_there(env: Environment) -> None:
    launched = env.launch()
    env.watchdog.lane(Lane("dev"))
    env.claim(launched)
    env.train()
    env.watchdog.lane(Lane("dev"))
    assert "objects.tail" not in {operation for operation, _ in env.faults.calls}


def test_a_failure_is_published_with_the_last_lines_of_the_trainers_log(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    log = b"".join(b"step %d\n" % step for step in range(1000)) + b"RuntimeError: out of memory\n"
    env.objects.write(run_key("dev", launched.run_id, "logs/trainer.log"), log)
    env.end(Outcome.FAILED, Cause.USER_CODE)
    env.power_off(launched)
    env.watchdog.sweep()
    body = env.notifier.messages[-1].body
    assert "  RuntimeError: out of memory\n" in body
    assert ("  step 999\n" in body, "  step 985\n" in body) == (True, False)


@pytest.mark.parametrize("lines_in_last_part", [1, 100])
def test_the_last_lines_of_a_log_in_parts_may_be_in_two_of_them(env: Environment, lines_in_last_part: int) -> None:
    launched = env.launch()
    env.claim(launched)
    lines = [b"step %d\n" % step for step in range(1000)]
    first = run_key("dev", launched.run_id, "logs/trainer.log")
    for key, part in (
        (first, lines[:500]),
        (f"{first}.0002", lines[500:-lines_in_last_part]),
        (f"{first}.0003", lines[-lines_in_last_part:]),
    ):
        env.objects.write(key, b"".join(part))
    env.end(Outcome.FAILED, Cause.USER_CODE)
    env.power_off(launched)
    env.watchdog.sweep()
    body = env.notifier.messages[-1].body
    assert "  step 985\n  step 986\n" in body
    assert "  step 998\n  step 999\n" in body


def test_a_failure_without_a_log_is_published_all_the_same(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.end(Outcome.FAILED, Cause.USER_CODE)
    env.power_off(launched)
    env.watchdog.sweep()
    assert "  (not in the bucket)\n" in env.notifier.messages[-1].body
