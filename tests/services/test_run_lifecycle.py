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
from chronos_ec2.domain.facts import Absent, ReadFailed
from chronos_ec2.domain.instance import InstanceState, owner_tags
from chronos_ec2.domain.messages import Message
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import exit_report_key, run_key
from chronos_ec2.domain.records.status import Cause, Outcome, Status
from chronos_ec2.ports import LaunchOption, Resource
from chronos_ec2.services.kill import kill
from chronos_ec2.services.launch import Launched
from chronos_ec2.services.run_queries import find_run, list_runs
from tests.builders import seconds
from tests.services.scenario import LIMITS, Scenario


def test_a_successful_run_leaves_its_records_and_two_messages_and_nothing_else(scene: Scenario) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    scene.reconciler.lane(Lane("dev"))
    scene.end(Outcome.SUCCEEDED, Cause.COMPLETED)
    scene.power_off(launched)
    scene.reconciler.instance(launched.instance_id)

    assert scene.left() == []
    assert scene.kinds() == ["started", "completed"]
    past = find_run(scene.store, "dev", launched.run_id)
    assert (past.active, past.run.status) == (False, Status.CLEANUP)
    receipt = json.loads(scene.world.objects.body(run_key("dev", launched.run_id, "cleanup_status.json")))
    assert receipt["resources"] == [
        {"kind": "instance", "id": launched.instance_id, "state": "terminated"},
        {"kind": "schedule", "id": launched.instance_id, "state": "deleted"},
    ]
    assert [snapshot.run.run_id for snapshot in list_runs(scene.store, "dev")] == [launched.run_id]


def test_the_record_is_there_before_the_instance(scene: Scenario) -> None:
    seen: list[object] = []
    real_launch = scene.world.fleet.launch

    def spying(run, option, user_data):  # type: ignore[no-untyped-def]
        seen.append(scene.lock().run.current_step)
        return real_launch(run, option, user_data)

    scene.world.fleet.launch = spying  # type: ignore[method-assign]
    launched = scene.launch()
    assert seen == ["launching"]
    assert scene.lock().run.instance_id == launched.instance_id


def test_a_second_launch_is_refused_and_names_the_holder(scene: Scenario) -> None:
    launched = scene.launch()
    with pytest.raises(LaneBusy, match=launched.run_id):
        scene.launch()
    assert len(scene.world.fleet.instances("dev")) == 1


def test_another_lane_is_free(scene: Scenario) -> None:
    scene.launch()
    scene.launch(lane=Lane("dev", "second"))
    assert [lane.name for lane in scene.store.lanes("dev")] == ["main", "second"]


def test_without_capacity_anywhere_the_lane_is_free_again(scene: Scenario) -> None:
    scene.world.fleet.no_capacity = {"g4dn.2xlarge"}
    with pytest.raises(CapacityUnavailable, match="3 places"):
        scene.launch()
    assert scene.left() == []


def test_capacity_elsewhere_is_used(scene: Scenario) -> None:
    scene.world.fleet.no_capacity = {"subnet-a", "subnet-b"}
    assert scene.launch().option.subnet_id == "subnet-c"


def test_an_agent_that_dies_is_ended_within_the_promise(scene: Scenario) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    scene.sweeps(LIMITS.dead_agent_bound)
    assert scene.world.fleet.terminate_calls == [launched.instance_id]
    scene.sweeps(seconds(120))
    assert scene.left() == []
    assert scene.kinds() == ["started", "failed"]


def test_a_hang_is_ended_within_the_promise_and_is_called_one(scene: Scenario) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    start = scene.world.clock.now()
    while not scene.world.fleet.terminate_calls:
        scene.world.clock.advance(LIMITS.heartbeat)
        scene.beat(launched, counter=5, stalled_for=scene.world.clock.now() - start)
        if (scene.world.clock.now() - start).seconds % 60 == 0:
            scene.reconciler.sweep()
    assert scene.world.clock.now() - start <= LIMITS.hung_bound
    scene.sweeps(seconds(120))
    assert find_run(scene.store, "dev", launched.run_id).run.verdict.cause is Cause.HUNG  # type: ignore[union-attr]
    assert scene.kinds() == ["started", "stuck"]


def test_a_healthy_run_lives_to_its_deadline_and_is_asked_to_stop_before(scene: Scenario) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    start = scene.world.clock.now()
    while scene.lock().run.stop is None:
        scene.world.clock.advance(seconds(60))
        scene.beat(launched, counter=int((scene.world.clock.now() - start).total_seconds()))
        scene.reconciler.sweep()
    assert scene.world.fleet.terminate_calls == []
    assert LIMITS.max_runtime - LIMITS.grace <= scene.world.clock.now() - start <= LIMITS.max_runtime


def test_a_killed_run_has_the_grace(scene: Scenario) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    scene.kill(launched.run_id)
    scene.reconciler.sweep()
    assert scene.world.fleet.terminate_calls == []
    for _ in range(4):
        scene.beat(launched)
        scene.sweeps(seconds(60))
    assert scene.left() == []
    assert scene.kinds() == ["killed"]


@pytest.mark.parametrize("reason", ["wrong data,\nand too late", "x" * 100_000])
def test_whatever_reason_somebody_gives_the_record_can_be_read(scene: Scenario, reason: str) -> None:
    launched = scene.launch()
    scene.claim(launched)
    run = kill(None, scene.store, scene.reconciler, scene.world.clock, reason)
    assert run.stop is not None
    assert scene.lock().run.stop == run.stop
    assert run.stop.reason.startswith(("wrong data, and too late", "xxx"))


def test_kill_now_does_not_wait(scene: Scenario) -> None:
    launched = scene.launch()
    scene.kill(at_once=True)
    assert scene.world.fleet.terminate_calls == [launched.instance_id]
    scene.reconciler.sweep()
    assert scene.left() == []


def test_kill_of_an_unknown_run_and_of_none_says_so(scene: Scenario) -> None:
    with pytest.raises(RunNotFound):
        scene.kill("20200101T000000Z-000000")
    with pytest.raises(InvalidInput, match="active: none"):
        scene.kill()


def test_an_instance_without_a_record_is_ended_within_the_promise(scene: Scenario) -> None:
    tags = owner_tags(scene.world.fleet.project, "dev")
    orphan = scene.world.fleet.add(tags)
    foreign = scene.world.fleet.add({"Project": "other", "Environment": "dev", "ManagedBy": "chronos-ec2"})
    scene.sweeps(LIMITS.orphan_bound)
    assert scene.world.fleet.terminate_calls == [orphan]
    assert foreign not in scene.world.fleet.terminate_calls
    assert scene.kinds() == ["orphan"]
    (message,) = scene.world.notifier.messages
    assert 0 < message.document["cost_usd"] <= 0.752 * LIMITS.orphan_bound.total_seconds() / 3600
    assert "about $0.75 an hour, so far $0." in message.body


def test_an_agent_that_comes_back_between_decision_and_deed_is_spared(scene: Scenario) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    scene.world.clock.advance(LIMITS.lease + seconds(30))
    scene.first_look()
    stale = scene.store.read_heartbeat("dev", launched.run_id)
    scene.beat(launched, counter=9)
    reads = iter([stale])
    real_read = scene.store.read_heartbeat
    scene.store.read_heartbeat = lambda environment, run_id: next(reads, None) or real_read(environment, run_id)  # type: ignore[method-assign]
    report = scene.reconciler.lane(Lane("dev"))
    assert (report.lost_races, scene.world.fleet.terminate_calls) == (1, [])
    assert scene.lock().run.verdict is None


def test_a_last_look_that_fails_is_no_evidence(scene: Scenario) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    scene.world.clock.advance(LIMITS.lease + seconds(30))
    scene.first_look()
    stale = scene.store.read_heartbeat("dev", launched.run_id)
    reads = iter([stale])
    scene.store.read_heartbeat = lambda environment, run_id: next(reads, ReadFailed("503"))  # type: ignore[method-assign]
    scene.reconciler.lane(Lane("dev"))
    assert scene.world.fleet.terminate_calls == []
    assert scene.lock().run.verdict is None


def test_a_first_beat_after_the_decision_spares_the_agent(scene: Scenario) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    scene.world.clock.advance(LIMITS.lease + seconds(30))
    reads = iter([Absent()])
    real_read = scene.store.read_heartbeat
    scene.beat(launched)
    scene.store.read_heartbeat = lambda environment, run_id: next(reads, None) or real_read(environment, run_id)  # type: ignore[method-assign]
    scene.reconciler.lane(Lane("dev"))
    assert scene.world.fleet.terminate_calls == []


def test_a_message_that_could_not_be_sent_is_sent_by_the_next_sweep_and_holds_the_release(scene: Scenario) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.end(Outcome.FAILED, Cause.USER_CODE)
    scene.power_off(launched)
    publish = scene.world.notifier.publish

    def failing(message: Message) -> None:
        raise ServiceUnavailable("SNS is away")

    scene.world.notifier.publish = failing  # type: ignore[method-assign]
    (report,) = scene.reconciler.sweep()
    assert "SNS is away" in report.error
    scene.world.notifier.publish = publish  # type: ignore[method-assign]
    scene.reconciler.sweep()
    assert scene.kinds() == ["failed"]
    assert isinstance(scene.store.read_lock(Lane("dev")), Absent)


def test_duplicated_triggers_send_one_message(scene: Scenario) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    for _ in range(10):
        scene.reconciler.instance(launched.instance_id)
        scene.reconciler.lane(Lane("dev"))
    assert scene.kinds() == ["started"]


def test_a_state_that_is_not_json_freezes_launches_and_is_set_aside_at_last(scene: Scenario) -> None:
    scene.world.objects.write("dev/system-state.json", b"\xef\xbb\xbf{oops")
    with pytest.raises(InvalidInput, match=r"dev/system-state\.json"):
        scene.launch()
    scene.sweeps(LIMITS.boot + LIMITS.lease - LIMITS.sweep)
    assert scene.left() == ["lock"]
    scene.sweeps(LIMITS.sweep)
    assert scene.left() == []
    assert scene.kinds() == ["stuck"]
    assert any(key.startswith("dev/unreadable/main-") for key, _ in scene.world.objects.keys("dev/"))


def test_a_run_whose_instance_was_stopped_by_hand_ends_with_its_volume(scene: Scenario) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.world.fleet.move(launched.instance_id, InstanceState.STOPPED)
    scene.sweeps(seconds(120))
    assert scene.left() == []


def test_the_price_cap_needs_a_price(scene: Scenario) -> None:
    with pytest.raises(InvalidInput, match="--max-cost"):
        scene.launch(price_per_hour_usd=None, max_cost_usd=3.0, instance_types=("g4dn.xlarge", "t2.nano"))


FALLS_BACK: dict[str, Any] = {"instance_types": ("g4dn.xlarge", "g5.4xlarge"), "price_per_hour_usd": None}


def test_a_run_that_fell_back_to_a_dearer_type_is_ended_by_what_that_costs(scene: Scenario) -> None:
    scene.world.fleet.no_capacity = {"g4dn.xlarge"}
    launched = scene.launch(max_cost_usd=1.624, **FALLS_BACK)
    assert scene.lock().run.instance_type == "g5.4xlarge"
    scene.claim(launched)
    scene.train()
    for counter in range(2, 58):
        scene.beat(launched, counter)
        scene.sweeps(LIMITS.sweep)
    assert scene.lock().run.stop is None
    for counter in range(58, 60):
        scene.beat(launched, counter)
        scene.sweeps(LIMITS.sweep)
    assert scene.lock().run.stop is not None
    assert scene.lock().run.stop.cause is Cause.OVER_BUDGET  # type: ignore[union-attr]


@pytest.mark.parametrize(("type_left", "price"), [("g4dn.xlarge", 0.526), ("g5.4xlarge", 1.624)])
def test_what_a_lost_attempt_has_cost_is_told_by_ec2s_type_though_its_launcher_died_before_it_could_say(
    scene: Scenario, monkeypatch: pytest.MonkeyPatch, type_left: str, price: float
) -> None:
    scene.world.fleet.no_capacity = {"g4dn.xlarge", "g5.4xlarge"} - {type_left}

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(scene.world.deadlines, "schedule", dies)
        with pytest.raises(KeyboardInterrupt):
            scene.launch(crashes_left=1, **FALLS_BACK)
    assert scene.lock().run.instance_type == "g5.4xlarge"
    (box,) = scene.world.fleet.instances("dev")
    launched = Launched(scene.lock().run.run_id, 1, box.instance_id, LaunchOption(type_left, "subnet-a"))
    scene.claim(launched)
    scene.train()
    scene.beat(launched, checkpoint_age=seconds(30))
    scene.world.clock.advance(seconds(3600))
    scene.power_off(launched)
    scene.reconciler.sweep()
    again = scene.lock().run
    assert (again.attempt, again.instance_type) == (2, "g5.4xlarge")
    assert again.spent_usd == pytest.approx(price)


@pytest.mark.parametrize("path", ["training-data/none/", "training-data/sal", "training-data/"])
def test_a_data_set_must_be_there_whole(scene: Scenario, path: str) -> None:
    if path == "training-data/":
        scene.world.objects.write("cached-datasets/training-data/sales/empty.parquet", b"")
    with pytest.raises(InvalidInput, match=r"data\.path"):
        scene.launch(data_path=path)
    assert scene.left() == []


def test_the_lock_of_another_environment_is_not_touched(scene: Scenario) -> None:
    report = scene.reconciler.lane(Lane("prod"))
    assert report.decision.actions == ()


def test_an_instance_that_hangs_in_shutting_down_keeps_the_lock_until_force_ends_it(scene: Scenario) -> None:
    scene.world.fleet.slow_to_terminate = True
    launched = scene.launch()
    scene.claim(launched)
    scene.kill(at_once=True)
    scene.sweeps(LIMITS.force - seconds(60))
    assert "lock" in scene.left()
    scene.sweeps(seconds(180))
    assert scene.left() == []


def test_what_a_run_leaves_unused_is_deleted_and_stands_in_its_receipt(scene: Scenario) -> None:
    launched = scene.launch()
    scene.world.fleet.left = {
        Resource("volume", "vol-unused", "available"): launched.run_id,
        Resource("volume", "vol-in-use", "in-use"): launched.run_id,
        Resource("volume", "vol-of-another", "available"): "20200101T000000Z-000000",
    }
    scene.kill(at_once=True)
    scene.reconciler.sweep()
    receipt = json.loads(scene.world.objects.body(run_key("dev", launched.run_id, "cleanup_status.json")))
    assert [(left["id"], left["state"]) for left in receipt["resources"] if left["kind"] == "volume"] == [
        ("vol-unused", "deleted"), ("vol-in-use", "in-use"),
    ]  # fmt: skip
    assert [left.resource_id for left in scene.world.fleet.left] == ["vol-in-use", "vol-of-another"]


def test_an_upload_that_a_run_did_not_end_is_aborted_and_stands_in_its_receipt(scene: Scenario) -> None:
    launched, objects = scene.launch(), scene.world.objects
    objects.begin(key := run_key("dev", launched.run_id, "checkpoints/100/model.safetensors"))
    others = objects.begin(run_key("dev", "20200101T000000Z-000000", "checkpoints/100/model.safetensors"))
    assert "multipart-upload" in scene.left()
    scene.kill(at_once=True)
    scene.reconciler.sweep()
    receipt = json.loads(objects.body(run_key("dev", launched.run_id, "cleanup_status.json")))
    assert [(left["id"], left["state"]) for left in receipt["resources"] if left["kind"] == "multipart-upload"] == [
        (key, "aborted")
    ]
    assert list(objects.begun) == [others]


def test_a_lost_attempt_with_a_checkpoint_is_followed_by_another_within_its_budget(scene: Scenario) -> None:
    scene.budget(crashes=1)
    first = scene.launch()
    scene.claim(first)
    scene.train()
    scene.beat(first, checkpoint_age=seconds(30))
    scene.world.clock.advance(seconds(3600))
    scene.power_off(first)
    scene.reconciler.sweep()
    again = scene.lock().run
    assert (again.attempt, again.claimed, again.crashes_left) == (2, False, 0)
    assert again.spent_usd == pytest.approx(0.752)
    assert again.deadline == scene.lock().run.created_at + LIMITS.max_runtime

    scene.reconciler.sweep()
    second = scene.lock().run
    assert second.instance_id not in (None, first.instance_id)
    scene.reconciler.sweep()
    assert len(scene.world.fleet.instances("dev")) == 2

    scene.sweeps(LIMITS.boot + seconds(180))
    assert scene.left() == []
    assert scene.kinds() == ["resumed", "failed"]


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
def test_a_lost_attempt_is_the_last_when_another_cannot_help(scene: Scenario, spoiled: str) -> None:
    cap = {"no money": 0.1, "no money after the lost one": 0.2}.get(spoiled)
    scene.budget(crashes=0 if spoiled == "no budget" else 1, cap=cap)
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    scene.beat(launched, checkpoint_age=None if spoiled == "no checkpoint" else seconds(30))
    if spoiled == "asked to stop":
        scene.kill()
    if spoiled == "its own fault":
        scene.end(Outcome.FAILED, Cause.USER_CODE)
    scene.world.clock.advance(LIMITS.max_runtime - LIMITS.boot if spoiled == "no time" else seconds(240))
    scene.power_off(launched)
    scene.reconciler.sweep()
    assert scene.left() == []


def test_the_end_of_an_instance_is_scheduled_with_its_launch_and_taken_back_with_its_end(scene: Scenario) -> None:
    launched = scene.launch()
    deadline = scene.lock().run.deadline
    assert scene.world.deadlines.schedules == {launched.instance_id: deadline}
    scene.kill(at_once=True)
    scene.reconciler.sweep()
    assert scene.world.deadlines.schedules == {}


def test_a_schedule_that_is_missing_is_made_by_the_next_sweep(scene: Scenario) -> None:
    launched = scene.launch()
    scene.world.deadlines.schedules.clear()
    scene.reconciler.sweep()
    assert scene.world.deadlines.schedules == {launched.instance_id: scene.lock().run.deadline}


def test_a_schedule_without_an_instance_is_found_by_verify_and_taken_back_when_it_is_not_new(scene: Scenario) -> None:
    scene.world.deadlines.schedule("i-0123456789abcdef0", scene.world.clock.now() + seconds(86400))
    scene.sweeps(LIMITS.boot - LIMITS.sweep)
    assert scene.left() == ["schedule"]
    scene.sweeps(LIMITS.sweep)
    assert scene.left() == []


@pytest.mark.parametrize("seed", range(10))
def test_events_ten_times_each_and_in_any_order_tell_of_each_incident_once(scene: Scenario, seed: int) -> None:
    random = Random(seed)
    orphan = scene.world.fleet.add(owner_tags(scene.world.fleet.project, "dev") | {"Lane": "second"})
    launched = scene.launch()

    def deliver() -> None:
        calls = [lambda: scene.reconciler.lane(Lane("dev")), lambda: scene.reconciler.lane(Lane("dev", "second"))]
        calls += [partial(scene.reconciler.instance, box) for box in (launched.instance_id, orphan)]
        events = 10 * [*calls, scene.reconciler.sweep]
        random.shuffle(events)
        for event in events:
            event()

    scene.claim(launched)
    scene.train()
    deliver()
    for _ in range(5):
        scene.world.clock.advance(LIMITS.sweep)
        scene.beat(launched, stalled_for=LIMITS.progress + seconds(1))
        deliver()
    scene.world.clock.advance(LIMITS.sweep)
    deliver()
    told = Counter(
        (message.attributes["kind"], message.document["incident"]) for message in scene.world.notifier.messages
    )
    assert told == {
        ("started", launched.run_id): 1, ("stuck", launched.run_id): 1, ("orphan", orphan): 1,
    }  # fmt: skip


def lose(scene: Scenario, words: bytes | None) -> str:
    """A run whose instance powers off by itself; the message of its verdict."""
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    if words is not None:
        scene.world.objects.write(exit_report_key("dev", launched.run_id, 1), words)
    scene.power_off(launched)
    scene.reconciler.instance(launched.instance_id)
    verdict = find_run(scene.store, "dev", launched.run_id).run.verdict
    assert scene.left() == []
    assert verdict is not None
    assert (verdict.outcome, verdict.cause) == (Outcome.FAILED, Cause.INFRA)
    return verdict.message


def test_what_a_box_said_of_its_end_is_in_the_verdict_and_in_the_message(scene: Scenario) -> None:
    words = "the box has booted a second time"
    assert lose(scene, words.encode()) == f"the instance disappeared during training: {words}"
    assert words in scene.world.notifier.messages[-1].body


def test_last_words_can_be_anything(scene: Scenario) -> None:
    assert lose(scene, b"\xff\n" + b"\x1b[31m" * 10_000).isprintable()


def test_a_run_whose_box_said_nothing_is_concluded_all_the_same(
    scene: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lose(scene, None).endswith("without an exit report")

    def no_answer(key: str, limit: int) -> bytes:
        raise NotAllowed(f"{key}, {limit}")

    monkeypatch.setattr(scene.world.objects, "tail", no_answer)
    assert lose(scene, b"words").endswith("without an exit report")


def test_nobody_asks_for_the_last_words_of_a_box_that_is_there(scene: Scenario) -> None:
    asked: list[str] = []
    real, scene.world.objects.tail = scene.world.objects.tail, lambda key, limit: asked.append(key) or real(key, limit)  # type: ignore[method-assign, func-returns-value]
    launched = scene.launch()
    scene.reconciler.lane(Lane("dev"))
    scene.claim(launched)
    scene.train()
    scene.reconciler.lane(Lane("dev"))
    assert asked == []


def test_a_failure_is_told_with_the_last_lines_of_the_trainers_log(scene: Scenario) -> None:
    launched = scene.launch()
    scene.claim(launched)
    log = b"".join(b"step %d\n" % step for step in range(1000)) + b"RuntimeError: out of memory\n"
    scene.world.objects.write(run_key("dev", launched.run_id, "logs/trainer.log"), log)
    scene.end(Outcome.FAILED, Cause.USER_CODE)
    scene.power_off(launched)
    scene.reconciler.sweep()
    body = scene.world.notifier.messages[-1].body
    assert "  RuntimeError: out of memory\n" in body
    assert ("  step 999\n" in body, "  step 985\n" in body) == (True, False)


def test_a_failure_without_a_log_is_told_all_the_same(scene: Scenario) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.end(Outcome.FAILED, Cause.USER_CODE)
    scene.power_off(launched)
    scene.reconciler.sweep()
    assert "  it is not in the bucket\n" in scene.world.notifier.messages[-1].body
