"""An agent that works in steps of a minute, over the real session of a run."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from enum import StrEnum

from chronos_ec2.domain.errors import ChronosError, Fenced
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Stop, Verdict
from chronos_ec2.run_store import RunStore
from chronos_ec2.testing.aws import MemoryAws
from chronos_ec2.worker.run_session import Identity, RunSession

COMPLETED = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "trained", DecidedBy.AGENT)
_PHASES = (Status.DATA_SYNC, *[Status.TRAINING] * 6, Status.RESULTS_SYNC)


class AgentBehaviour(StrEnum):
    """What an agent and its instance do when left alone."""

    HEALTHY = "claims, sends heartbeats, works, obeys, ends, powers off"
    SILENT = "the instance is up, and nothing is heard from it"
    HUNG = "sends heartbeats, makes no progress"
    DEAF = "sends heartbeats, makes progress, obeys nobody"
    LINGERING = "writes its verdict, does not power off"
    CRASHED = "its process is gone, and systemd powers the instance off"


class Agent:
    """The agent of one instance."""

    def __init__(self, aws: MemoryAws, store: RunStore, instance: Instance, behaviour: AgentBehaviour) -> None:
        self._aws = aws
        self._store = store
        self._instance = instance
        self._phase = 0
        self._moved_at = aws.clock.now()
        self._counter = 0
        self._lane = instance.lane or Lane("dev")
        self.behaviour = behaviour
        self.claimed = False
        self.checkpoint_age: timedelta | None = None
        identity = Identity(
            self._lane.environment, instance.run_id or "", instance.instance_id, "boot", instance.attempt
        )
        self.session = RunSession(
            store, aws.clock, self._lane, identity, lambda seconds: aws.clock.advance(timedelta(seconds=seconds))
        )

    def live(self) -> None:
        """Do what it does in a minute."""
        if self.behaviour is AgentBehaviour.CRASHED:
            self._power_off()
        elif self.behaviour is not AgentBehaviour.SILENT:
            try:
                self._work()
            except ChronosError:
                self._power_off()

    def _work(self) -> None:
        if not self.claimed:
            self.claim()
        self.heartbeat()
        stop = self._requested_stop()
        if self.behaviour in (AgentBehaviour.HUNG, AgentBehaviour.DEAF):
            return
        if self.session.run.verdict is None:
            if stop is not None:
                self.finish(Verdict(stop.outcome, stop.cause, stop.reason, DecidedBy.AGENT))
            elif self._phase < len(_PHASES):
                self.advance()
                return
            else:
                self.finish(COMPLETED)
        if self.behaviour is not AgentBehaviour.LINGERING:
            self._power_off()

    def _requested_stop(self) -> Stop | None:
        try:
            run = self.session.read()
        except Fenced:
            if self.behaviour is AgentBehaviour.DEAF:
                return None
            raise
        return run.stop if run else None

    def _power_off(self) -> None:
        self._aws.fleet.move(self._instance.instance_id, InstanceState.TERMINATED)

    # Single steps, for whoever does not let it live.

    @property
    def sends_heartbeats(self) -> bool:
        """Whether heartbeats come from it when nothing disturbs it."""
        return self.claimed and self.behaviour in (AgentBehaviour.HEALTHY, AgentBehaviour.HUNG, AgentBehaviour.DEAF)

    def claim(self) -> None:
        """Claim the run."""
        self.session.claim()
        self.claimed = True

    def advance(self) -> None:
        """Enter the next phase, or work on in the same."""
        status = _PHASES[self._phase]
        if status is not self.session.run.status:
            self.session.advance(status, status)
        self._phase += 1

    def upload(self) -> None:
        """Go from training to the results."""
        self._phase = len(_PHASES) - 1
        self.advance()

    def finish(self, verdict: Verdict) -> None:
        """Write the verdict."""
        self.session.finish(verdict)

    def heartbeat(self) -> None:
        """Send a heartbeat."""
        now = self._aws.clock.now()
        if self.behaviour is not AgentBehaviour.HUNG:
            self._moved_at, self._counter = now, self._counter + 1
        run, stalled = self.session.run, now - self._moved_at
        heartbeat = Heartbeat(
            run.run_id, run.attempt, self._instance.instance_id, "boot", run.status, self._counter, stalled
        )
        self._store.write_heartbeat(self._lane.environment, replace(heartbeat, checkpoint_age=self.checkpoint_age))
