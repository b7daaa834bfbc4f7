"""What happens to a run, by people, by EC2, by the network and by chance."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from chronos_ec2.domain.errors import ChronosError
from chronos_ec2.domain.instance import InstanceState, owner_tags
from chronos_ec2.domain.parsing.codec import MAX_DOCUMENT_BYTES
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import SCHEMA_VERSION, Run
from chronos_ec2.domain.records.status import Cause, Stop, Suspect
from chronos_ec2.services.kill import kill
from chronos_ec2.services.watchdog.reconcile import Reconciler
from verification.simulation.agent_model import AgentRun, Box
from verification.simulation.guarantees import HUNG, NO_RECORD, STOPPED
from verification.simulation.oracle import Oracle
from verification.simulation.scenario import InjectedFault, Kind
from verification.simulation.system import ENVIRONMENT, System


class FaultInjector:
    """Does what a plan says, and tells the judgement what then should end."""

    def __init__(
        self,
        scene: System,
        judgement: Oracle,
        reconciler: Reconciler,
        launch: Callable[[Lane, int | None], None],
        deliver: Callable[[dict[str, object]], None],
    ) -> None:
        self._scene = scene
        self._judgement = judgement
        self._reconciler = reconciler
        self._deliver = deliver
        self._launch = launch
        # What is not in either table was arranged before the history began.
        self._to_lane: dict[Kind, Callable[[Lane], None]] = {
            Kind.KILL: self._kill,
            Kind.KILL_NOW: lambda lane: self._kill(lane, at_once=True),
            Kind.SECOND_LAUNCH: lambda lane: launch(lane, None),
            Kind.FORGED_STOP: self._forge_stop,
            Kind.FORGED_SUSPECT: self._forge_suspect,
            Kind.FORGED_SEQ: self._forge_seq,
            Kind.GARBAGE: lambda lane: self._spoil(lane, b"\xef\xbb\xbf{"),
            Kind.NEWER_SCHEMA: self._of_a_later_release,
            Kind.OVERSIZED: lambda lane: self._spoil(lane, b" " * (MAX_DOCUMENT_BYTES + 1)),
            Kind.LOCK_DELETED: self._delete,
            Kind.FOREIGN_ID: self._name_another,
            Kind.LATE_DEADLINE: lambda lane: self._forge(
                lane, lambda run: replace(run, deadline=run.deadline + timedelta(days=300))
            ),
            Kind.NO_RECORD: self._no_record,
        }
        self._to_box: dict[Kind, Callable[[str, Box, float], None]] = {
            Kind.CRASH: lambda _id, box, _s: box.crash(),
            Kind.PANIC: self._panic,
            Kind.FREEZE: self._freeze,
            Kind.HANG: self._hang,
            Kind.SLOW: lambda _id, box, seconds: box.stall(seconds),
            Kind.PARTITION: self._partition,
            Kind.SKEW: self._skew,
            Kind.SPOT: self._spot,
            Kind.STOPPED: self._stop,
            Kind.TERMINATED: lambda instance_id, _box, _s: scene.fleet.shut_down(instance_id, 20.0),
            Kind.USER_CODE: lambda _id, box, _s: box.fail(),
            Kind.UNTAGGED: self._untag,
            Kind.HOLD: self._hold,
        }

    def do(self, at: InjectedFault) -> None:
        """Let it happen, to the lane or to the instance that works in it."""
        scene, lane = self._scene, self._scene.lanes[at.lane]
        scene.tell(f"! {at.kind} {at.seconds:.0f}")
        if to_lane := self._to_lane.get(at.kind):
            to_lane(lane)
        if at.kind is Kind.SECOND_LAUNCHER_DIES:
            self._launch(lane, int(at.seconds))
        if to_box := self._to_box.get(at.kind):
            for instance_id, box in list(scene.boxes.items()):
                found = scene.instance(instance_id)
                if found.lane == lane and found.state is InstanceState.RUNNING and box.life is AgentRun.WORKING:
                    to_box(instance_id, box, at.seconds)

    # --- to a box ----------------------------------------------------------------------------------------------

    def _panic(self, instance_id: str, box: Box, _seconds: float) -> None:
        box.catch_up()
        box.die()
        self._judgement.agent_died(instance_id)

    def _freeze(self, instance_id: str, box: Box, seconds: float) -> None:
        box.freeze(seconds)
        if seconds > self._scene.limits.lease.total_seconds():
            self._judgement.agent_died(instance_id)

    def _partition(self, instance_id: str, box: Box, seconds: float) -> None:
        box.cut(seconds)
        if seconds > self._scene.limits.lease.total_seconds() + 60:
            self._judgement.agent_died(instance_id, until=seconds)

    def _hang(self, instance_id: str, box: Box, _seconds: float) -> None:
        if box.claimed and box.stalled_since is None:
            box.stall(None)
            self._judgement.fails(instance_id, HUNG)

    def _skew(self, _id: str, box: Box, seconds: float) -> None:
        box.skew = seconds

    def _spot(self, instance_id: str, box: Box, _seconds: float) -> None:
        scene = self._scene
        scene.clockwork.after(scene.random.uniform(0, 5), box.hears_of_interruption)
        scene.asked.add(instance_id)
        self._deliver(
            {"source": "aws.ec2", "detail-type": "EC2 Spot Instance Interruption Warning",
             "detail": {"instance-id": instance_id}}
        )  # fmt: skip
        scene.clockwork.after(120.0, lambda: scene.fleet.shut_down(instance_id, 20.0))

    def _stop(self, instance_id: str, box: Box, _seconds: float) -> None:
        box.catch_up()
        box.die()
        self._judgement.fails(instance_id, STOPPED)
        self._scene.fleet.move(instance_id, InstanceState.STOPPED)

    def _untag(self, instance_id: str, _box: Box, _seconds: float) -> None:
        self._scene.asked.add(instance_id)
        self._judgement.loses_its_tags(instance_id)
        self._scene.fleet.untag(instance_id)

    def _hold(self, instance_id: str, _box: Box, _seconds: float) -> None:
        self._scene.on_hold.add(instance_id)
        self._judgement.forgive(instance_id)
        self._scene.fleet.hold(instance_id)

    # --- to a lane ---------------------------------------------------------------------------------------------

    def _kill(self, lane: Lane, *, at_once: bool = False) -> None:
        run = self._scene.run_in(lane)
        if run is None:
            return
        self._asks_for_the_end_of(run)
        with suppress(ChronosError):
            kill(run.run_id, self._scene.store, self._reconciler, self._scene.clockwork, "by hand", at_once=at_once)

    def _asks_for_the_end_of(self, run: Run) -> None:
        self._scene.asked |= {box.instance_id for box in self._scene.fleet.everything() if box.run_id == run.run_id}

    def _forge_stop(self, lane: Lane) -> None:
        if (run := self._scene.run_in(lane)) is not None:
            self._asks_for_the_end_of(run)
            stop = Stop(Cause.REQUESTED, "forged", self._yesterday())
            self._forge(lane, lambda run: replace(run, stop=stop))

    def _forge_suspect(self, lane: Lane) -> None:
        cause = self._scene.random.choice((Cause.HUNG, Cause.PREEMPTED))
        suspect = Suspect(cause, "forged", self._yesterday())
        self._forge(lane, lambda run: replace(run, suspect=suspect))

    def _forge_seq(self, lane: Lane) -> None:
        """Whoever writes next makes it unreadable, also who writes why it ends the instance."""
        if (run := self._scene.run_in(lane)) is not None:
            self._asks_for_the_end_of(run)
            self._scene.spoiled.add(lane)
            self._judgement.lost_its_record(lane)
            self._forge(lane, lambda run: replace(run, seq=2**63 - 1))

    def _yesterday(self) -> datetime:
        return self._scene.clockwork.now() - timedelta(days=1)

    def _spoil(self, lane: Lane, body: bytes) -> None:
        """Something lies at the lock's place that nobody can read."""
        self._scene.spoiled.add(lane)
        self._judgement.lost_its_record(lane)
        self._scene.objects.overwrite(lane.state_key, body)

    def _of_a_later_release(self, lane: Lane) -> None:
        if (run := self._scene.run_in(lane)) is not None:
            later = b'"schema_version": %d' % (SCHEMA_VERSION + 1)
            self._spoil(lane, run.to_json().replace(b'"schema_version": %d' % SCHEMA_VERSION, later))

    def _delete(self, lane: Lane) -> None:
        if self._scene.objects.holds(lane.state_key):
            self._rob(lane)
            self._scene.objects.overwrite(lane.state_key, None)

    def _name_another(self, lane: Lane) -> None:
        if self._scene.run_in(lane) is not None:
            self._rob(lane)
            self._forge(lane, lambda run: replace(run, instance_id=self._scene.foreign))

    def _rob(self, lane: Lane) -> None:
        self._scene.spoiled.add(lane)
        self._scene.robbed.add(lane)
        self._judgement.lost_its_record(lane)

    def _forge(self, lane: Lane, change: Callable[[Run], Run]) -> None:
        """Somebody writes a record that can be read, and is not true."""
        if (run := self._scene.run_in(lane)) is not None:
            self._judgement.somebody_wrote(lane)
            self._scene.objects.overwrite(lane.state_key, change(run).to_json())

    def _no_record(self, lane: Lane) -> None:
        tags = owner_tags(self._scene.fleet.project, ENVIRONMENT)
        self._judgement.fails(self._scene.fleet.add(tags | {"Lane": lane.name}), NO_RECORD)
