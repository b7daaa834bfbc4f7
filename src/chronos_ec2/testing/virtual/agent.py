"""A healthy agent in virtual time: its own session, heartbeat and control around a trainer that only makes progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import partial

from chronos_ec2.domain.errors import ChronosError, Fenced
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Verdict
from chronos_ec2.run_store import RunStore
from chronos_ec2.testing.agent import COMPLETED
from chronos_ec2.testing.clock import VirtualTime
from chronos_ec2.testing.faults import Network
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.errors import Stopped
from chronos_ec2.worker.heartbeat import HeartbeatWriter, LeaseRenewer
from chronos_ec2.worker.progress import Progress
from chronos_ec2.worker.run_session import Identity, RunSession

FAILED = Verdict(Outcome.FAILED, Cause.USER_CODE, "the trainer fails", DecidedBy.AGENT)
_SYNC_SECONDS, _RESULTS_SECONDS, _SAVE_SECONDS = 45.0, 30.0, 20.0
FOREVER = 1e12


class AgentRun(Enum):
    """What the agent's process is doing."""

    BOOTING = auto()
    WORKING = auto()
    FROZEN = auto()
    GONE = auto()


class _WouldSleep(Exception):
    """The agent waits so many seconds before it tries again; meanwhile virtual time moves on."""


@dataclass(eq=False)
class VirtualAgent:
    """The agent of an instance. `power_off` is called when its process ends, as its systemd unit does."""

    time: VirtualTime
    network: Network
    store: InitVar[RunStore]
    lane: InitVar[Lane]
    identity: Identity
    limits: Limits
    session_type: InitVar[type[RunSession]]
    power_off: Callable[[], None]
    on_claim: Callable[[], None]
    on_fenced: Callable[[], None]
    deaf: bool
    checkpoint_after: float | None
    training: float
    run: AgentRun = AgentRun.BOOTING
    skew: float = 0.0
    cut_off: bool = False
    acts: bool = False
    """Whether the agent's main thread is at work now: what it writes is no news to it."""
    stalled_since: float | None = None
    claimed_at: float | None = None
    last_beat: float | None = None
    status: Status = Status.INITIALIZATION
    _next_beat: float = FOREVER
    _leaving: Verdict | None = None
    _finishing: bool = False
    _waited: float = 0.0

    def __post_init__(self, store: RunStore, lane: Lane, session_type: type[RunSession]) -> None:
        """Compose the real parts around virtual time."""
        self._progress, self._control = Progress(lambda: self.time.seconds), Control()
        self._session = session_type(store, self, lane, self.identity, self._sleep)
        writer = HeartbeatWriter(store, self, self._session, self.identity, self._progress, lambda: 100.0)
        self._renewer = LeaseRenewer(writer, self._session, self._control, self.limits, lambda: self.time.seconds)

    def now(self) -> datetime:
        """The instance's wall clock, which may be wrong."""
        return self.time.now() + timedelta(seconds=self.skew)

    def _sleep(self, seconds: float) -> None:
        raise _WouldSleep(seconds)

    @property
    def claimed(self) -> bool:
        """Whether its agent took the run."""
        return self.claimed_at is not None

    @property
    def alive(self) -> bool:
        """Whether the agent's process runs."""
        return self.run is AgentRun.WORKING

    def start(self) -> None:
        """The agent's process starts, and claims."""
        self.run = AgentRun.WORKING
        self._do(self._claim)

    def _claim(self) -> None:
        self._session.claim()
        self.claimed_at = self.time.seconds
        self.on_claim()
        self._next_beat = self.time.seconds
        self.catch_up()
        self._work_until(self.time.seconds + 5.0, partial(self._enter, Status.DATA_SYNC))

    def _enter(self, status: Status) -> None:
        self._control.check()
        self._session.advance(status, str(status))
        self.status = status
        seconds, following = {
            Status.DATA_SYNC: (_SYNC_SECONDS, partial(self._enter, Status.TRAINING)),
            Status.TRAINING: (self.training, partial(self._enter, Status.RESULTS_SYNC)),
        }.get(status, (_RESULTS_SECONDS, partial(self._finish, COMPLETED)))
        if status is Status.TRAINING and self.checkpoint_after is not None:
            self.time.after(self.checkpoint_after, self._checkpoint)
        self._work_until(self.time.seconds + seconds, following)

    def _work_until(self, end: float, following: Callable[[], None]) -> None:
        """Work that stalls takes that much longer; work that hangs never ends."""
        before = self.time.seconds

        def look() -> None:
            if self.stalled_since is not None:
                self._work_until(end + (self.time.seconds - max(self.stalled_since, before)) + 60.0, following)
            else:
                self._do(following)

        self.time.at(end, look)

    def _checkpoint(self) -> None:
        if self.alive and self.stalled_since is None:
            self._progress.checkpointed()

    def _finish(self, verdict: Verdict) -> None:
        self._finishing = True
        self.catch_up()
        if self.alive:
            self._session.finish(verdict)
            self.status = verdict.status
            self._end()

    def _do(self, act: Callable[[], None]) -> None:
        """One step of the main thread: it may have to wait, to stop, or learn that it is fenced."""
        if self.run is AgentRun.FROZEN:
            self.time.after(5.0, lambda: self._do(act))
            return
        if not self.alive or (self._leaving and act != self._finish_leaving):
            return
        self.acts = True
        try:
            with self.network.used_by_agent(cut_off=self.cut_off):
                act()
            self._waited = 0.0
        except _WouldSleep as wait:
            self._wait(wait.args[0], act)
        except Stopped as stopped:
            self._leave(stopped.verdict)
        except Fenced:
            self.on_fenced()
            self._end()
        except ChronosError:
            self._end()
        finally:
            self.acts = False

    def _wait(self, seconds: float, act: Callable[[], None]) -> None:
        """Wait longer each time, in all for no longer than an agent that cannot reach S3."""
        seconds = min(max(seconds, self._waited), 30.0)
        self._waited += seconds
        if self._waited > self.limits.self_fence.total_seconds():
            self._end()
        else:
            self.time.after(seconds, partial(self._do, act))

    def _leave(self, verdict: Verdict) -> None:
        # A stop that is requested while the outcome is being written has nothing left to stop.
        if not (self._leaving or self._finishing):
            self._leaving = verdict
            self.time.after(_SAVE_SECONDS, partial(self._do, self._finish_leaving))

    def _finish_leaving(self) -> None:
        self._finish(self._leaving or FAILED)

    def _end(self) -> None:
        if self.run is not AgentRun.GONE:
            self.run, self._next_beat = AgentRun.GONE, FOREVER
            self.power_off()

    def catch_up(self) -> None:
        """Send the heartbeats that are due; of those that nobody could have told apart, the last."""
        now = self.time.seconds
        if self._next_beat > now or not self.alive:
            return
        beat = self.limits.heartbeat.total_seconds()
        quiet = not (self.cut_off or self.network.can_fail)
        if quiet and (missed := int((now - self._next_beat) / beat)) > 0:
            self._next_beat += missed * beat
        try:
            with self.network.used_by_agent(cut_off=self.cut_off):
                while self._next_beat <= now and self.alive:
                    self.time.seconds = self._next_beat
                    self._beat()
        finally:
            self.time.seconds = now

    def _beat(self) -> None:
        if self.stalled_since is None:
            self._progress.work()
        if (wait := self._renewer.tick()) == self.limits.heartbeat.total_seconds():
            self.last_beat = self.time.seconds
        self._next_beat += wait
        if self._control.fenced:
            self._end()
        elif self._control.stop and not self.deaf:
            self._leave(Stopped(self._control.stop).verdict)

    def news(self) -> None:
        """The lock was written: the agent learns of it at its next heartbeat that is answered."""
        written = self.time.seconds

        def hear() -> None:
            self.catch_up()
            if self.last_beat is None or self.last_beat < written:
                wait()

        def wait() -> None:
            if self.alive and self._next_beat < FOREVER:
                self.time.at(self._next_beat, hear)

        wait()
