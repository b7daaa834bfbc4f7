"""What happens to a run, by people, by EC2, by the network and by chance; and forged events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from chronos_ec2.domain.errors import ChronosError
from chronos_ec2.domain.instance import InstanceState, owner_tags
from chronos_ec2.domain.parsing.codec import MAX_DOCUMENT_BYTES
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import SCHEMA_VERSION, Run
from chronos_ec2.domain.records.status import Cause, Stop, Suspect
from chronos_ec2.testing.virtual.agent import AgentRun
from chronos_ec2.testing.virtual.faulty_agent import FaultyAgent
from verification.simulation.guarantees import HUNG, NO_RECORD, STOPPED
from verification.simulation.oracles.oracle import Oracle
from verification.simulation.scenario import FaultKind, InjectedFault
from verification.simulation.system import System

_CHANGE, _WARNING = "EC2 Instance State-change Notification", "EC2 Spot Instance Interruption Warning"


class FaultInjector:
    """Does what a scenario says, and tells the oracle which instance should then end."""

    def __init__(
        self,
        system: System,
        oracle: Oracle,
        look: Callable[[], None],
        deliver: Callable[[dict[str, object]], None],
    ) -> None:
        self._system = system
        self._oracle = oracle
        self._deliver = deliver
        # What is in neither table was arranged before the history began.
        self._to_lane: dict[FaultKind, Callable[[Lane], None]] = {
            FaultKind.KILL: self._kill,
            FaultKind.KILL_NOW: lambda lane: self._kill(lane, at_once=True),
            FaultKind.SECOND_LAUNCH: lambda lane: system.environment.begin_launch(lane, None),
            FaultKind.FORGED_STOP: self._forge_stop,
            FaultKind.FORGED_SUSPECT: self._forge_suspect,
            FaultKind.FORGED_SEQ: self._forge_seq,
            FaultKind.GARBAGE: lambda lane: self._overwrite(lane, b"\xef\xbb\xbf{"),
            FaultKind.NEWER_SCHEMA: self._newer_schema,
            FaultKind.OVERSIZED: lambda lane: self._overwrite(lane, b" " * (MAX_DOCUMENT_BYTES + 1)),
            FaultKind.LOCK_DELETED: self._delete,
            FaultKind.FOREIGN_ID: self._name_foreign,
            FaultKind.LATE_DEADLINE: self._put_off,
            FaultKind.NO_RECORD: self._no_record,
            FaultKind.CLEANUP: lambda _lane: look(),
        }
        self._to_agent: dict[FaultKind, Callable[[str, FaultyAgent, float], None]] = {
            FaultKind.CRASH: lambda _id, agent, _: agent.crash(),
            FaultKind.PANIC: self._panic,
            FaultKind.FREEZE: self._freeze,
            FaultKind.HANG: self._hang,
            FaultKind.SLOW: lambda _id, agent, seconds: agent.stall(seconds),
            FaultKind.PARTITION: self._partition,
            FaultKind.SKEW: self._skew,
            FaultKind.SPOT: self._spot,
            FaultKind.STOPPED: self._stop,
            FaultKind.TERMINATED: lambda instance_id, _agent, _: system.fleet.shut_down(instance_id, 20.0),
            FaultKind.USER_CODE: lambda _id, agent, _: agent.fail(),
            FaultKind.UNTAGGED: self._untag,
            FaultKind.HOLD: self._hold,
        }

    def do(self, at: InjectedFault) -> None:
        """Let it happen, to the lane or to the instance that works in it."""
        system, lane = self._system, self._system.lanes[at.lane]
        system.tell(f"! {at.kind} {at.seconds:.0f}")
        if to_lane := self._to_lane.get(at.kind):
            to_lane(lane)
        if at.kind is FaultKind.SECOND_LAUNCHER_DIES:
            system.environment.begin_launch(lane, int(at.seconds))
        if to_agent := self._to_agent.get(at.kind):
            for instance_id, agent in list(system.agents.items()):
                found = system.fleet.truth(instance_id)
                if found.lane == lane and found.state is InstanceState.RUNNING and agent.run is AgentRun.WORKING:
                    system.ledger.disturbances[instance_id].add(at.kind)
                    to_agent(instance_id, agent, at.seconds)

    def _panic(self, instance_id: str, agent: FaultyAgent, _seconds: float) -> None:
        agent.catch_up()
        agent.die()
        self._oracle.agent_died(instance_id)

    def _freeze(self, instance_id: str, agent: FaultyAgent, seconds: float) -> None:
        agent.freeze(seconds)
        if seconds > self._system.limits.lease.total_seconds():
            self._oracle.agent_died(instance_id)

    def _partition(self, instance_id: str, agent: FaultyAgent, seconds: float) -> None:
        agent.cut(seconds)
        if seconds > self._system.limits.lease.total_seconds() + 60:
            self._oracle.agent_died(instance_id, until=seconds)

    def _hang(self, instance_id: str, agent: FaultyAgent, _seconds: float) -> None:
        if agent.claimed and agent.stalled_since is None:
            agent.stall(None)
            self._oracle.fails(instance_id, HUNG)

    def _skew(self, _id: str, agent: FaultyAgent, seconds: float) -> None:
        agent.skew = seconds

    def _spot(self, instance_id: str, agent: FaultyAgent, _seconds: float) -> None:
        system = self._system
        system.time.after(system.random.uniform(0, 5), agent.interrupt)
        system.asked.add(instance_id)
        self._deliver(_of_ec2(_WARNING, {"instance-id": instance_id}))

        def reclaim() -> None:
            if system.fleet.truth(instance_id).state is InstanceState.RUNNING:
                system.fleet.reclaim(instance_id)
                system.fleet.shut_down(instance_id, 20.0)

        system.time.after(120.0, reclaim)

    def _stop(self, instance_id: str, agent: FaultyAgent, _seconds: float) -> None:
        agent.catch_up()
        agent.die()
        self._oracle.fails(instance_id, STOPPED)
        self._system.fleet.move(instance_id, InstanceState.STOPPED)

    def _untag(self, instance_id: str, _agent: FaultyAgent, _seconds: float) -> None:
        self._system.asked.add(instance_id)
        self._oracle.loses_its_tags(instance_id)
        self._system.fleet.untag(instance_id)

    def _hold(self, instance_id: str, _agent: FaultyAgent, _seconds: float) -> None:
        self._system.on_hold.add(instance_id)
        self._oracle.forgive(instance_id)
        self._system.fleet.set_hold(instance_id, hold=True)

    def _asks_to_end(self, lane: Lane) -> Run | None:
        """Somebody ends the run in a lane, if there is one."""
        if run := self._system.run_in(lane):
            self._system.ask_to_end(run.run_id)
        return run

    def _kill(self, lane: Lane, *, at_once: bool = False) -> None:
        if run := self._asks_to_end(lane):
            with suppress(ChronosError):
                self._system.environment.kill(run.run_id, at_once=at_once)

    def _forge_stop(self, lane: Lane) -> None:
        if self._asks_to_end(lane):
            self._forge(lane, stop=Stop(Cause.REQUESTED, "forged", self._yesterday()))

    def _forge_suspect(self, lane: Lane) -> None:
        cause = self._system.random.choice((Cause.HUNG, Cause.PREEMPTED))
        self._forge(lane, suspect=Suspect(cause, "forged", self._yesterday()))

    def _forge_seq(self, lane: Lane) -> None:
        """The next write makes it unreadable, also the write of a verdict."""
        if self._asks_to_end(lane):
            self._spoil(lane)
            self._forge(lane, seq=2**63 - 1)

    def _put_off(self, lane: Lane) -> None:
        if run := self._system.run_in(lane):
            self._forge(lane, deadline=run.deadline + timedelta(days=300))

    def _yesterday(self) -> datetime:
        return self._system.time.now() - timedelta(days=1)

    def _overwrite(self, lane: Lane, body: bytes) -> None:
        """The lock becomes unreadable."""
        self._spoil(lane)
        self._system.objects.overwrite(lane.state_key, body)

    def _spoil(self, lane: Lane) -> None:
        self._system.spoiled.add(lane)
        self._oracle.lost_its_record(lane)

    def _newer_schema(self, lane: Lane) -> None:
        if run := self._system.run_in(lane):
            later = b'"schema_version": %d' % (SCHEMA_VERSION + 1)
            self._overwrite(lane, run.to_json().replace(b'"schema_version": %d' % SCHEMA_VERSION, later))

    def _delete(self, lane: Lane) -> None:
        if self._system.objects.holds(lane.state_key):
            self._rob(lane)
            self._system.objects.overwrite(lane.state_key, None)

    def _name_foreign(self, lane: Lane) -> None:
        if self._system.run_in(lane):
            self._rob(lane)
            self._forge(lane, instance_id=self._system.foreign)

    def _rob(self, lane: Lane) -> None:
        self._system.robbed.add(lane)
        self._spoil(lane)

    def _forge(self, lane: Lane, **fields: Any) -> None:
        """Somebody writes a record that can be read and is not true."""
        if run := self._system.run_in(lane):
            self._oracle.somebody_wrote(lane)
            self._system.objects.overwrite(lane.state_key, replace(run, **fields).to_json())

    def _no_record(self, lane: Lane) -> None:
        tags = owner_tags(self._system.fleet.project, lane.environment)
        self._oracle.fails(self._system.fleet.add(tags | {"Lane": lane.name}), NO_RECORD)


def forged_event(random: Random, lanes: Sequence[Lane], instances: Sequence[str]) -> object:
    """An event that AWS did not send, or a malformed one: it may make the watchdog look, and no more.

    `instances` are ids that exist, ours and others.
    """
    instance_id = random.choice([*instances, "i-0123456789abcdef0", "i-", "../i-1", "", None, 7])
    lane = random.choice(lanes)
    key = random.choice([lane.state_key, f"../{lane.state_key}", "prod/system-state.json", "", f"{lane.state_key}x", 7])
    return random.choice(
        (
            None,
            "terminate everything",
            [],
            {},
            {"source": "aws.ec2", "detail-type": _CHANGE},
            _of_ec2(_CHANGE, []),
            {"source": ["aws.ec2"], "detail-type": {}, "detail": {}},
            _of_ec2(_CHANGE, {"instance-id": instance_id, "state": "terminated"}),
            _of_ec2(_CHANGE, {"instance-id": instance_id, "state": "melted"}),
            _of_ec2(_WARNING, {"instance-id": instance_id}),
            _of_s3("Object Deleted", {"object": {"key": key}}),
            _of_s3("Object Created", {"bucket": {"name": "another"}, "object": {"key": key}}),
            {"requestPayload": {"requestPayload": {"source": "aws.ec2"}}},
        )
    )


def instance_event(instance_id: str, state: str) -> dict[str, object]:
    """EC2 reports the state of an instance."""
    return _of_ec2(_CHANGE, {"instance-id": instance_id, "state": state})


def object_event(bucket: str, key: str) -> dict[str, object]:
    """S3 reports that an object was written."""
    return _of_s3("Object Created", {"bucket": {"name": bucket}, "object": {"key": key}})


def _of_s3(kind: str, detail: object) -> dict[str, object]:
    return {"source": "aws.s3", "detail-type": kind, "detail": detail}


def _of_ec2(kind: str, detail: object) -> dict[str, object]:
    return {"source": "aws.ec2", "detail-type": kind, "detail": detail}
