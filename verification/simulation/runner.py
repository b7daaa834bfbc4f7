"""One history: everything is put together, disturbed as planned, watched by a sweep and by events, and judged."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count

from chronos_ec2.domain.errors import CapacityUnavailable, ChronosError, LaunchRefused
from chronos_ec2.domain.events import (
    Ignored,
    parse_event,
)
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import StackLocation
from chronos_ec2.domain.records.lane import CACHED, Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.services.launch import Launcher, LaunchSpec, launch
from chronos_ec2.services.watchdog.reconcile import Reconciler
from chronos_ec2.testing.faults import Crash
from chronos_ec2.worker.run_lock import Identity
from verification.simulation.agent_model import Box
from verification.simulation.fault_injection import FaultInjector
from verification.simulation.forged_events import forged_event
from verification.simulation.guarantees import LATE, NO_BOOT, PRICED
from verification.simulation.idle_sweep_skipping import IdleSweeps
from verification.simulation.oracle import Oracle, Verdicts
from verification.simulation.scenario import InjectedFault, Kind, Layer, Scenario
from verification.simulation.system import ENVIRONMENT, System
from verification.simulation.virtual_time import ORIGIN

_BUCKET, _DATA = "a-bucket", "training-data/sales/"
_SUBNETS = ("subnet-a", "subnet-b")
_PRICE = 0.752
_HORIZON_SECONDS = 60_000.0
_LATE_SHARE, _LATE_SECONDS, _LATEST_SECONDS = 0.05, 900.0, 86_400.0


def run_history(plan: Scenario, limits: Limits, told: Callable[[str], None] | None = None) -> Verdicts:
    """Let a plan happen, and judge it. `told` hears of everything, for people."""
    return _History(System(plan, limits, told)).run()


class _History:
    def __init__(self, scene: System) -> None:
        self._scene = scene
        self._plan = scene.plan
        self._clockwork = scene.clockwork
        self._reconciler = Reconciler(
            ENVIRONMENT,
            scene.store,
            scene.fleet,
            scene.deadlines,
            scene.notifier,
            self,
            scene.clockwork,
            scene.limits,
            StackLocation("aws", "us-east-1", _BUCKET),
        )
        self._judgement = Oracle(scene)
        self._disturber = FaultInjector(scene, self._judgement, self._reconciler, self._launch, self._deliver)
        self._calm = IdleSweeps(scene, self._judgement)
        self._numbers = count()
        self._on_their_way: dict[int, object] = {}

    def run(self) -> Verdicts:
        scene, plan = self._scene, self._plan
        scene.fleet.no_capacity.update(_SUBNETS[: plan.full_subnets])
        scene.objects.overwrite(f"{CACHED}/{_DATA}a.parquet", b"PAR1")
        scene.objects.before_lock = self._lock_is_written
        scene.objects.on_lock = self._lock_was_written
        scene.objects.on_beat_wanted = self._beat_is_wanted
        scene.fleet.on_change = self._instance_changed
        scene.fleet.on_terminate = self._judgement.terminate_was_called
        scene.fleet.on_schedule = self._judgement.schedule_fired
        for index, lane in enumerate(scene.lanes):
            dies = [at.seconds for at in plan.disturbances if at.kind is Kind.LAUNCHER_DIES and at.lane == index]
            self._clockwork.at(1.0 + index, partial(self._launch, lane, int(dies[0]) if dies else None))
        for disturbance in plan.disturbances:
            self._clockwork.at(disturbance.after, partial(self._disturb, disturbance))
        if Layer.SWEEP not in plan.layers_off:
            self._clockwork.at(scene.random.uniform(0, 60), self._sweep)
        for _ in range(plan.forged_events):
            self._clockwork.at(scene.random.uniform(0, 900), self._forge)
        last = max((at.after for at in plan.disturbances), default=0.0)
        self._clockwork.run(partial(self._judgement.is_over, last), _HORIZON_SECONDS)
        self._judgement.at_the_end()
        if self._on_their_way and not self._judgement.verdicts.failed:
            self._deliver_the_rest()
        return self._judgement.verdicts

    def _disturb(self, disturbance: InjectedFault) -> None:
        self._calm.disturb()
        self._disturber.do(disturbance)

    # --- the moves of the system -------------------------------------------------------------------------------

    def _launch(self, lane: Lane, dies_after: int | None) -> None:
        """Somebody launches in a lane, and dies after so many fault points."""
        scene = self._scene
        scene.noise.calls_to_crash = dies_after
        scene.noise.in_launch = True
        order = LaunchSpec(
            lane=lane,
            config={},
            data_path=_DATA,
            instance_types=("g4dn.2xlarge",),
            subnet_ids=_SUBNETS,
            bucket=_BUCKET,
            bundle_sha256="0" * 64,
            limits=scene.limits,
            price_per_hour_usd=_PRICE,
            max_cost_usd=self._plan.max_cost,
            crashes_left=self._plan.crashes_left,
            preemptions_left=self._plan.preemptions_left,
        )
        try:
            launched = launch(order, scene.store, scene.fleet, scene.deadlines, self._clockwork)
            scene.tell(f"{launched.run_id} launched as {launched.instance_id}")
        except Crash:
            scene.tell("the launcher died")
        except ChronosError as error:
            scene.tell(f"launch failed: {error}")
        finally:
            scene.noise.calls_to_crash = None
            scene.noise.in_launch = False

    def relaunch(self, run: Run) -> None:
        """The launcher function."""
        scene = self._scene
        scene.tell(f"relaunch of {run.run_id}, attempt {run.attempt}")
        try:
            Launcher(_BUCKET, _SUBNETS, scene.store, scene.fleet, scene.deadlines).relaunch(run)
        except (CapacityUnavailable, LaunchRefused) as error:
            scene.tell(f"not started: {error}")

    def _sweep(self) -> None:
        scene = self._scene
        self._clockwork.after(scene.limits.sweep.total_seconds(), self._sweep)
        if self._calm.holds():
            return
        noise, begun = scene.noise, self._clockwork.seconds
        failed, by_chance = noise.failed_calls, noise.failed_by_chance
        lost = self._plan.lost_ticks > 0 and scene.random.random() < self._plan.lost_ticks
        self._judgement.tidings.tick_begins()
        noise.tick = begun
        whole = not lost and self._as_function(self._one_sweep)
        noise.tick = None
        if not whole or noise.failed_calls > failed or noise.out:
            chance = lost or noise.failed_by_chance > by_chance or (not whole and noise.failed_calls == failed)
            noise.disturbs(begun, by_chance=chance)
        else:
            self._judgement.tidings.tick_ended()

    def _one_sweep(self) -> None:
        self._calm.begin()
        reports = self._reconciler.sweep()
        self._calm.judge(reports)
        if self._scene.told:
            for report in reports:
                actions = ", ".join(type(action).__name__ for action in report.decision.actions)
                self._scene.tell(f"sweep: {report.decision.reason} [{actions}] {report.error}")

    def _as_function(self, call: Callable[[], object]) -> bool:
        """An invocation: it may die and it may fail; whether it did neither. The next try is the next tick."""
        noise = self._scene.noise
        noise.in_function = True
        try:
            call()
        except Crash:
            self._scene.tell("a function died")
            return False
        except ChronosError as error:
            self._scene.tell(f"a function failed: {error}")
            return False
        finally:
            noise.in_function = False
        return True

    # --- events ------------------------------------------------------------------------------------------------

    def _lock_is_written(self, _key: str) -> None:
        """No agent hears in a beat that is due already of what somebody else writes only now."""
        for box in self._scene.boxes.values():
            if not box.acts:
                box.catch_up()

    def _lock_was_written(self, key: str) -> None:
        self._calm.disturb()
        self._judgement.lock_was_written(key)
        for box in self._scene.boxes.values():
            if not box.acts:
                box.news()
        self._deliver(
            {"source": "aws.s3", "detail-type": "Object Created",
             "detail": {"bucket": {"name": _BUCKET}, "object": {"key": key}}}
        )  # fmt: skip

    def _instance_changed(self, instance_id: str, state: InstanceState) -> None:
        self._calm.instance_changed()
        self._scene.tell(f"{instance_id} is {state}")
        if state is InstanceState.RUNNING and instance_id in self._scene.fleet.ours:
            self._clockwork.after(self._plan.boot, partial(self._boot, instance_id))
        if state is InstanceState.SHUTTING_DOWN:
            if box := self._scene.boxes.get(instance_id):
                box.catch_up()
                if box.uploads:
                    self._scene.objects.begin(run_key(ENVIRONMENT, box.identity.run_id, "checkpoints/1/model"))
                box.die()
            self._judgement.went(instance_id)
        self._deliver(
            {"source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification",
             "detail": {"instance-id": instance_id, "state": str(state)}}
        )  # fmt: skip

    def _deliver(self, event: dict[str, object]) -> None:
        """EventBridge: an event may be lost, doubled, late and out of order."""
        plan, random = self._plan, self._scene.random
        if Layer.EVENTS in plan.layers_off or plan.lost_events == 1.0 or random.random() < plan.lost_events:
            return
        for _ in range(1 + (plan.doubled_events > 0 and random.random() < plan.doubled_events)):
            delay = random.uniform(0.5, 5)
            if random.random() < _LATE_SHARE:
                # Half of the late ones come within the life of the run, the others up to a day later.
                delay = random.uniform(5, random.choice((_LATE_SECONDS, _LATEST_SECONDS)))
            self._send(event, delay)

    def _send(self, event: object, delay: float) -> None:
        number = next(self._numbers)
        self._on_their_way[number] = event

        def arrives() -> None:
            del self._on_their_way[number]
            self._handle(event)

        self._clockwork.after(delay, arrives)

    def _forge(self) -> None:
        scene = self._scene
        instances = [box.instance_id for box in scene.fleet.everything()]
        event = forged_event(scene.random, scene.lanes, instances)
        scene.tell(f"! forged: {event}")
        self._handle(event)

    def _handle(self, event: object) -> None:
        """What the handlers in functions/ do."""
        parsed = parse_event(event)
        if not isinstance(parsed, Ignored):
            self._as_function(lambda: self._reconciler.handle(parsed))

    def _deliver_the_rest(self) -> None:
        """What arrives when all is over finds nothing to do."""
        scene = self._scene
        before = scene.traces
        scene.noise.muted = True
        # EC2's list has caught up by then.
        self._clockwork.seconds += self._plan.list_lag
        for event in self._on_their_way.values():
            self._handle(event)
        self._judgement.after_the_end(before)

    # --- instances ---------------------------------------------------------------------------------------------

    def _boot(self, instance_id: str) -> None:
        scene = self._scene
        found = scene.instance(instance_id)
        if found.state is not InstanceState.RUNNING or found.lane is None or found.run_id is None:
            return
        arranged = {at.kind for at in self._plan.disturbances if scene.lanes[at.lane] == found.lane}
        if Kind.NO_BOOT in arranged:
            self._never_boots(instance_id, (found.launched_at - ORIGIN).total_seconds())
            return
        identity = Identity(ENVIRONMENT, found.run_id, instance_id, "boot", found.attempt)
        box = Box(
            self._clockwork, scene.noise, scene.store, found.lane, identity, scene.limits,
            partial(self._agent_ended, instance_id),
        )  # fmt: skip
        box.deaf = Kind.DEAF in arranged
        box.checkpoint_after = self._plan.checkpoint_after
        box.on_claim = self._judgement.claimed
        box.on_fenced = partial(self._judgement.fenced, instance_id)
        scene.boxes[instance_id] = box
        if found.deadline:
            end = (found.deadline - ORIGIN).total_seconds()
            self._clockwork.at(end, partial(self._past_its_deadline, instance_id))
        if (spent := scene.spent_at(instance_id)) is not None:
            self._clockwork.at(spent, partial(self._past_its_price, instance_id))
        box.start(self._plan.training)

    def _never_boots(self, instance_id: str, launched_at: float) -> None:
        """The box's own boot timer ends it, if that layer is there."""
        self._judgement.fails(instance_id, NO_BOOT, since=launched_at)
        if Layer.BOX not in self._plan.layers_off:
            end = launched_at + self._scene.limits.boot.total_seconds()
            self._clockwork.at(end, partial(self._power_off, instance_id))

    def _past_its_deadline(self, instance_id: str) -> None:
        """From now on it must go; its own timer ends it, if that layer is there and the box alive."""
        if self._scene.fleet.state(instance_id) is not InstanceState.RUNNING:
            return
        self._judgement.fails(instance_id, LATE)
        if Layer.BOX not in self._plan.layers_off and self._scene.boxes[instance_id].timers_run:
            self._power_off(instance_id)

    def _past_its_price(self, instance_id: str) -> None:
        if self._scene.fleet.state(instance_id) is InstanceState.RUNNING and self._scene.spent_at(instance_id):
            self._judgement.fails(instance_id, PRICED)

    def _agent_ended(self, instance_id: str) -> None:
        self._scene.tell(f"the agent on {instance_id} ended")
        if Layer.BOX in self._plan.layers_off:
            self._judgement.agent_died(instance_id)
        else:
            self._clockwork.after(2.0, partial(self._power_off, instance_id))

    def _power_off(self, instance_id: str) -> None:
        if self._scene.fleet.state(instance_id) in (InstanceState.PENDING, InstanceState.RUNNING):
            self._scene.fleet.shut_down(instance_id, self._scene.random.uniform(5, 30))

    def _beat_is_wanted(self, key: str) -> None:
        for box in self._scene.boxes.values():
            if box.identity.run_id in key:
                box.catch_up()
