"""What happens between two calls of a service: somebody writes, a call fails, a list is not what it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chronos_ec2.domain.decision import Decision, Terminate
from chronos_ec2.domain.errors import CapacityUnavailable, LostRace, NotAllowed, ServiceUnavailable
from chronos_ec2.domain.facts import Absent, LockHeld
from chronos_ec2.domain.instance import InstanceState, owner_tags
from chronos_ec2.domain.limits import MAX_NOTIFICATION_DELAY
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import bundle_key, run_key, suspect_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Stop, Verdict
from chronos_ec2.ports import Resource
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.launch import Launched
from chronos_ec2.services.publish.agent import publish_bundle
from chronos_ec2.services.run_queries import list_runs
from chronos_ec2.services.verify import verify
from chronos_ec2.testing import MemoryWorld
from tests.builders import NOW, a_heartbeat, seconds
from tests.services.scenario import LIMITS, Scenario


class Recorder:
    """Faults that write down the calls, and refuse those of the named operations."""

    def __init__(self, *refused: str, error: type[Exception] = ServiceUnavailable) -> None:
        self.calls: list[str] = []
        self.refused = refused
        self.error = error

    def before(self, call: str) -> None:
        self.calls.append(call)
        if call in self.refused:
            raise self.error(f"{call} is refused")

    def after(self, call: str) -> None:
        pass


@pytest.fixture
def refuse(scene: Scenario) -> Callable[..., Recorder]:
    def refuse(*calls: str, error: type[Exception] = ServiceUnavailable) -> Recorder:
        recorder = Recorder(*calls, error=error)
        scene.world.objects._faults = recorder
        scene.world.fleet.faults = recorder
        scene.world.deadlines._faults = recorder
        return recorder

    return refuse


@pytest.mark.parametrize("trigger", ["lane", "sweep", "instance"])
def test_ec2_is_listed_before_the_state_is_read(scene: Scenario, refuse: Callable[..., Recorder], trigger: str) -> None:
    launched = scene.launch()
    recorder = refuse()
    {"lane": lambda: scene.reconciler.lane(Lane("dev")), "sweep": scene.reconciler.sweep,
     "instance": lambda: scene.reconciler.instance(launched.instance_id)}[trigger]()  # fmt: skip
    after_the_list = recorder.calls[recorder.calls.index("ec2:DescribeInstances") :]
    assert "s3:GetObject" not in recorder.calls[: -len(after_the_list)]
    last_list = len(recorder.calls) - recorder.calls[::-1].index("ec2:DescribeInstances")
    assert last_list <= recorder.calls.index("s3:GetObject")


@pytest.mark.parametrize("refused", ["s3:GetObject", "ec2:DescribeInstances"])
def test_an_outage_of_any_length_ends_no_healthy_run_and_releases_nothing(
    scene: Scenario, refuse: Callable[..., Recorder], refused: str
) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    recorder = refuse(refused)
    for _ in range(20):
        scene.world.clock.advance(LIMITS.sweep)
        try:
            scene.reconciler.sweep()
        except ServiceUnavailable:
            assert refused == "ec2:DescribeInstances"
    recorder.refused = ()
    scene.beat(launched)
    scene.reconciler.sweep()
    assert scene.world.fleet.terminate_calls == []
    assert scene.lock().run.suspect is None


def test_a_verdict_that_cannot_be_written_does_not_keep_a_dead_box_alive(
    scene: Scenario, refuse: Callable[..., Recorder]
) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    scene.world.clock.advance(LIMITS.lease + seconds(60))
    scene.first_look()
    refuse("s3:PutObject")
    scene.reconciler.sweep()
    assert scene.world.fleet.terminate_calls == [launched.instance_id]


def test_an_agent_that_claims_before_the_launcher_is_done_keeps_its_claim(scene: Scenario) -> None:
    real_launch = scene.world.fleet.launch

    def claimed_at_once(run: Any, option: Any, user_data: str) -> str:
        instance_id = real_launch(run, option, user_data)
        held = scene.lock()
        scene.store.replace_lock(replace(held.run, current_step="claimed", instance_id=instance_id), held)
        return instance_id

    scene.world.fleet.launch = claimed_at_once  # type: ignore[method-assign]
    scene.world.fleet.no_capacity = {"g5.4xlarge"}
    launched = scene.launch(instance_types=("g5.4xlarge", "g4dn.xlarge"), price_per_hour_usd=None)
    run = scene.lock().run
    assert (run.current_step, run.instance_id, run.instance_type) == ("claimed", launched.instance_id, "g4dn.xlarge")


@pytest.mark.parametrize(
    "change", [{"instance_id": "i-00000000000000bad"}, {"attempt": 2}, {"run_id": "20260101T000000Z-ffffff"}]
)
def test_a_launcher_that_was_slow_names_its_instance_in_no_record_but_its_own(
    scene: Scenario, change: dict[str, Any]
) -> None:
    real_launch = scene.world.fleet.launch

    def overtaken(run: Any, option: Any, user_data: str) -> str:
        held = scene.lock()
        scene.store.replace_lock(replace(held.run, **change), held)
        return real_launch(run, option, user_data)

    scene.world.fleet.launch = overtaken  # type: ignore[method-assign]
    launched = scene.launch()
    assert scene.lock().run.instance_id != launched.instance_id


def test_a_stray_whose_record_appears_before_the_deed_is_spared(scene: Scenario) -> None:
    launched = scene.launch()
    held = scene.lock()
    scene.world.objects.remove("dev/system-state.json")
    scene.world.clock.advance(LIMITS.grace)
    scene.reconciler.sweep()
    scene.world.clock.advance(LIMITS.confirmation)
    real_read = scene.store.read_lock
    reads: Iterator[object] = iter([Absent()])

    def read(lane: Lane) -> Any:
        first = next(reads, None)
        if first is not None:
            scene.world.objects.create("dev/system-state.json", held.run.to_json())
            return first
        return real_read(lane)

    scene.store.read_lock = read  # type: ignore[method-assign]
    scene.reconciler.sweep()
    assert scene.world.fleet.terminate_calls == []
    assert launched.instance_id in {box.instance_id for box in scene.world.fleet.instances("dev") if box.alive}


def test_the_one_place_that_ends_instances_ends_none_that_is_not_listed_as_ours(scene: Scenario) -> None:
    foreign = scene.world.fleet.add(owner_tags("Somebody-Else", "dev"))
    facts = scene.reconciler.facts(Lane("dev"))
    with pytest.raises(Exception, match="not in EC2's list of our instances"):
        scene.reconciler._executor.apply(Decision("forged", (Terminate(foreign, Cause.ORPHAN),)), facts)
    assert scene.world.fleet.terminate_calls == []


def test_a_message_that_cannot_be_sent_puts_off_the_end_of_a_stray_by_some_sweeps_and_no_more(scene: Scenario) -> None:
    stray = scene.world.fleet.add(owner_tags(scene.world.fleet.project, "dev"))
    scene.world.notifier._faults = Recorder("sns:Publish")
    scene.sweeps(LIMITS.orphan_bound)
    assert scene.world.fleet.terminate_calls == []
    scene.sweeps(3 * LIMITS.sweep)
    assert scene.world.fleet.terminate_calls == [stray]


@pytest.mark.parametrize("state", [state for state in InstanceState if state is not InstanceState.TERMINATED])
def test_verify_names_an_instance_in_every_state_that_costs(scene: Scenario, state: InstanceState) -> None:
    scene.world.fleet.move(scene.launch().instance_id, state)
    assert "instance" in scene.left()


def test_verify_does_not_say_that_nothing_is_left_when_it_cannot_know(
    scene: Scenario, refuse: Callable[..., Recorder]
) -> None:
    refuse("ec2:DescribeVolumes")
    with pytest.raises(ServiceUnavailable):
        scene.left()


def test_two_bundles_lie_beside_each_other_and_neither_is_replaced() -> None:
    store = RunStore(MemoryWorld().objects)
    first, second = (publish_bundle(store, body) for body in (b"one", b"two"))
    assert bundle_key(first) != bundle_key(second)
    assert store.objects.read(bundle_key(first)).body == b"one"  # type: ignore[union-attr]


def test_a_sweep_finds_a_stray_in_a_lane_that_has_no_lock(scene: Scenario) -> None:
    stray = scene.world.fleet.add(owner_tags(scene.world.fleet.project, "dev") | {"Lane": "forgotten"})
    scene.sweeps(LIMITS.orphan_bound)
    assert scene.world.fleet.terminate_calls == [stray]


def test_a_record_alone_that_cannot_be_read_ends_no_healthy_run(scene: Scenario) -> None:
    launched = scene.launch()
    scene.claim(launched)
    real_read = scene.world.objects.read

    def read(key: str, *limit: int) -> Any:
        if key == "dev/system-state.json":
            raise ServiceUnavailable("503 SlowDown")
        return real_read(key, *limit)

    scene.world.objects.read = read  # type: ignore[method-assign]
    for _ in range(20):
        scene.beat(launched)
        scene.sweeps(LIMITS.sweep)
    assert scene.world.fleet.terminate_calls == []


def test_a_write_whose_answer_was_lost_has_happened(scene: Scenario) -> None:
    real_create, real_replace = scene.world.objects.create, scene.world.objects.replace

    def lose(write: Callable[..., str]) -> Callable[..., str]:
        def lost(key: str, *rest: Any) -> str:
            answer = write(key, *rest)
            if key == "dev/system-state.json":
                raise ServiceUnavailable("the answer got lost")
            return answer

        return lost

    scene.world.objects.create = lose(real_create)  # type: ignore[method-assign]
    scene.world.objects.replace = lose(real_replace)  # type: ignore[method-assign]
    launched = scene.launch()
    assert scene.lock().run.instance_id == launched.instance_id


SCHEDULERS_CALLS = ["scheduler:ListSchedules", "scheduler:CreateSchedule", "scheduler:DeleteSchedule"]
ANY_TROUBLE = [ServiceUnavailable, NotAllowed, RuntimeError]
"""What the port promises to raise, and what nobody thought of, like a group that somebody deleted."""


@pytest.mark.parametrize("error", ANY_TROUBLE)
def test_a_launch_whose_end_cannot_be_scheduled_is_a_launch_all_the_same(
    scene: Scenario, refuse: Callable[..., Recorder], error: type[Exception]
) -> None:
    refuse("scheduler:CreateSchedule", error=error)
    launched = scene.launch()
    assert scene.lock().run.instance_id == launched.instance_id
    assert scene.world.deadlines.schedules == {}


@pytest.mark.parametrize("error", ANY_TROUBLE)
@pytest.mark.parametrize("call", SCHEDULERS_CALLS)
def test_a_dead_agent_is_ended_whatever_scheduler_says(
    scene: Scenario, refuse: Callable[..., Recorder], call: str, error: type[Exception]
) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.world.clock.advance(LIMITS.lease + seconds(60))
    scene.first_look()
    refuse(call, error=error)
    scene.reconciler.sweep()
    assert scene.world.fleet.terminate_calls == [launched.instance_id]


@pytest.mark.parametrize("error", ANY_TROUBLE)
@pytest.mark.parametrize("call", SCHEDULERS_CALLS)
def test_a_run_that_is_over_is_concluded_whatever_scheduler_says(
    scene: Scenario, refuse: Callable[..., Recorder], call: str, error: type[Exception]
) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    scene.end(Outcome.SUCCEEDED, Cause.COMPLETED)
    scene.power_off(launched)
    refuse(call, error=error)
    scene.reconciler.sweep()
    assert scene.store.read_lock(Lane("dev")) == Absent()
    assert scene.kinds()[-1] == "completed"
    receipt = json.loads(scene.world.objects.body(run_key("dev", launched.run_id, "cleanup_status.json")))
    (schedule,) = [resource["state"] for resource in receipt["resources"] if resource["kind"] == "schedule"]
    assert schedule == {SCHEDULERS_CALLS[0]: "unknown", SCHEDULERS_CALLS[1]: "deleted"}.get(call, "scheduled")


@pytest.mark.parametrize("error", ANY_TROUBLE)
def test_a_schedule_that_nobody_needs_and_that_cannot_be_deleted_keeps_no_lane_from_its_sweep(
    scene: Scenario, refuse: Callable[..., Recorder], error: type[Exception]
) -> None:
    scene.world.deadlines.schedule("i-gone", scene.world.clock.now())
    scene.world.clock.advance(LIMITS.boot)
    stray = scene.world.fleet.add(owner_tags(scene.world.fleet.project, "dev"))
    refuse("scheduler:DeleteSchedule", error=error)
    scene.sweeps(LIMITS.orphan_bound)
    assert scene.world.fleet.terminate_calls == [stray]
    assert "is refused" in scene.reconciler.sweep()[0].error


@pytest.mark.parametrize("error", ANY_TROUBLE)
def test_verify_says_in_our_words_that_it_could_not_ask(
    scene: Scenario, refuse: Callable[..., Recorder], error: type[Exception]
) -> None:
    refuse("scheduler:ListSchedules", error=error)
    with pytest.raises((ServiceUnavailable, NotAllowed), match="is refused"):
        scene.left()


def test_a_right_that_is_missing_does_not_keep_the_others_from_their_work(
    scene: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.world.clock.advance(LIMITS.lease + seconds(60))
    scene.first_look()

    def forbidden(*_: object) -> None:
        raise NotAllowed("not allowed to put an object")

    monkeypatch.setattr(scene.store, "replace_lock", forbidden)
    (report,) = scene.reconciler.sweep()
    assert "not allowed" in report.error
    assert scene.world.fleet.terminate_calls == [launched.instance_id]


@pytest.mark.parametrize("name", ["Upper", "cached-datasets", "", "main", "a lane", "x" * 32, "é"])
def test_a_key_that_no_lane_can_have_keeps_nobody_from_the_lanes_that_are(scene: Scenario, name: str) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.world.objects.write(f"dev/lanes/{name}/system-state.json", b"{}")
    reports = scene.reconciler.sweep()
    assert [report.error for report in reports] == ["", ""]
    assert reports[0].decision.reason.startswith(f"dev/lanes/{name}/: not the lock of a lane")
    assert [snapshot.active for snapshot in list_runs(scene.store, "dev")] == [True]
    assert scene.left() == ["instance", "volume", "schedule", "lock"]
    assert scene.kill().run_id == launched.run_id
    scene.sweeps(LIMITS.grace + 3 * LIMITS.sweep)
    assert scene.left() == []


def an_untagged_instance(scene: Scenario) -> str:
    """The instance of a run, older than a boot, from which somebody has taken our tags."""
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    for _ in range(int(LIMITS.boot / LIMITS.sweep)):
        scene.beat(launched)
        scene.sweeps(LIMITS.sweep)
    scene.world.fleet.untag(launched.instance_id)
    return launched.instance_id


def test_the_schedule_of_an_instance_that_lost_its_tags_stays_and_people_are_told_once(scene: Scenario) -> None:
    instance_id = an_untagged_instance(scene)
    scene.sweeps(10 * LIMITS.sweep)
    assert scene.world.deadlines.schedules.keys() == {instance_id}
    assert scene.world.fleet.terminate_calls == []
    assert scene.kinds() == ["started", "leak", "failed"]
    leak = scene.world.notifier.messages[1]
    assert leak.document["instance_id"] == instance_id
    assert f"aws ec2 terminate-instances --instance-ids {instance_id}" in leak.body
    found = verify("dev", scene.store, scene.world.fleet, scene.world.deadlines)
    assert [(finding.kind, finding.name) for finding in found] == [
        ("instance", f"{instance_id} (without our tags)"), ("schedule", instance_id),
    ]  # fmt: skip
    scene.world.fleet.move(instance_id, InstanceState.TERMINATED)
    scene.reconciler.sweep()
    assert scene.left() == []


def test_a_calm_sweep_asks_ec2_once(scene: Scenario, refuse: Callable[..., Recorder]) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.world.clock.advance(LIMITS.boot)
    scene.beat(launched)
    recorder = refuse()
    scene.reconciler.sweep()
    assert recorder.calls.count("ec2:DescribeInstances") == 1


def test_a_schedule_stays_when_ec2_cannot_be_asked_and_the_lanes_are_swept(scene: Scenario) -> None:
    an_untagged_instance(scene)
    stray = scene.world.fleet.add(owner_tags(scene.world.fleet.project, "dev"))

    def refuse(*_: object) -> Any:
        raise NotAllowed("not allowed to list EC2 instances")

    scene.world.fleet.look_up = refuse  # type: ignore[method-assign]
    scene.sweeps(LIMITS.orphan_bound)
    assert "not allowed" in scene.reconciler.sweep()[0].error
    assert scene.world.fleet.terminate_calls == [stray]
    assert len(scene.world.deadlines.schedules) == 1


S3S_CALLS = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"]


@pytest.mark.parametrize("error", [ServiceUnavailable, NotAllowed])
@pytest.mark.parametrize("calls", [S3S_CALLS, S3S_CALLS[:1], S3S_CALLS[-1:]], ids=["all", "reads", "lists"])
def test_a_deadline_holds_whatever_s3_says(
    scene: Scenario, refuse: Callable[..., Recorder], calls: list[str], error: type[Exception]
) -> None:
    launched = scene.launch()
    scene.claim(launched)
    second = scene.launch(lane=Lane("dev", "second"))
    stray = scene.world.fleet.add(owner_tags(scene.world.fleet.project, "dev"))
    deadline = scene.world.clock.now() + LIMITS.max_runtime
    scene.world.clock.advance(LIMITS.max_runtime - 15 * LIMITS.sweep)
    for name, run_id in (("main", launched.run_id), ("second", second.run_id)):
        held = scene.lock(Lane("dev", name))
        scene.store.replace_lock(replace(held.run, current_step="claimed"), held)
        scene.store.write_heartbeat("dev", a_heartbeat(run_id=run_id, instance_id=held.run.instance_id))
    refuse(*calls, error=error)
    for _ in range(30):
        scene.world.clock.advance(LIMITS.sweep)
        reports = scene.reconciler.sweep()
        assert any("is refused" in report.error or "is refused" in report.decision.reason for report in reports)
        if calls != S3S_CALLS[-1:] and scene.world.clock.now() < deadline:
            assert scene.world.fleet.terminate_calls == []
    assert {launched.instance_id, second.instance_id} <= set(scene.world.fleet.terminate_calls)
    assert (stray in scene.world.fleet.terminate_calls) is (calls == S3S_CALLS[-1:])


def test_a_note_that_cannot_be_read_puts_the_end_of_a_stray_off_and_not_back(scene: Scenario) -> None:
    stray = scene.world.fleet.add(owner_tags(scene.world.fleet.project, "dev"))
    scene.sweeps(LIMITS.grace)
    key = suspect_key("dev", stray)
    first = scene.world.objects.read(key)
    real_read = scene.world.objects.read

    def read(wanted: str, *limit: int) -> Any:
        if wanted == key:
            raise ServiceUnavailable("503 SlowDown")
        return real_read(wanted, *limit)

    scene.world.objects.read = read  # type: ignore[method-assign]
    scene.sweeps(3 * LIMITS.sweep)
    assert scene.world.fleet.terminate_calls == []
    assert real_read(key) == first
    scene.world.objects.read = real_read  # type: ignore[method-assign]
    scene.reconciler.sweep()
    assert scene.world.fleet.terminate_calls == [stray]


@pytest.mark.parametrize("error", [ServiceUnavailable, NotAllowed])
def test_kill_says_that_it_could_not_look_and_not_that_there_is_no_run(
    scene: Scenario, refuse: Callable[..., Recorder], error: type[Exception]
) -> None:
    launched = scene.launch()
    refuse("s3:GetObject", error=error)
    with pytest.raises(ServiceUnavailable, match="is refused"):
        scene.kill(launched.run_id)


def rewrite_at_each_read(scene: Scenario, change: Callable[[Run], Run] = lambda run: run) -> None:
    """Somebody writes the lock again whenever anybody has read it."""
    real_read = scene.store.read_lock

    def read(lane: Lane) -> Any:
        found = real_read(lane)
        if isinstance(found, LockHeld):
            scene.store.replace_lock(change(found.run), found)
        return found

    scene.store.read_lock = read  # type: ignore[method-assign]


WATCHDOGS_WORD = Verdict(Outcome.FAILED, Cause.HUNG, "forged", DecidedBy.WATCHDOG)


@pytest.mark.parametrize(
    ("age", "changes"),
    [
        pytest.param(LIMITS.max_runtime, {}, id="deadline"),
        pytest.param(LIMITS.max_runtime, {"verdict": WATCHDOGS_WORD, "status": Status.FAILED}, id="a forged verdict"),
        pytest.param(seconds(3600), {"max_cost_usd": 0.75}, id="cap"),
        pytest.param(LIMITS.grace, {"stop": Stop(Cause.REQUESTED, "by hand", NOW)}, id="kill"),
    ],
)
def test_who_writes_the_lock_again_and_again_escapes_no_hard_limit(
    scene: Scenario, age: timedelta, changes: dict[str, Any]
) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    scene.world.clock.advance(age)
    scene.beat(launched)
    rewrite_at_each_read(scene, lambda run: replace(run, **changes))
    for _ in range(2):  # the first may have read what was there before
        scene.reconciler.sweep()
    assert scene.world.fleet.terminate_calls == [launched.instance_id]


def test_a_lease_does_not_end_what_others_keep_writing_of_and_the_report_says_so(scene: Scenario) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    scene.world.clock.advance(LIMITS.lease + seconds(60))
    rewrite_at_each_read(scene)
    (report,) = scene.reconciler.sweep()
    assert scene.world.fleet.terminate_calls == []
    assert "dev/system-state.json kept changing" in report.error
    assert report.lost_races == 3
    assert report.instances == (launched.instance_id,)


GARBAGE = b"\xef\xbb\xbf{"


def a_stray_and_a_run(scene: Scenario) -> tuple[str, Launched]:
    """A stray that EC2 lists first, and a run in training that beats; both are older than a boot may take."""
    tags = owner_tags(scene.world.fleet.project, "dev") | {"RunId": "20260101T000000Z-ffffff"}
    stray = scene.world.fleet.add(tags)
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    scene.world.clock.advance(LIMITS.boot + seconds(1))
    scene.beat(launched, counter=2)
    return stray, launched


def test_beside_an_unreadable_lock_a_stray_is_ended_and_the_run_that_beats_is_not(scene: Scenario) -> None:
    stray, launched = a_stray_and_a_run(scene)
    before = scene.lock().run.to_json()
    scene.world.objects.write("dev/system-state.json", GARBAGE)
    for counter in range(3, 60):
        scene.sweeps(LIMITS.sweep)
        scene.beat(launched, counter)
    assert scene.world.fleet.terminate_calls == [stray]
    assert scene.world.objects.body("dev/system-state.json") == GARBAGE

    scene.world.objects.write("dev/system-state.json", before)
    scene.end(Outcome.SUCCEEDED, Cause.COMPLETED)
    scene.power_off(launched)
    scene.reconciler.sweep()
    assert scene.left() == []


def test_a_beat_that_comes_just_before_an_end_beside_an_unreadable_lock_spares_its_agent(scene: Scenario) -> None:
    stray, launched = a_stray_and_a_run(scene)
    scene.world.fleet.move(stray, InstanceState.TERMINATED)
    scene.world.objects.write("dev/system-state.json", GARBAGE)
    scene.sweeps(LIMITS.lease + 2 * LIMITS.sweep)
    suspected = scene.store.read_heartbeat("dev", launched.run_id)
    scene.world.fleet.terminate_calls.clear()
    scene.world.fleet.move(launched.instance_id, InstanceState.RUNNING)
    scene.beat(launched, counter=9)
    reads = iter([suspected])
    real_read = scene.store.read_heartbeat
    scene.store.read_heartbeat = lambda environment, run_id: next(reads, None) or real_read(environment, run_id)  # type: ignore[method-assign]
    assert scene.reconciler.lane(Lane("dev")).lost_races == 1
    assert scene.world.fleet.terminate_calls == []


def without_a_lock(scene: Scenario, launched: Launched) -> Callable[[], None]:
    """Take the lock away; what is returned brings it back."""
    body = scene.lock().run.to_json()
    scene.world.objects.remove("dev/system-state.json")

    def bring_back() -> None:
        scene.world.objects.write("dev/system-state.json", body)
        scene.beat(launched)

    return bring_back


def test_a_suspicion_of_long_ago_makes_no_first_look_fatal(scene: Scenario) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    scene.world.clock.advance(LIMITS.grace)
    bring_back = without_a_lock(scene, launched)
    scene.reconciler.sweep()
    bring_back()
    for counter in range(2, 122):
        scene.sweeps(LIMITS.sweep)
        scene.beat(launched, counter)
    bring_back = without_a_lock(scene, launched)
    scene.reconciler.sweep()
    bring_back()
    scene.sweeps(LIMITS.sweep)
    assert scene.world.fleet.terminate_calls == []


def test_a_stray_that_could_not_be_ended_for_an_hour_is_ended_within_a_grace_when_it_can(
    scene: Scenario, refuse: Callable[..., Recorder]
) -> None:
    stray = scene.world.fleet.add(owner_tags(scene.world.fleet.project, "dev"))
    recorder = refuse("ec2:TerminateInstances")
    scene.sweeps(seconds(3600))
    recorder.refused = ()
    scene.sweeps(LIMITS.grace)
    assert not next(box for box in scene.world.fleet.instances("dev") if box.instance_id == stray).alive


@pytest.fixture
def listed(scene: Scenario) -> list[bool]:
    """Whether EC2's list has anything in it: put False in, and it lags."""
    real, shown = scene.world.fleet.instances, [True]
    scene.world.fleet.instances = lambda *which: real(*which) if shown[-1] else ()  # type: ignore[method-assign]
    return shown


def test_a_list_of_ec2_that_lags_for_minutes_ends_no_run_whose_agent_beats(scene: Scenario, listed: list[bool]) -> None:
    launched = scene.launch(crashes_left=1)
    scene.claim(launched)
    scene.train()
    listed.append(False)
    for counter in range(2, 12):
        scene.beat(launched, counter, checkpoint_age=seconds(30))
        scene.sweeps(LIMITS.sweep)
    assert scene.lock().run.attempt == 1
    assert scene.lock().run.verdict is None
    listed.append(True)
    scene.beat(launched, 12)
    scene.reconciler.sweep()
    assert scene.lock().run.suspect is None
    assert scene.world.fleet.terminate_calls == []


def test_the_lane_of_an_instance_that_vanished_is_free_within_the_promise(scene: Scenario, listed: list[bool]) -> None:
    launched = scene.launch()
    scene.claim(launched)
    scene.train()
    scene.beat(launched, 2)
    listed.append(False)
    scene.sweeps(LIMITS.vanished_bound)
    assert scene.store.read_lock(Lane("dev")) == Absent()


@pytest.mark.parametrize("crashes_left", [0, 1])
def test_a_beat_that_comes_just_before_a_run_is_given_up_keeps_it(
    scene: Scenario, listed: list[bool], crashes_left: int
) -> None:
    launched = scene.launch(crashes_left=crashes_left)
    scene.claim(launched)
    scene.train()
    scene.beat(launched, 2, checkpoint_age=seconds(30))
    listed.append(False)
    scene.sweeps(LIMITS.lease - seconds(30))
    silent = scene.store.read_heartbeat("dev", launched.run_id)
    scene.world.clock.advance(LIMITS.sweep)
    scene.beat(launched, 3, checkpoint_age=seconds(30))
    reads = iter([silent])
    real_read = scene.store.read_heartbeat
    scene.store.read_heartbeat = lambda environment, run_id: next(reads, None) or real_read(environment, run_id)  # type: ignore[method-assign]
    assert scene.reconciler.lane(Lane("dev")).lost_races == 1
    assert (scene.lock().run.attempt, scene.lock().run.verdict) == (1, None)


@pytest.mark.parametrize("error", ANY_TROUBLE)
def test_an_instance_that_ec2_refuses_to_end_keeps_no_other_alive_and_is_told(
    scene: Scenario, error: type[Exception]
) -> None:
    tags = owner_tags(scene.world.fleet.project, "dev")
    protected, other = scene.world.fleet.add(tags), scene.world.fleet.add(tags)
    terminate = scene.world.fleet.terminate

    def refuse(instance_id: str, *, force: bool = False) -> None:
        if instance_id == protected:
            raise error("OperationNotPermitted: it is protected")
        terminate(instance_id, force=force)

    scene.world.fleet.terminate = refuse  # type: ignore[method-assign]
    scene.sweeps(LIMITS.orphan_bound)
    assert scene.world.fleet.terminate_calls == [other]
    assert "OperationNotPermitted" in scene.reconciler.sweep()[-1].error
    scene.sweeps(LIMITS.alarm)
    told = [(m.attributes["kind"], m.document["incident"]) for m in scene.world.notifier.messages]
    assert sorted(told) == [("leak", protected), ("orphan", protected), ("orphan", other)]


def a_run_that_is_over(scene: Scenario) -> str:
    launched = scene.launch()
    scene.claim(launched)
    scene.end(Outcome.SUCCEEDED, Cause.COMPLETED)
    scene.power_off(launched)
    return launched.run_id


@pytest.mark.parametrize("error", ANY_TROUBLE[1:])
def test_a_message_that_sns_refuses_holds_the_lane_for_a_while_and_no_longer(
    scene: Scenario, error: type[Exception]
) -> None:
    run_id = a_run_that_is_over(scene)
    scene.world.notifier._faults = Recorder("sns:Publish", error=error)
    scene.sweeps(MAX_NOTIFICATION_DELAY - LIMITS.sweep)
    assert scene.lock().run.run_id == run_id
    scene.world.clock.advance(LIMITS.sweep)
    assert "is refused" in scene.reconciler.sweep()[-1].error
    assert scene.left() == []
    assert not [key for key, _ in scene.world.objects.keys(run_key("dev", run_id, "notified/"))]


def test_an_sns_that_does_not_answer_is_waited_for(scene: Scenario) -> None:
    a_run_that_is_over(scene)
    recorder = Recorder("sns:Publish")
    scene.world.notifier._faults = recorder
    scene.sweeps(2 * MAX_NOTIFICATION_DELAY)
    recorder.refused = ()
    scene.reconciler.sweep()
    assert (scene.kinds(), scene.left()) == (["completed"], [])


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
    scene: Scenario, refuse: Callable[..., Recorder], call: str, found: tuple[str, str, str]
) -> None:
    run_id = a_run_that_is_over(scene)
    scene.world.fleet.left = {Resource("volume", "vol-1", "available"): run_id}
    scene.world.objects.begin(f"dev/{run_id}/models/a")
    refuse(call, error=NotAllowed)
    (report,) = scene.reconciler.sweep()
    assert report.error == ""
    assert scene.store.read_lock(Lane("dev")) == Absent()
    receipt = json.loads(scene.world.objects.body(run_key("dev", run_id, "cleanup_status.json")))
    assert tuple(text.format(run_id=run_id) for text in found) in [tuple(one.values()) for one in receipt["resources"]]


def test_a_leftover_of_which_ec2_does_not_answer_is_deleted_by_a_later_sweep(
    scene: Scenario, refuse: Callable[..., Recorder]
) -> None:
    run_id = a_run_that_is_over(scene)
    scene.world.fleet.left = {Resource("volume", "vol-1", "available"): run_id}
    recorder = refuse("ec2:DeleteVolume")
    scene.reconciler.sweep()
    assert scene.lock().run.run_id == run_id
    recorder.refused = ()
    scene.reconciler.sweep()
    assert scene.left() == []


def test_a_launch_that_is_not_allowed_frees_its_lane(scene: Scenario, refuse: Callable[..., Recorder]) -> None:
    refuse("ec2:RunInstances", error=NotAllowed)
    with pytest.raises(NotAllowed):
        scene.launch()
    assert scene.left() == []


def test_an_order_whose_answer_was_lost_and_that_was_sent_again_is_written(scene: Scenario) -> None:
    real_create = scene.world.objects.create

    def twice(key: str, body: bytes) -> str:
        if key.endswith("request.json"):
            real_create(key, body)
        return real_create(key, body)

    scene.world.objects.create = twice  # type: ignore[method-assign]
    launched = scene.launch()
    assert scene.lock().run.run_id == launched.run_id


def test_an_order_that_somebody_else_wrote_is_not_ours(scene: Scenario) -> None:
    real_create = scene.world.objects.create

    def too_late(key: str, body: bytes) -> str:
        if key.endswith("request.json"):
            real_create(key, b"{}")
        return real_create(key, body)

    scene.world.objects.create = too_late  # type: ignore[method-assign]
    with pytest.raises(LostRace):
        scene.launch()
    assert scene.left() == []


@pytest.mark.parametrize("error", [LostRace, ServiceUnavailable, NotAllowed])
def test_a_lane_that_cannot_be_freed_does_not_hide_why_nothing_was_launched(
    scene: Scenario, error: type[Exception]
) -> None:
    scene.world.fleet.no_capacity = {"g4dn.2xlarge"}

    def refuse(*_: object) -> None:
        raise error("somebody wrote")

    scene.store.release_lock = refuse  # type: ignore[method-assign]
    with pytest.raises(CapacityUnavailable):
        scene.launch()
    del scene.store.release_lock
    scene.sweeps(LIMITS.boot + 3 * LIMITS.sweep)
    assert scene.left() == []


def test_of_another_lane_than_the_main_one_that_lanes_instances_alone_are_listed(scene: Scenario) -> None:
    second = Lane("dev", "second")
    scene.launch(lane=second)
    scene.world.fleet.add(owner_tags(scene.world.fleet.project, "dev"))
    asked: list[str | None] = []
    instances = scene.world.fleet.instances

    def listed(environment: str, lane: str | None = None) -> Any:
        asked.append(lane)
        return instances(environment, lane)

    scene.world.fleet.instances = listed  # type: ignore[method-assign]
    assert [len(scene.reconciler.facts(lane).instances) for lane in (second, Lane("dev"))] == [1, 1]
    scene.reconciler.sweep()
    assert asked == ["second", None, None]
