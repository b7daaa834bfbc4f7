"""One instance with its agent: the agent's own claim, beat and orders, around a trainer that only says it moves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum, auto

from chronos_ec2.domain.errors import ChronosError, Fenced
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Stop, Verdict
from chronos_ec2.run_store import RunStore
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.errors import Stopped
from chronos_ec2.worker.heartbeat import HeartbeatWriter, LeaseRenewer
from chronos_ec2.worker.progress import Progress
from chronos_ec2.worker.run_lock import Identity, RunLock
from verification.simulation.faulty_aws import Noise
from verification.simulation.virtual_time import VirtualTime

_DONE = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "trained", DecidedBy.AGENT)
_FAILED = Verdict(Outcome.FAILED, Cause.USER_CODE, "the trainer fails", DecidedBy.AGENT)
_SYNC_SECONDS, _RESULTS_SECONDS, _SAVE_SECONDS = 45.0, 30.0, 20.0
_FOREVER = 1e12


class AgentRun(Enum):
    """What the agent's process is doing."""

    BOOTING = auto()
    WORKING = auto()
    FROZEN = auto()
    GONE = auto()


class _WouldSleep(Exception):
    """The agent waits before it tries again; virtual time goes on without it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Box:
    """An instance. `power_off` is called when the agent's process ends and the unit ends the box with it."""

    def __init__(
        self,
        clockwork: VirtualTime,
        noise: Noise,
        store: RunStore,
        lane: Lane,
        identity: Identity,
        limits: Limits,
        power_off: Callable[[], None],
    ) -> None:
        self._clockwork = clockwork
        self._noise = noise
        self._limits = limits
        self._power_off = power_off
        self.identity = identity
        self.skew = 0.0
        self.life = AgentRun.BOOTING
        self.cut_off = False
        self.deaf = False
        self.acts = False
        """Whether the agent's main thread is at work now: what it writes is no news to it."""
        self.stalled_since: float | None = None
        self.claimed_at: float | None = None
        self.last_beat: float | None = None
        self.status = Status.INITIALIZATION
        self.training = 0.0
        self.checkpoint_after: float | None = None
        self.on_claim: Callable[[], None] = lambda: None
        self.on_fenced: Callable[[], None] = lambda: None
        self._dead = False
        self._cut_until = 0.0
        self._next_beat = _FOREVER
        self._leaving = False
        self._waited = 0.0
        self._progress = Progress(self._monotonic)
        self._control = Control()
        self._record = RunLock(store, self, lane, identity, self._sleep)
        sender = HeartbeatWriter(store, self, self._record, identity, self._progress, lambda: 100.0)
        self._renewer = LeaseRenewer(sender, self._record, self._control, limits, self._monotonic)

    def now(self) -> datetime:
        """The box's wall clock, which may be wrong."""
        return self._clockwork.now() + timedelta(seconds=self.skew)

    def _monotonic(self) -> float:
        return self._clockwork.seconds

    def _sleep(self, seconds: float) -> None:
        raise _WouldSleep(seconds)

    @property
    def claimed(self) -> bool:
        """Whether its agent took the run."""
        return self.claimed_at is not None

    @property
    def alive(self) -> bool:
        """Whether the agent's process runs."""
        return self.life is AgentRun.WORKING

    @property
    def uploads(self) -> bool:
        """Whether it was in the middle of an upload, of which the parts stay when the box goes."""
        return self.status is Status.TRAINING

    # --- the life of the agent ---------------------------------------------------------------------------------

    def start(self, training: float) -> None:
        """The agent's first act: claim."""
        if self.life is not AgentRun.BOOTING:
            return
        self.life = AgentRun.WORKING
        self.training = training
        self._do(self._claim)

    def _claim(self) -> None:
        self._record.claim()
        self.claimed_at = self._clockwork.seconds
        self.on_claim()
        self._next_beat = self._clockwork.seconds
        self.catch_up()
        self._work_until(self._clockwork.seconds + 5.0, lambda: self._enter(Status.DATA_SYNC, _SYNC_SECONDS))

    def _enter(self, status: Status, seconds: float) -> None:
        self._control.check()
        self._record.advance(status, str(status))
        self.status = status
        following: dict[Status, Callable[[], None]] = {
            Status.DATA_SYNC: lambda: self._enter(Status.TRAINING, self.training),
            Status.TRAINING: lambda: self._enter(Status.RESULTS_SYNC, _RESULTS_SECONDS),
            Status.RESULTS_SYNC: lambda: self._finish(_DONE),
        }
        if status is Status.TRAINING and self.checkpoint_after is not None:
            self._clockwork.after(self.checkpoint_after, self._checkpoint)
        self._work_until(self._clockwork.seconds + seconds, following[status])

    def _work_until(self, end: float, following: Callable[[], None]) -> None:
        """Work that stood still for a while takes that much longer; work that hangs never ends."""
        before = self._clockwork.seconds

        def look() -> None:
            if self.stalled_since is not None:
                self._work_until(end + (self._clockwork.seconds - max(self.stalled_since, before)) + 60.0, following)
            else:
                self._do(following)

        self._clockwork.at(end, look)

    def _checkpoint(self) -> None:
        if self.alive and self.stalled_since is None:
            self._progress.checkpointed()

    def _finish(self, verdict: Verdict) -> None:
        self.catch_up()
        if self.alive:
            self._record.finish(verdict)
            self.status = verdict.status
            self._end()

    def _do(self, act: Callable[[], None]) -> None:
        """One act of the agent's main thread: it may have to wait, to stop, or to learn that it is fenced."""
        if self.life is AgentRun.FROZEN:
            self._clockwork.after(5.0, lambda: self._do(act))
            return
        if self.life is not AgentRun.WORKING or (self._leaving and act != self._act_of_leaving):
            return
        self._noise.cut_off, before = self.cut_off, self._noise.cut_off
        self.acts = True
        try:
            act()
            self._waited = 0.0
        except _WouldSleep as wait:
            self._wait(wait.seconds, act)
        except Stopped as stopped:
            self._leave(stopped.verdict)
        except Fenced:
            self.on_fenced()
            self._end()
        except ChronosError:
            self._end()
        finally:
            self.acts = False
            self._noise.cut_off = before

    def _wait(self, seconds: float, act: Callable[[], None]) -> None:
        """The agent waits longer each time, and for so long in all as one that hears nothing of S3."""
        seconds = min(max(seconds, self._waited), 30.0)
        self._waited += seconds
        if self._waited > self._limits.self_fence.total_seconds():
            self._end()
        else:
            self._clockwork.after(seconds, lambda: self._do(act))

    def _act_of_leaving(self) -> None:
        self._finish(self._last_verdict)

    def _leave(self, verdict: Verdict) -> None:
        if not self._leaving:
            self._leaving = True
            self._last_verdict = verdict
            self._clockwork.after(_SAVE_SECONDS, lambda: self._do(self._act_of_leaving))

    def fail(self) -> None:
        """The trainer fails, and its agent says so."""
        self.catch_up()
        if self.life is AgentRun.WORKING:
            self._leave(_FAILED)

    def hears_of_interruption(self) -> None:
        """EC2's notice: the agent saves, and leaves."""
        self.catch_up()
        if self.life is AgentRun.WORKING and self.claimed:
            stop = Stop(Cause.PREEMPTED, "EC2 takes the spot instance back", self._clockwork.now())
            self._control.request_stop(stop)
            if not self.deaf:
                self._checkpoint()
                self._leave(Stopped(stop).verdict)

    def _end(self) -> None:
        if self.life is not AgentRun.GONE:
            self.life = AgentRun.GONE
            self._next_beat = _FOREVER
            self._power_off()

    # --- beats -------------------------------------------------------------------------------------------------

    def catch_up(self) -> None:
        """Send the beats that are due. Of those that nobody could have told apart only the last is sent."""
        now = self._clockwork.seconds
        if self._next_beat > now or self.life is not AgentRun.WORKING:
            return
        beat = self._limits.heartbeat.total_seconds()
        quiet = not (self.cut_off or self._noise.can_fail)
        if quiet and (missed := int((now - self._next_beat) / beat)) > 0:
            self._next_beat += missed * beat
        self._noise.cut_off, before = self.cut_off, self._noise.cut_off
        in_function, self._noise.in_function = self._noise.in_function, False
        in_launch, self._noise.in_launch = self._noise.in_launch, False
        try:
            while self._next_beat <= now and self.life is AgentRun.WORKING:
                self._clockwork.seconds = self._next_beat
                self._beat()
        finally:
            self._clockwork.seconds = now
            self._noise.cut_off = before
            self._noise.in_function, self._noise.in_launch = in_function, in_launch

    def _beat(self) -> None:
        if self.stalled_since is None:
            self._progress.work()
        if (wait := self._renewer.tick()) == self._limits.heartbeat.total_seconds():
            self.last_beat = self._clockwork.seconds
        self._next_beat += wait
        if self._control.fenced:
            self._end()
        elif self._control.stop and not self.deaf:
            self._leave(Stopped(self._control.stop).verdict)

    def news(self) -> None:
        """The lock was written: the agent hears of it at its next beat."""
        if self.life is AgentRun.WORKING and self._next_beat < _FOREVER:
            self._clockwork.at(self._next_beat, self.catch_up)

    # --- what is done to it ------------------------------------------------------------------------------------

    @property
    def timers_run(self) -> bool:
        """Whether what systemd was told to do later will be done."""
        return not self._dead and self.life is not AgentRun.FROZEN

    def die(self) -> None:
        """The process is gone, the whole box with it, and nothing else happens by itself."""
        self._dead = True
        self.life = AgentRun.GONE
        self._next_beat = _FOREVER

    def crash(self) -> None:
        """The process is gone, and the unit powers the box off."""
        self.catch_up()
        self._end()

    def freeze(self, seconds: float) -> None:
        """No instruction is executed for a while."""
        if self.life is not AgentRun.WORKING:
            return
        self.catch_up()
        self.life = AgentRun.FROZEN

        def thaw() -> None:
            if self.life is AgentRun.FROZEN:
                self.life = AgentRun.WORKING
                self._next_beat = max(self._next_beat, self._clockwork.seconds)
                self.news()

        if seconds < 1e8:
            self._clockwork.after(seconds, thaw)

    def cut(self, seconds: float) -> None:
        """S3 cannot be reached for a while. Beats go on failing, and the agent fences itself at last."""
        self.catch_up()
        self.cut_off = True
        self._cut_until = max(self._cut_until, self._clockwork.seconds + seconds)

        def healed() -> None:
            self.catch_up()
            self.cut_off = self._clockwork.seconds < self._cut_until

        self._clockwork.after(seconds, healed)
        self._clockwork.after(min(seconds, self._limits.self_fence.total_seconds() + 30.0), self.catch_up)

    def stall(self, seconds: float | None) -> None:
        """The trainer makes no step for a while, or, with None, ever again; the beats go on."""
        if self.life is not AgentRun.WORKING or self.stalled_since is not None:
            return
        self.catch_up()
        self.stalled_since = self._clockwork.seconds

        def goes_on() -> None:
            self.catch_up()
            self.stalled_since = None

        if seconds is not None:
            self._clockwork.after(seconds, goes_on)
