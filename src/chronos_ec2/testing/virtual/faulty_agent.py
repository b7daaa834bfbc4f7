"""What may happen to an agent: its trainer fails, it dies, freezes, stalls, is cut off, or is reclaimed."""

from __future__ import annotations

from dataclasses import dataclass

from chronos_ec2.domain.records.status import Cause, Stop
from chronos_ec2.testing.virtual.agent import FAILED, FOREVER, AgentRun, VirtualAgent
from chronos_ec2.worker.errors import Stopped


@dataclass(eq=False)
class FaultyAgent(VirtualAgent):
    """An agent with faults."""

    _dead: bool = False
    _cut_until: float = 0.0

    def fail(self) -> None:
        """The trainer fails, and its agent records it. Before the claim there is no trainer."""
        self.catch_up()
        if self.alive and self.claimed:
            self._leave(FAILED)

    def interrupt(self) -> None:
        """EC2's interruption notice: the agent saves, and leaves."""
        self.catch_up()
        if self.alive and self.claimed:
            stop = Stop(Cause.PREEMPTED, "EC2 reclaims the spot instance", self.time.now())
            self._control.request_stop(stop)
            if not self.deaf:
                self._checkpoint()
                self._leave(Stopped(stop).verdict)

    @property
    def timers_run(self) -> bool:
        """Whether systemd's timers still fire."""
        return not self._dead and self.run is not AgentRun.FROZEN

    def die(self) -> None:
        """Process and instance are dead; nothing more happens by itself."""
        self._dead = True
        self.run, self._next_beat = AgentRun.GONE, FOREVER

    def crash(self) -> None:
        """The process is gone, and the unit powers the instance off."""
        self.catch_up()
        self._end()

    def freeze(self, seconds: float) -> None:
        """No instruction is executed for a while."""
        if not self.alive:
            return
        self.catch_up()
        self.run = AgentRun.FROZEN

        def resume() -> None:
            if self.run is AgentRun.FROZEN:
                self.run = AgentRun.WORKING
                self._next_beat = max(self._next_beat, self.time.seconds)
                self.news()

        if seconds < 1e8:
            self.time.after(seconds, resume)

    def cut(self, seconds: float) -> None:
        """S3 cannot be reached for a while. Heartbeats fail, until the agent fences itself."""
        self.catch_up()
        self.cut_off = True
        self._cut_until = max(self._cut_until, self.time.seconds + seconds)

        def reconnect() -> None:
            self.catch_up()
            self.cut_off = self.time.seconds < self._cut_until

        self.time.after(seconds, reconnect)
        self.time.after(min(seconds, self.limits.self_fence.total_seconds() + 30.0), self.catch_up)

    def stall(self, seconds: float | None) -> None:
        """The trainer makes no step for a while, with None for ever; heartbeats continue."""
        if not self.alive or self.stalled_since is not None:
            return
        self.catch_up()
        self.stalled_since = self.time.seconds

        def resume() -> None:
            self.catch_up()
            self.stalled_since = None

        if seconds is not None:
            self.time.after(seconds, resume)
