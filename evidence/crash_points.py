"""Crash-point enumeration: every service, every AWS call in it, every way in which that call can go wrong.

Each case brings a lane into a situation and names one call of one service. The call is made once without faults, to
learn which AWS calls it makes. Then it is made again for each of them, from the same situation, with one fault: the
process dies before or after the effect, the answer is lost, the call is refused. What follows are clean ticks by fresh
objects, because a crashed function has no memory: a sweep each minute, boxes that do what boxes do. They must converge:
nothing left, no lock held, no healthy run ended, nobody else's instance touched, every message out.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from itertools import count

from agent.record import Identity, Record
from chronos_ec2.domain.errors import ChronosError, Fenced, ServiceUnavailable
from chronos_ec2.domain.facts import Absent, Held
from chronos_ec2.domain.instance import Instance, InstanceState, owner_tags
from chronos_ec2.domain.lane import CACHED, Lane, run_key
from chronos_ec2.domain.lease import Heartbeat
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Kind, Message
from chronos_ec2.domain.run import Cause, Judge, Outcome, Run, Status, Stop, Verdict
from chronos_ec2.memory import Crash, MemoryWorld
from chronos_ec2.ports import Resource
from chronos_ec2.services.history import look, runs
from chronos_ec2.services.kill import kill
from chronos_ec2.services.launch import Launched, Launcher, Order, launch
from chronos_ec2.services.reconcile import Reconciler
from chronos_ec2.services.run_store import RunStore
from chronos_ec2.services.verify import verify
from chronos_ec2.simulation.study import without_log
from chronos_ec2.simulation.watchdog import BUCKET, watchdog_over

ENVIRONMENT = "dev"
LANE = Lane(ENVIRONMENT)
NEIGHBOUR = Lane(ENVIRONMENT, "neighbour")
LIMITS = Limits()
SUBNETS = ("subnet-a", "subnet-b")
DATA = "training-data/sales/"
COMPLETED = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "trained", Judge.AGENT)
_TICKS = 60
"""Far more than the slowest ending takes."""
_QUIET_TICKS = 4
"""How long it must stay quiet: longer than a message may be pending."""
_WORKING_TICKS = 5
"""How long a healthy agent trains on after the call."""


class Ruin(StrEnum):
    """How one AWS call goes wrong."""

    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    LOST_ANSWER = "answer lost"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class CrashPointResult:
    """What the enumeration found. `duplicates` are the messages that were sent twice, all of them within the window."""

    enumerated: int
    converged: int
    failures: list[str]
    by_case: dict[str, int]
    duplicates: int = 0


class OneFault:
    """Faults for the memory adapters: the call with number `at`, counted while armed, goes wrong once."""

    def __init__(self, at: int | None = None, ruin: Ruin = Ruin.REFUSED) -> None:
        self.at = at
        self.ruin = ruin
        self.armed = False
        self.struck = False
        self.calls: list[str] = []

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What the enumeration itself wants to know is no call of the code under test."""
        was, self.armed = self.armed, False
        try:
            yield
        finally:
            self.armed = was

    def before(self, call: str) -> None:
        """Count the call, and keep it from having its effect."""
        if not self.armed:
            return
        self.calls.append(call)
        if self._is_next(Ruin.CRASH_BEFORE, Ruin.REFUSED):
            self._strike(call)

    def after(self, call: str) -> None:
        """Keep the answer from the caller."""
        if self.armed and self._is_next(Ruin.CRASH_AFTER, Ruin.LOST_ANSWER):
            self._strike(call)

    def _is_next(self, *ruins: Ruin) -> bool:
        return not self.struck and self.ruin in ruins and len(self.calls) - 1 == self.at

    def _strike(self, call: str) -> None:
        self.struck = True
        if self.ruin in (Ruin.CRASH_BEFORE, Ruin.CRASH_AFTER):
            raise Crash(call)
        raise ServiceUnavailable(f"{call}: {self.ruin}")


class Temper(StrEnum):
    """What an agent and its box do when left alone."""

    HEALTHY = "claims, beats, works, obeys, ends, powers off"
    SILENT = "the box is up, and nothing is heard from it"
    HUNG = "beats, and does not move"
    DEAF = "beats and moves, and obeys nobody"
    LINGERING = "says its last word, and does not power off"
    CRASHED = "its process is gone, and systemd powers the box off"


_PHASES = (
    Status.DATA_SYNC, Status.TRAINING, *[Status.TRAINING] * _WORKING_TICKS, Status.RESULTS_SYNC,
)  # fmt: skip


class Agent:
    """The agent of one instance, over the real record of a run."""

    def __init__(self, stage: Stage, box: Instance, temper: Temper) -> None:
        self._stage = stage
        self._box = box
        self._phase = 0
        self._moved_at = stage.world.clock.now()
        self._counter = 0
        self.temper = temper
        self.claimed = False
        self.checkpoint: timedelta | None = None
        identity = Identity(ENVIRONMENT, box.run_id or "", box.instance_id, "boot", box.attempt)
        clock = stage.world.clock
        self.record = Record(
            stage.store, clock, box.lane or LANE, identity, lambda span: clock.advance(timedelta(seconds=span))
        )

    def live(self) -> None:
        """A minute of its life."""
        if self.temper is Temper.CRASHED:
            self._power_off()
        elif self.temper is not Temper.SILENT:
            try:
                self._work()
            except ChronosError:
                self._power_off()

    def _work(self) -> None:
        if not self.claimed:
            self.claim()
        self.beat()
        stop = self._look()
        if self.temper in (Temper.HUNG, Temper.DEAF):
            return
        if self.record.run.verdict is not None:
            pass
        elif stop is not None:
            self.finish(Verdict(stop.outcome, stop.cause, stop.reason, Judge.AGENT))
        elif self._phase < len(_PHASES):
            self.advance()
            return
        else:
            self.finish(COMPLETED)
        if self.temper is not Temper.LINGERING:
            self._power_off()

    def claim(self) -> None:
        """Take the run."""
        self.record.claim()
        self.claimed = True

    def advance(self) -> None:
        """Go on by one phase, or by some work in the same."""
        status = _PHASES[self._phase]
        if status is not self.record.run.status:
            self.record.advance(status, status)
        self._phase += 1

    def upload(self) -> None:
        """Leave the training for the results."""
        self._phase = len(_PHASES) - 1
        self.advance()

    def finish(self, verdict: Verdict) -> None:
        """Say the last word."""
        self.record.finish(verdict)

    def beat(self) -> None:
        """Send a heartbeat."""
        now = self._stage.world.clock.now()
        if self.temper is not Temper.HUNG:
            self._moved_at, self._counter = now, self._counter + 1
        run, stalled = self.record.run, now - self._moved_at
        beat = Heartbeat(run.run_id, run.attempt, self._box.instance_id, "boot", run.status, self._counter, stalled)
        self._stage.store.write_beat(ENVIRONMENT, replace(beat, checkpoint_age=self.checkpoint))

    def _look(self) -> Stop | None:
        try:
            run = self.record.look()
        except Fenced:
            if self.temper is Temper.DEAF:
                return None
            raise
        return run.stop if run else None

    def _power_off(self) -> None:
        self._stage.world.fleet.move(self._box.instance_id, InstanceState.TERMINATED)


class Stage:
    """One environment in memory, its boxes, and a stranger's instance beside them."""

    def __init__(self, faults: OneFault) -> None:
        self.faults = faults
        self.world = MemoryWorld(faults)
        self.agents: dict[str, Agent] = {}
        self.temper = Temper.HEALTHY
        self.crashed = False
        self.prices: dict[str, float | int] = {}
        self._nonces = count()
        self.stranger = self.world.fleet.add(owner_tags("Somebody-Else", ENVIRONMENT) | {"Lane": LANE.name})
        self.strangers_volume = Resource("volume", "vol-of-somebody-else", "available")
        self.world.fleet.left[self.strangers_volume] = None
        self.world.objects.write(f"{CACHED}/{DATA}part-0.parquet", b"PAR1")

    # Every object is made anew: nothing is remembered from one call to the next.

    @property
    def store(self) -> RunStore:
        """The runs of the bucket."""
        return RunStore(self.world.objects, lambda: f"{next(self._nonces):016x}")

    @property
    def reconciler(self) -> Reconciler:
        """A watchdog."""
        return watchdog_over(self.world, self.store, self, LIMITS)

    def relaunch(self, run: Run) -> None:
        """Be the Relauncher."""
        Launcher(BUCKET, SUBNETS, self.store, self.world.fleet, self.world.deadlines).relaunch(run)

    def launch(self, lane: Lane = LANE) -> Launched:
        """Start a run."""
        order = Order(
            lane, {}, DATA, ("g4dn.2xlarge",), SUBNETS, BUCKET, "0" * 64, LIMITS,
            price_per_hour_usd=1.0,
            max_cost_usd=self.prices.get("cap"),
            preemptions_left=int(self.prices.get("preemptions", 0)),
            crashes_left=int(self.prices.get("crashes", 0)),
        )  # fmt: skip
        return launch(order, self.store, self.world.fleet, self.world.deadlines, self.world.clock)

    # --- what there is

    @property
    def run(self) -> Run | None:
        """The run that holds the lane."""
        state = self.store.read_lock(LANE)
        return state.run if isinstance(state, Held) else None

    @property
    def held(self) -> Held:
        """The lock of the lane. Raises LookupError when no run holds it."""
        state = self.store.read_lock(LANE)
        if isinstance(state, Held):
            return state
        raise LookupError(f"{LANE} is not held")

    @property
    def alive(self) -> list[Instance]:
        """Our instances that cost."""
        return [box for box in self.world.fleet.instances(ENVIRONMENT) if box.alive]

    @property
    def agent(self) -> Agent:
        """The agent of the only instance that is alive."""
        (box,) = self.alive
        return self.agent_of(box)

    def agent_of(self, box: Instance) -> Agent:
        """The agent of an instance."""
        if box.instance_id not in self.agents:
            self.agents[box.instance_id] = Agent(self, box, self.temper)
        return self.agents[box.instance_id]

    @property
    def quiet(self) -> bool:
        """Whether nothing is left to be done."""
        states = (self.store.read_lock(lane) for lane in self.store.lanes(ENVIRONMENT))
        left = [*self.world.deadlines.schedules, *self.world.objects.begun]
        left += [one for one in self.world.fleet.left if one.unused and one != self.strangers_volume]
        return not self.alive and not left and all(isinstance(state, Absent) for state in states)

    # --- time

    def pass_time(self, span: timedelta) -> None:
        """Let time go by; who is heard from is heard from at its end."""
        self.world.clock.advance(span)
        for box in self.alive:
            agent = self.agent_of(box)
            if agent.claimed and agent.temper in (Temper.HEALTHY, Temper.HUNG, Temper.DEAF):
                agent.beat()

    def tick(self) -> None:
        """A minute: boxes live, then a sweep looks at them."""
        self.live()
        self.reconciler.sweep()

    def live(self) -> None:
        """A minute of every box's life, without a sweep."""
        self.world.clock.advance(LIMITS.sweep)
        for box in self.alive:
            if box.state is InstanceState.RUNNING and box.run_id:
                self.agent_of(box).live()

    def work_until(self, status: Status) -> None:
        """Let the agent of the lane come to a phase."""
        while (run := self.run) and run.status is not status:
            self.live()


Step = Callable[[Stage], object]
Promise = Callable[[Stage], tuple[Kind, ...]]


@dataclass(frozen=True, slots=True)
class Case:
    """A situation, one call in it, and which messages must be out at the end, given what the call left behind."""

    name: str
    prepare: Step
    call: Step
    promise: Promise
    announces: bool = False
    """Whether `started` has to be told exactly as often as without the fault."""


# --- situations -----------------------------------------------------------------------------------------------------


def _training(stage: Stage) -> None:
    stage.launch()
    stage.work_until(Status.TRAINING)


def _training_as(temper: Temper) -> Step:
    def prepare(stage: Stage) -> None:
        _training(stage)
        stage.agent.temper = temper

    return prepare


def _then(*steps: Step) -> Step:
    def prepare(stage: Stage) -> None:
        for step in steps:
            step(stage)

    return prepare


def _pass(span: timedelta) -> Step:
    return lambda stage: stage.pass_time(span)


def _look(stage: Stage) -> None:
    stage.reconciler.lane(LANE)


def _jump_to_deadline(before: timedelta) -> Step:
    return lambda stage: stage.pass_time(stage.held.run.deadline - before - stage.world.clock.now())


def _jump_to_age(age: timedelta) -> Step:
    return lambda stage: stage.pass_time(stage.held.run.created_at + age - stage.world.clock.now())


def _with(**prices: float) -> Step:
    return lambda stage: stage.prices.update(prices)


def _kill(*, at_once: bool = False) -> Step:
    return lambda stage: kill(None, stage.store, stage.reconciler, stage.world.clock, "by hand", at_once=at_once)


def _move(state: InstanceState) -> Step:
    def prepare(stage: Stage) -> None:
        (box,) = stage.alive
        stage.world.fleet.move(box.instance_id, state)

    return prepare


def _forget(stage: Stage) -> None:
    (box,) = stage.alive
    stage.world.fleet.forget(box.instance_id)


def _finish(outcome: Outcome, cause: Cause) -> Step:
    return lambda stage: stage.agent.finish(Verdict(outcome, cause, "said by the agent", Judge.AGENT))


def _leave_much(stage: Stage) -> None:
    run_id = stage.held.run.run_id
    stage.world.objects.begin(run_key(ENVIRONMENT, run_id, "checkpoints/100/model.safetensors"))
    stage.world.fleet.left |= {
        Resource("volume", "vol-unused", "available"): run_id,
        Resource("network-interface", "eni-unused", "available"): run_id,
    }


def _stray(stage: Stage) -> None:
    stage.world.fleet.add(owner_tags(stage.world.fleet.project, ENVIRONMENT))
    stage.pass_time(LIMITS.grace)


def _stray_of_an_old_run(stage: Stage) -> None:
    """The instance of a launcher that was paused: its run is over, its tags are whole."""
    _training(stage)
    (box,) = stage.alive
    stage.world.objects.remove(LANE.state_key)
    stage.agent_of(box).temper = Temper.SILENT
    stage.pass_time(LIMITS.grace)


def _break_the_state(stage: Stage) -> None:
    stage.world.objects.write(LANE.state_key, b"\xef\xbb\xbf{not a record")


def _checkpoint(stage: Stage) -> None:
    stage.agent.checkpoint = timedelta(seconds=30)
    stage.agent.beat()


def _slow_ec2(stage: Stage) -> None:
    stage.world.fleet.slow_to_die = True


def _no_capacity(*places: str) -> Step:
    return lambda stage: stage.world.fleet.no_capacity.update(places)


def _silence(stage: Stage) -> None:
    stage.agent.temper = Temper.SILENT


def _recover(stage: Stage) -> None:
    stage.agent.temper = Temper.HEALTHY
    stage.agent.beat()


def _lock_alone(stage: Stage) -> None:
    """A launcher that died between lock and instance."""
    stage.launch()
    stage.store.replace_lock(replace(stage.held.run, instance_id=None), stage.held)
    _forget(stage)


# --- promises -------------------------------------------------------------------------------------------------------


def _always(*kinds: Kind) -> Promise:
    return lambda _stage: kinds


def _of_a_launch(stage: Stage) -> tuple[Kind, ...]:
    """With an instance there is a run, whoever knows of it; with a lock alone it fails; with neither nothing was."""
    if stage.run is None:
        return ()
    return (Kind.COMPLETED,) if stage.alive else (Kind.FAILED,)


def _of_a_kill(stage: Stage) -> tuple[Kind, ...]:
    """A kill that was recorded is carried out, and one that was not leaves the run alone."""
    run = stage.run
    return (Kind.KILLED,) if run is None or run.stop or run.verdict else (Kind.COMPLETED,)


def _of_a_verdict(kind: Kind) -> Promise:
    """An instance is ended also when S3 refuses the verdict; then what is left to be seen is that it went away."""

    def promise(stage: Stage) -> tuple[Kind, ...]:
        run = stage.run
        return (kind,) if stage.alive or (run and run.verdict) else (Kind.FAILED,)

    return promise


def _of_an_agent(stage: Stage) -> tuple[Kind, ...]:
    """An agent survives whatever S3 does; its death is a failure, unless it had said its last word."""
    run = stage.run
    lost = stage.crashed and not (run and run.verdict)
    return (Kind.FAILED,) if lost else (Kind.COMPLETED,)


# --- cases ----------------------------------------------------------------------------------------------------------

_DEAD = (_training_as(Temper.SILENT), _pass(LIMITS.lease + timedelta(seconds=60)))
_HUNG = (_training_as(Temper.HUNG), _pass(LIMITS.progress + timedelta(seconds=1)))
_LOST_WITH_CHECKPOINT = (_training, _checkpoint, _move(InstanceState.TERMINATED))
_SECOND_ATTEMPT = (_with(crashes=1), *_LOST_WITH_CHECKPOINT, _look)

_SITUATIONS: tuple[tuple[str, Step, tuple[Kind, ...] | Promise], ...] = (
    ("healthy, first time", _training, (Kind.COMPLETED,)),
    ("healthy, again", _then(_training, _look), (Kind.COMPLETED,)),
    ("booting", Stage.launch, (Kind.COMPLETED,)),
    ("dead agent, first look", _then(*_DEAD), (Kind.FAILED,)),
    ("dead agent, second look", _then(*_DEAD, _look, _pass(LIMITS.second_look)), (Kind.FAILED,)),
    ("hung, first look", _then(*_HUNG), (Kind.STUCK,)),
    ("hung, second look", _then(*_HUNG, _look, _pass(LIMITS.second_look)), _of_a_verdict(Kind.STUCK)),
    ("suspicion cleared", _then(*_HUNG, _look, _recover), (Kind.COMPLETED,)),
    ("near the deadline", _then(_training, _jump_to_deadline(timedelta(seconds=90))), (Kind.FAILED,)),
    ("past the deadline", _then(_training_as(Temper.DEAF), _jump_to_deadline(timedelta(0))), (Kind.FAILED,)),
    ("near the cap", _then(_with(cap=1.0), _training, _jump_to_age(timedelta(minutes=58.5))), (Kind.OVER_BUDGET,)),
    (
        "over the cap",
        _then(_with(cap=1.0), _training_as(Temper.DEAF), _pass(timedelta(hours=1))),
        _of_a_verdict(Kind.OVER_BUDGET),
    ),
    ("stop under way", _then(_training, _kill()), (Kind.KILLED,)),
    ("stop ignored", _then(_training_as(Temper.DEAF), _kill(), _pass(LIMITS.grace)), (Kind.KILLED,)),
    ("last word said", _then(_training, _finish(Outcome.SUCCEEDED, Cause.COMPLETED)), (Kind.COMPLETED,)),
    (
        "lingering",
        _then(_training_as(Temper.LINGERING), _finish(Outcome.SUCCEEDED, Cause.COMPLETED), _pass(LIMITS.grace)),
        (Kind.COMPLETED,),
    ),
    (
        "never claimed",
        _then(Stage.launch, _silence, _pass(LIMITS.boot)),
        (Kind.FAILED,),
    ),
    ("stopping", _then(_training_as(Temper.SILENT), _move(InstanceState.STOPPING)), (Kind.FAILED,)),
    ("stopped", _then(_training_as(Temper.SILENT), _move(InstanceState.STOPPED)), (Kind.FAILED,)),
    (
        "terminated, succeeded",
        _then(
            _training, _finish(Outcome.SUCCEEDED, Cause.COMPLETED), _leave_much, _move(InstanceState.TERMINATED)
        ),
        (Kind.COMPLETED,),
    ),
    (
        "terminated, failed",
        _then(_training, _finish(Outcome.FAILED, Cause.USER_CODE), _move(InstanceState.TERMINATED)),
        (Kind.FAILED,),
    ),
    (
        "terminated, killed",
        _then(_training, _finish(Outcome.KILLED, Cause.REQUESTED), _move(InstanceState.TERMINATED)),
        (Kind.KILLED,),
    ),
    ("terminated without a word", _then(_training, _move(InstanceState.TERMINATED)), (Kind.FAILED,)),
    ("absent, first look", _then(_training, _forget), (Kind.FAILED,)),
    ("absent, second look", _then(_training, _forget, _look, _pass(LIMITS.absence)), (Kind.FAILED,)),
    ("lock alone", _lock_alone, (Kind.FAILED,)),
    ("lock alone, past the boot", _then(_lock_alone, _pass(LIMITS.boot)), (Kind.FAILED,)),
    ("stray, first look", _stray, (Kind.ORPHAN,)),
    ("stray, second look", _then(_stray, _look, _pass(LIMITS.second_look)), (Kind.ORPHAN,)),
    ("stray of a run that is over", _then(_stray_of_an_old_run, _look, _pass(LIMITS.second_look)), (Kind.ORPHAN,)),
    (
        "stray beside a healthy run",
        _then(_training, _stray, _look, _pass(LIMITS.second_look)),
        (Kind.ORPHAN, Kind.COMPLETED),
    ),
    (
        "stray, slow to die",
        _then(_slow_ec2, _stray, _look, _pass(LIMITS.second_look), _look, _pass(LIMITS.alarm)),
        (Kind.ORPHAN, Kind.LEAK),
    ),
    ("broken state, nothing alive", _break_the_state, (Kind.STUCK,)),
    ("broken state, set aside", _then(_break_the_state, _look, _pass(LIMITS.boot)), (Kind.STUCK,)),
    ("broken state, living agent", _then(_training, _break_the_state), (Kind.STUCK,)),
    ("broken state, dead agent", _then(*_DEAD, _break_the_state), (Kind.STUCK, Kind.ORPHAN)),
    (
        "slow to die, by force",
        _then(_slow_ec2, _training, _kill(at_once=True), _pass(LIMITS.force)),
        (Kind.KILLED,),
    ),
    (
        "slow to die, alarm",
        _then(_slow_ec2, _training, _kill(at_once=True), _pass(LIMITS.alarm)),
        (Kind.LEAK, Kind.KILLED),
    ),
    ("resume", _then(_with(crashes=1), *_LOST_WITH_CHECKPOINT), (Kind.RESUMED, Kind.COMPLETED)),
    (
        "resume after a preemption",
        _then(
            _with(preemptions=1), _training, _checkpoint, _finish(Outcome.FAILED, Cause.PREEMPTED),
            _move(InstanceState.TERMINATED),
        ),
        (Kind.RESUMED, Kind.COMPLETED),
    ),
    ("relaunch", _then(*_SECOND_ATTEMPT), (Kind.RESUMED, Kind.COMPLETED)),
    ("empty lane", lambda _stage: None, ()),
)  # fmt: skip


def _reconcile_lane(stage: Stage) -> object:
    return stage.reconciler.lane(LANE)


def _reconcile_sweep(stage: Stage) -> object:
    return stage.reconciler.sweep()


def _reconcile_instance(stage: Stage) -> object:
    with stage.faults.aside():
        ours = [box.instance_id for box in stage.world.fleet.instances(ENVIRONMENT)]
    return stage.reconciler.instance(next(iter(ours), stage.stranger))


_TRIGGERS = {"lane": _reconcile_lane, "sweep": _reconcile_sweep, "instance": _reconcile_instance}


def _neighbour_in_training(stage: Stage) -> None:
    stage.launch(NEIGHBOUR)
    for _ in range(3):
        stage.live()


def _act(act: Callable[[Agent], object]) -> Step:
    """A call of the agent: its process dies with a crash, and with any error that it does not survive."""

    def call(stage: Stage) -> object:
        with stage.faults.aside():
            agent = stage.agent
        try:
            return act(agent)
        except (Crash, Fenced):
            agent.temper = Temper.CRASHED
            raise

    return call


def _claimed(stage: Stage) -> None:
    stage.launch()
    stage.agent.claim()


def _cases() -> Iterator[Case]:
    for name, prepare, kinds in _SITUATIONS:
        promise = _always(*kinds) if isinstance(kinds, tuple) else kinds
        for trigger, call in _TRIGGERS.items():
            yield Case(f"{trigger}: {name}", prepare, call, promise, announces=True)
    yield Case(
        "sweep: dead agent beside a healthy lane", _then(*_DEAD[:1], _neighbour_in_training, _pass(LIMITS.lease)),
        _reconcile_sweep, _always(Kind.FAILED, Kind.COMPLETED),
    )  # fmt: skip
    yield Case("launch", lambda _stage: None, Stage.launch, _of_a_launch)
    yield Case("launch: room in the last subnet", _no_capacity("subnet-a"), Stage.launch, _of_a_launch)
    yield Case("launch: no room anywhere", _no_capacity(*SUBNETS), Stage.launch, _of_a_launch)
    yield Case("launch: lane is busy", _training, Stage.launch, _always(Kind.COMPLETED))
    yield Case("launch: in another lane", _training, lambda stage: stage.launch(NEIGHBOUR), _of_two_lanes)
    yield Case(
        "relaunch", _then(*_SECOND_ATTEMPT),
        lambda stage: stage.relaunch(next(iter(stage.agents.values())).record.run),
        _always(Kind.RESUMED, Kind.COMPLETED),
    )  # fmt: skip
    for at_once, how in ((False, "kill"), (True, "kill --now")):
        yield Case(f"{how}: in training", _training, _kill(at_once=at_once), _of_a_kill)
        yield Case(f"{how}: booting", Stage.launch, _kill(at_once=at_once), _of_a_kill)
        yield Case(
            f"{how}: after the last word", _then(_training, _finish(Outcome.SUCCEEDED, Cause.COMPLETED)),
            _kill(at_once=at_once), _always(Kind.COMPLETED),
        )  # fmt: skip
    yield Case("agent: claim", Stage.launch, _act(Agent.claim), _of_an_agent)
    yield Case("agent: beat", _claimed, _act(Agent.beat), _of_an_agent)
    yield Case("agent: enter data_sync", _claimed, _act(Agent.advance), _of_an_agent)
    yield Case(
        "agent: enter results_sync", _training, _act(Agent.upload), _of_an_agent,
    )  # fmt: skip
    yield Case("agent: note a step", _training, _act(lambda agent: agent.record.note("step_9")), _of_an_agent)
    yield Case("agent: look", _training, _act(lambda agent: agent.record.look()), _of_an_agent)
    yield Case("agent: last word", _training, _act(lambda agent: agent.finish(COMPLETED)), _of_an_agent)
    for name, read in (
        ("verify", lambda stage: verify(ENVIRONMENT, stage.store, stage.world.fleet, stage.world.deadlines)),
        ("runs", lambda stage: runs(stage.store, ENVIRONMENT)),
        ("look", lambda stage: look(stage.store, ENVIRONMENT, next(iter(stage.agents.values())).record.run.run_id)),
    ):
        yield Case(f"read: {name}", _training, read, _always(Kind.COMPLETED))


def _of_two_lanes(stage: Stage) -> tuple[Kind, ...]:
    if isinstance(stage.store.read_lock(NEIGHBOUR), Absent):
        return (Kind.COMPLETED,)
    return (Kind.COMPLETED, Kind.COMPLETED if len(stage.alive) == 2 else Kind.FAILED)


# --- enumeration ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _History:
    """A case that was played to its end."""

    stage: Stage
    promised: tuple[Kind, ...]
    problems: tuple[str, ...]

    @property
    def kinds(self) -> Counter[str]:
        """How many different messages of each kind went out."""
        return Counter(kind for kind, _ in set(map(_identity, self.stage.world.notifier.messages)))

    @property
    def duplicates(self) -> int:
        """How many messages went out a second time."""
        messages = self.stage.world.notifier.messages
        return len(messages) - len(set(map(_identity, messages)))

    @property
    def in_window(self) -> bool:
        """Whether the fault fell between SNS's taking of a message and the note that it did."""
        faults = self.stage.faults
        if faults.at is None or not faults.struck:
            return False
        if faults.ruin in (Ruin.CRASH_AFTER, Ruin.LOST_ANSWER):
            return faults.calls[faults.at] == "sns:Publish"
        return faults.at > 0 and faults.calls[faults.at - 1] == "sns:Publish"


def _identity(message: Message) -> tuple[str, str]:
    """What makes two messages the same: the kind, and what it is said of; of a run, which attempt."""
    attempt = next((line for line in message.body.splitlines() if line.startswith("status")), "").rpartition(",")[2]
    return message.attributes["kind"], message.subject + attempt


def enumerate_crash_points() -> CrashPointResult:
    """Play every case with every fault at every call."""
    with without_log():
        return _enumerate()


def _enumerate() -> CrashPointResult:
    failures: list[str] = []
    by_case: dict[str, int] = {}
    converged = duplicates = 0
    for case in _cases():
        by_case[case.name] = 0
        clean = _play(case, OneFault())
        failures += [f"{case.name}: without a fault: {problem}" for problem in _problems(case, clean, clean)]
        for ruin in Ruin:
            for at, call in enumerate(clean.stage.faults.calls):
                played = _play(case, OneFault(at, ruin))
                if not played.stage.faults.struck:
                    continue  # a list has no moment after it that is not the moment before the next call
                by_case[case.name] += 1
                problems = _problems(case, played, clean)
                failures += [f"{case.name}: {ruin} {at} {call}: {problem}" for problem in problems]
                converged += not problems
                duplicates += played.duplicates
    return CrashPointResult(sum(by_case.values()), converged, failures, by_case, duplicates)


def _play(case: Case, faults: OneFault) -> _History:
    stage = Stage(faults)
    case.prepare(stage)
    problems: list[str] = []
    faults.armed = True
    try:
        case.call(stage)
    except Crash:
        stage.crashed = True
    except ChronosError:
        pass
    except Exception as error:  # noqa: BLE001 - whatever else escapes is the finding
        problems.append(f"{type(error).__name__}: {error}")
    faults.armed = False
    promised = case.promise(stage)
    for _ in range(_TICKS):
        if stage.quiet:
            break
        stage.tick()
    else:
        left = [
            f"{finding.name} {finding.state}"
            for finding in verify(ENVIRONMENT, stage.store, stage.world.fleet, stage.world.deadlines)
        ]
        problems.append(f"not quiet after {_TICKS} ticks: {', '.join(left)}")
    for _ in range(_QUIET_TICKS):
        stage.tick()
    return _History(stage, promised, tuple(problems))


def _problems(case: Case, played: _History, clean: _History) -> list[str]:
    """What is wrong at the end of a history."""
    stage, kinds = played.stage, played.kinds
    problems = list(played.problems)
    if not stage.quiet:
        problems.append("did not stay quiet")
    started = kinds.pop(Kind.STARTED, 0)
    if kinds != Counter(played.promised):
        problems.append(f"promised {', '.join(played.promised) or 'no message'}, told {', '.join(kinds) or 'none'}")
    if case.announces and started != clean.kinds[Kind.STARTED]:
        problems.append(f"started was told {started} times, not {clean.kinds[Kind.STARTED]}")
    if played.duplicates > played.in_window:
        problems.append(f"{played.duplicates} messages were sent twice, outside the window")
    problems += _wrong_terminations(stage, played.promised)
    return problems


def _wrong_terminations(stage: Stage, promised: tuple[Kind, ...]) -> Iterator[str]:
    fleet = stage.world.fleet
    if stage.stranger in fleet.terminate_calls or stage.strangers_volume not in fleet.left:
        yield "what belongs to somebody else was touched"
    for instance_id, agent in stage.agents.items():
        healthy = agent.temper is Temper.HEALTHY and set(promised) <= {Kind.COMPLETED, Kind.RESUMED}
        if healthy and agent.claimed and instance_id in fleet.terminate_calls:
            yield f"healthy {instance_id} was ended"


def main() -> int:
    """Print what was enumerated; 1 when something did not converge."""
    result = enumerate_crash_points()
    width = max(map(len, result.by_case))
    lines = [f"{name:{width}}  {points:5}" for name, points in result.by_case.items()]
    lines += [f"{'all':{width}}  {result.enumerated:5}", ""]
    lines += [
        f"{result.converged} of {result.enumerated} converged; {result.duplicates} messages doubled, all in the window"
    ]
    lines += [f"FAILED  {failure}" for failure in result.failures]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
