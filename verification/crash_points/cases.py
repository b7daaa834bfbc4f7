"""The cases of the crash points: how a lane comes into a situation, what is called in it, what people must be told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from chronos_ec2.domain.errors import Fenced
from chronos_ec2.domain.facts import Absent
from chronos_ec2.domain.instance import InstanceState, owner_tags
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Verdict
from chronos_ec2.ports import Resource
from chronos_ec2.services.kill import kill
from chronos_ec2.services.run_queries import find_run, list_runs
from chronos_ec2.services.verify import verify
from chronos_ec2.services.watchdog.orphan_uploads import abort_orphan_uploads
from chronos_ec2.testing import Crash
from verification.crash_points.harness import (
    COMPLETED,
    ENVIRONMENT,
    LANE,
    LIMITS,
    NEIGHBOUR,
    SUBNETS,
    Agent,
    AgentBehaviour,
    Stage,
)

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
    repeated: bool = False
    """Whether somebody makes the call again, because nobody else would do what it does."""


# --- situations -----------------------------------------------------------------------------------------------------


def _training(stage: Stage) -> None:
    stage.launch()
    stage.work_until(Status.TRAINING)


def _training_as(temper: AgentBehaviour) -> Step:
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
    return lambda stage: stage.agent.finish(Verdict(outcome, cause, "said by the agent", DecidedBy.AGENT))


def _leave_much(stage: Stage) -> None:
    run_id = stage.held.run.run_id
    stage.world.objects.begin(run_key(ENVIRONMENT, run_id, "checkpoints/100/model.safetensors"))
    stage.world.fleet.left |= {
        Resource("volume", "vol-unused", "available"): run_id,
        Resource("network-interface", "eni-unused", "available"): run_id,
    }


def _begin_uploads(stage: Stage) -> None:
    for run_id in ("20200101T000000Z-000000", "20200101T000000Z-000001", stage.held.run.run_id):
        stage.world.objects.begin(run_key(ENVIRONMENT, run_id, "checkpoints/100/model.safetensors"))


def _orphan(stage: Stage) -> None:
    stage.world.fleet.add(owner_tags(stage.world.fleet.project, ENVIRONMENT))
    stage.pass_time(LIMITS.grace)


def _orphan_of_an_old_run(stage: Stage) -> None:
    """The instance of a launcher that was paused: its run is over, its tags are whole."""
    _training(stage)
    (box,) = stage.alive
    stage.world.objects.remove(LANE.state_key)
    stage.agent_of(box).temper = AgentBehaviour.SILENT
    stage.pass_time(LIMITS.grace)


def _break_the_state(stage: Stage) -> None:
    stage.world.objects.write(LANE.state_key, b"\xef\xbb\xbf{not a record")


def _checkpoint(stage: Stage) -> None:
    stage.agent.checkpoint = timedelta(seconds=30)
    stage.agent.beat()


def _slow_ec2(stage: Stage) -> None:
    stage.world.fleet.slow_to_terminate = True


def _no_capacity(*places: str) -> Step:
    return lambda stage: stage.world.fleet.no_capacity.update(places)


def _silence(stage: Stage) -> None:
    stage.agent.temper = AgentBehaviour.SILENT


def _recover(stage: Stage) -> None:
    stage.agent.temper = AgentBehaviour.HEALTHY
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

_DEAD = (_training_as(AgentBehaviour.SILENT), _pass(LIMITS.lease + timedelta(seconds=60)))
_HUNG = (_training_as(AgentBehaviour.HUNG), _pass(LIMITS.progress + timedelta(seconds=1)))
_LOST_WITH_CHECKPOINT = (_training, _checkpoint, _move(InstanceState.TERMINATED))
_SECOND_ATTEMPT = (_with(crashes=1), *_LOST_WITH_CHECKPOINT, _look)

_SITUATIONS: tuple[tuple[str, Step, tuple[Kind, ...] | Promise], ...] = (
    ("healthy, first time", _training, (Kind.COMPLETED,)),
    ("healthy, again", _then(_training, _look), (Kind.COMPLETED,)),
    ("booting", Stage.launch, (Kind.COMPLETED,)),
    ("dead agent, first look", _then(*_DEAD), (Kind.FAILED,)),
    ("dead agent, second look", _then(*_DEAD, _look, _pass(LIMITS.confirmation)), (Kind.FAILED,)),
    ("hung, first look", _then(*_HUNG), (Kind.STUCK,)),
    ("hung, second look", _then(*_HUNG, _look, _pass(LIMITS.confirmation)), _of_a_verdict(Kind.STUCK)),
    ("suspicion cleared", _then(*_HUNG, _look, _recover), (Kind.COMPLETED,)),
    ("near the deadline", _then(_training, _jump_to_deadline(timedelta(seconds=90))), (Kind.FAILED,)),
    ("past the deadline", _then(_training_as(AgentBehaviour.DEAF), _jump_to_deadline(timedelta(0))), (Kind.FAILED,)),
    ("near the cap", _then(_with(cap=1.0), _training, _jump_to_age(timedelta(minutes=58.5))), (Kind.OVER_BUDGET,)),
    (
        "over the cap",
        _then(_with(cap=1.0), _training_as(AgentBehaviour.DEAF), _pass(timedelta(hours=1))),
        _of_a_verdict(Kind.OVER_BUDGET),
    ),
    ("stop under way", _then(_training, _kill()), (Kind.KILLED,)),
    ("stop ignored", _then(_training_as(AgentBehaviour.DEAF), _kill(), _pass(LIMITS.grace)), (Kind.KILLED,)),
    ("last word said", _then(_training, _finish(Outcome.SUCCEEDED, Cause.COMPLETED)), (Kind.COMPLETED,)),
    (
        "lingering",
        _then(_training_as(AgentBehaviour.LINGERING), _finish(Outcome.SUCCEEDED, Cause.COMPLETED), _pass(LIMITS.grace)),
        (Kind.COMPLETED,),
    ),
    (
        "never claimed",
        _then(Stage.launch, _silence, _pass(LIMITS.boot)),
        (Kind.FAILED,),
    ),
    ("stopping", _then(_training_as(AgentBehaviour.SILENT), _move(InstanceState.STOPPING)), (Kind.FAILED,)),
    ("stopped", _then(_training_as(AgentBehaviour.SILENT), _move(InstanceState.STOPPED)), (Kind.FAILED,)),
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
    ("stray, first look", _orphan, (Kind.ORPHAN,)),
    ("stray, second look", _then(_orphan, _look, _pass(LIMITS.confirmation)), (Kind.ORPHAN,)),
    ("stray of a run that is over", _then(_orphan_of_an_old_run, _look, _pass(LIMITS.confirmation)), (Kind.ORPHAN,)),
    (
        "stray beside a healthy run",
        _then(_training, _orphan, _look, _pass(LIMITS.confirmation)),
        (Kind.ORPHAN, Kind.COMPLETED),
    ),
    (
        "stray, slow to die",
        _then(_slow_ec2, _orphan, _look, _pass(LIMITS.confirmation), _look, _pass(LIMITS.alarm)),
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
            agent.temper = AgentBehaviour.CRASHED
            raise

    return call


def _claimed(stage: Stage) -> None:
    stage.launch()
    stage.agent.claim()


def cases() -> Iterator[Case]:
    """Every situation, and every call of every service in it."""
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
    yield Case(
        "cleanup: uploads", _then(_training, _begin_uploads),
        lambda stage: abort_orphan_uploads(ENVIRONMENT, stage.store, stage.world.fleet),
        _always(Kind.COMPLETED), repeated=True,
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
        ("list_runs", lambda stage: list_runs(stage.store, ENVIRONMENT)),
        (
            "find_run",
            lambda stage: find_run(stage.store, ENVIRONMENT, next(iter(stage.agents.values())).record.run.run_id),
        ),
    ):
        yield Case(f"read: {name}", _training, read, _always(Kind.COMPLETED))


def _of_two_lanes(stage: Stage) -> tuple[Kind, ...]:
    if isinstance(stage.store.read_lock(NEIGHBOUR), Absent):
        return (Kind.COMPLETED,)
    return (Kind.COMPLETED, Kind.COMPLETED if len(stage.alive) == 2 else Kind.FAILED)
