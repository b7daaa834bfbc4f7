"""The cases of the watchdog: every situation of a lane, and everything that makes the watchdog look at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from chronos_ec2.domain.instance import InstanceState, owner_tags
from chronos_ec2.domain.limits import TAKE_OVER_AFTER
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.capacity import Launching, LaunchOption
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import WAITING, Run
from chronos_ec2.domain.records.s3_keys import incident_key, run_key
from chronos_ec2.domain.records.status import Cause, Outcome
from chronos_ec2.ports import Resource
from chronos_ec2.testing import AgentBehaviour, Environment
from chronos_ec2.testing.builders import LIMITS
from verification.crash_points.case import (
    DROUGHT,
    SUCCEEDED,
    TERMINATED,
    Case,
    Kinds,
    Step,
    finish,
    kill,
    move,
    order,
    reconcile,
    training,
)

NEIGHBOUR = Lane("dev", "neighbour")


def _of_a_verdict(kind: Kind) -> Callable[[Environment], Kinds]:
    """An instance is terminated also when S3 refuses the verdict; then all that is left to see is that it went away."""

    def promise(env: Environment) -> Kinds:
        run = env.reported
        return (kind,) if env.alive or (run and run.verdict) else (Kind.FAILED,)

    return promise


def _of_a_wait(end: Kind) -> Callable[[Environment], Kinds]:
    """A run that waits says so, unless it gets its instance before: at the next tick, or while a marker is pending."""

    def promise(env: Environment) -> Kinds:
        if Kind.WAITING in env.kinds():
            return (Kind.WAITING, end)
        run = env.run
        if run is None or run.current_step != WAITING:
            return (end,)
        pending = env.objects.read(incident_key(env.name, run.run_id, Kind.WAITING, run.attempt)) is not None
        at_work = run.launching is not None and env.clock.now() - run.launching.since < TAKE_OVER_AFTER
        return (end,) if pending and not at_work and not env.fleet.no_capacity else (Kind.WAITING, end)

    return promise


def _behave(behaviour: AgentBehaviour) -> Step:
    return lambda env: setattr(env.agent, "behaviour", behaviour)


def _pass_time(span: timedelta) -> Step:
    return lambda env: env.pass_time(span)


def _pass_time_until(moment: Callable[[Run], datetime]) -> Step:
    return lambda env: env.pass_time(moment(env.lock().run) - env.clock.now())


def _forget(env: Environment) -> None:
    env.fleet.forget(env.alive[0].instance_id)


def begin_upload(env: Environment, run_id: str) -> None:
    """An upload of a run that is never finished."""
    env.objects.begin(run_key(env.name, run_id, "checkpoints/100/model.safetensors"))


def _leave_resources(env: Environment) -> None:
    run_id = env.lock().run.run_id
    begin_upload(env, run_id)
    for kind, name in (("volume", "vol-unused"), ("network-interface", "eni-unused")):
        env.fleet.left[Resource(kind, name, "available")] = run_id


def _orphan(env: Environment) -> None:
    env.fleet.add(owner_tags(env.fleet.project, env.name))
    env.pass_time(LIMITS.grace)


def _break_the_state(env: Environment) -> None:
    env.objects.write(env.lane.state_key, b"\xef\xbb\xbf{not a record")


def _checkpoint(env: Environment) -> None:
    env.agent.checkpoint_age = timedelta(seconds=30)
    env.agent.heartbeat()


def _terminates_slowly(env: Environment) -> None:
    env.fleet.slow_to_terminate = True


def _lock_alone(env: Environment) -> None:
    """A launcher that died between lock and instance."""
    env.launch()
    env.store.replace_lock(replace(env.lock().run, instance_id=None), env.lock())
    _forget(env)


def _launcher_dies(env: Environment) -> None:
    """A launcher has recorded an option, and dies before it asks EC2 for it."""
    held = env.lock()
    launching = Launching(LaunchOption("g4dn.2xlarge", "subnet-b"), env.clock.now())
    env.store.replace_lock(replace(held.run, launching=launching), held)


_SECOND_LOOK = (reconcile, _pass_time(LIMITS.confirmation))
_SILENT = (training, _behave(AgentBehaviour.SILENT))
_DEAF = (training, _behave(AgentBehaviour.DEAF))
_DEAD = (*_SILENT, _pass_time(LIMITS.lease + timedelta(seconds=60)))
_HUNG = (training, _behave(AgentBehaviour.HUNG), _pass_time(LIMITS.progress + timedelta(seconds=1)))
_LINGERING = (training, _behave(AgentBehaviour.LINGERING), SUCCEEDED, _pass_time(LIMITS.grace))
_RECOVER = (_behave(AgentBehaviour.HEALTHY), lambda env: env.agent.heartbeat())
_PAST_DEADLINE = (*_DEAF, _pass_time_until(lambda run: run.deadline))
_NEAR_DEADLINE = (training, _pass_time_until(lambda run: run.deadline - timedelta(seconds=90)))
_CAP = order(max_cost_usd=1.0)
_NEAR_CAP = (_CAP, training, _pass_time_until(lambda run: run.created_at + timedelta(minutes=58.5)))
_OLD_ORPHAN = (*_SILENT, lambda env: env.objects.remove(env.lane.state_key), _pass_time(LIMITS.grace), *_SECOND_LOOK)
"""The instance of a launcher that was paused: its run is over, its tags are whole."""
_SLOW_ORPHAN = (_terminates_slowly, _orphan, *_SECOND_LOOK, reconcile, _pass_time(LIMITS.alarm))
_KILLED_SLOWLY = (_terminates_slowly, training, kill(at_once=True))
_PREEMPTED = (
    order(preemptions_left=1), training, _checkpoint, finish(Outcome.FAILED, Cause.PREEMPTED), TERMINATED,
)  # fmt: skip
_LOST_WITH_CHECKPOINT = (order(crashes_left=1), training, _checkpoint, TERMINATED)
SECOND_ATTEMPT = (*_LOST_WITH_CHECKPOINT, reconcile)
_WAITS = (*DROUGHT, lambda env: env.try_launch(), _pass_time(timedelta(minutes=1)))
_CAPACITY_AGAIN = (*_WAITS, lambda env: env.fleet.no_capacity.clear())

_SITUATIONS: tuple[tuple[str, tuple[Step, ...], Kinds | Callable[[Environment], Kinds]], ...] = (
    ("healthy, first time", (training,), (Kind.COMPLETED,)),
    ("healthy, again", (training, reconcile), (Kind.COMPLETED,)),
    ("booting", (Environment.launch,), (Kind.COMPLETED,)),
    ("dead agent, first look", _DEAD, (Kind.FAILED,)),
    ("dead agent, second look", (*_DEAD, *_SECOND_LOOK), (Kind.FAILED,)),
    ("hung, first look", _HUNG, (Kind.STUCK,)),
    ("hung, second look", (*_HUNG, *_SECOND_LOOK), _of_a_verdict(Kind.STUCK)),
    ("suspicion cleared", (*_HUNG, reconcile, *_RECOVER), (Kind.COMPLETED,)),
    ("near the deadline", _NEAR_DEADLINE, (Kind.FAILED,)),
    ("past the deadline", _PAST_DEADLINE, (Kind.FAILED,)),
    ("near the cap", _NEAR_CAP, (Kind.OVER_BUDGET,)),
    ("over the cap", (_CAP, *_DEAF, _pass_time(timedelta(hours=1))), _of_a_verdict(Kind.OVER_BUDGET)),
    ("stop under way", (training, kill()), (Kind.KILLED,)),
    ("stop ignored", (*_DEAF, kill(), _pass_time(LIMITS.grace)), (Kind.KILLED,)),
    ("verdict written", (training, SUCCEEDED), (Kind.COMPLETED,)),
    ("lingering", _LINGERING, (Kind.COMPLETED,)),
    ("never claimed", (Environment.launch, _behave(AgentBehaviour.SILENT), _pass_time(LIMITS.boot)), (Kind.FAILED,)),
    ("stopping", (*_SILENT, move(InstanceState.STOPPING)), (Kind.FAILED,)),
    ("stopped", (*_SILENT, move(InstanceState.STOPPED)), (Kind.FAILED,)),
    ("terminated, succeeded", (training, SUCCEEDED, _leave_resources, TERMINATED), (Kind.COMPLETED,)),
    ("terminated, failed", (training, finish(Outcome.FAILED, Cause.USER_CODE), TERMINATED), (Kind.FAILED,)),
    ("terminated, killed", (training, finish(Outcome.KILLED, Cause.REQUESTED), TERMINATED), (Kind.KILLED,)),
    ("terminated without a verdict", (training, TERMINATED), (Kind.FAILED,)),
    ("absent, first look", (training, _forget), (Kind.FAILED,)),
    ("absent, second look", (training, _forget, reconcile, _pass_time(LIMITS.absence)), (Kind.FAILED,)),
    ("lock alone", (_lock_alone,), (Kind.FAILED,)),
    ("lock alone, past the boot", (_lock_alone, _pass_time(LIMITS.boot)), (Kind.FAILED,)),
    ("orphan, first look", (_orphan,), (Kind.ORPHAN,)),
    ("orphan, second look", (_orphan, *_SECOND_LOOK), (Kind.ORPHAN,)),
    ("orphan of a run that is over", _OLD_ORPHAN, (Kind.ORPHAN,)),
    ("orphan beside a healthy run", (training, _orphan, *_SECOND_LOOK), (Kind.ORPHAN, Kind.COMPLETED)),
    ("orphan, slow to terminate", _SLOW_ORPHAN, (Kind.ORPHAN, Kind.LEAK)),
    ("unreadable state, nothing alive", (_break_the_state,), (Kind.STUCK,)),
    ("unreadable state, set aside", (_break_the_state, reconcile, _pass_time(LIMITS.boot)), (Kind.STUCK,)),
    ("unreadable state, living agent", (training, _break_the_state), (Kind.STUCK,)),
    ("unreadable state, dead agent", (*_DEAD, _break_the_state), (Kind.STUCK, Kind.ORPHAN)),
    ("slow to terminate, by force", (*_KILLED_SLOWLY, _pass_time(LIMITS.force)), (Kind.KILLED,)),
    ("slow to terminate, alarm", (*_KILLED_SLOWLY, _pass_time(LIMITS.alarm)), (Kind.LEAK, Kind.KILLED)),
    ("resume", _LOST_WITH_CHECKPOINT, (Kind.RESUMED, Kind.COMPLETED)),
    ("resume after a preemption", _PREEMPTED, (Kind.RESUMED, Kind.COMPLETED)),
    ("relaunch", SECOND_ATTEMPT, (Kind.RESUMED, Kind.COMPLETED)),
    ("waits for capacity", _WAITS, _of_a_wait(Kind.FAILED)),
    ("waits, and there is capacity", _CAPACITY_AGAIN, _of_a_wait(Kind.COMPLETED)),
    ("waits, for long enough", (*_WAITS, _pass_time(timedelta(minutes=30))), (Kind.FAILED,)),
    ("waits, killed", (*_WAITS, kill()), (Kind.KILLED,)),
    ("waits, its launcher dead", (*_CAPACITY_AGAIN, _launcher_dies), _of_a_wait(Kind.COMPLETED)),
    ("take-over", (*_CAPACITY_AGAIN, _launcher_dies, _pass_time(TAKE_OVER_AFTER)), _of_a_wait(Kind.COMPLETED)),
    ("killed, its launcher dead", (*_WAITS, _launcher_dies, kill()), (Kind.KILLED,)),
    ("empty lane", (), ()),
)


def _sweep(env: Environment) -> object:
    return env.watchdog.sweep()


def _reconcile_instance(env: Environment) -> object:
    with env.faults.suspended():
        ours = [instance.instance_id for instance in env.fleet.instances(env.name)]
    return env.watchdog.instance(next(iter(ours), "i-00000000000000001"))


def _neighbour_in_training(env: Environment) -> None:
    env.launch(NEIGHBOUR)
    for _ in range(3):
        env.live()


_BESIDE_A_HEALTHY_LANE = (*_SILENT, _neighbour_in_training, _pass_time(LIMITS.lease))
SITUATIONS = (
    *(
        Case(f"{trigger}: {name}", steps, call, promise, announces=True)
        for name, steps, promise in _SITUATIONS
        for trigger, call in (("lane", reconcile), ("sweep", _sweep), ("instance", _reconcile_instance))
    ),
    Case("sweep: dead agent beside a healthy lane", _BESIDE_A_HEALTHY_LANE, _sweep, (Kind.FAILED, Kind.COMPLETED)),
)
