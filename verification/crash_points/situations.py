"""The situations of the crash points: how a lane comes into each, and the messages that must follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from chronos_ec2.domain.instance import InstanceState, owner_tags
from chronos_ec2.domain.limits import TAKE_OVER_AFTER
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.capacity import Launching, LaunchOption
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Verdict
from chronos_ec2.ports import Resource
from chronos_ec2.testing import AgentBehaviour, Environment
from chronos_ec2.testing.builders import LIMITS
from verification.crash_points.promises import Promise, of_a_verdict, of_a_wait

_OLD_RUNS = ("20200101T000000Z-000000", "20200101T000000Z-000001")

Step = Callable[[Environment], object]


def training(env: Environment) -> None:
    """A run in training."""
    env.launch()
    env.work_until(Status.TRAINING)


def behave(behaviour: AgentBehaviour) -> Step:
    """The agent behaves differently from now on."""
    return lambda env: setattr(env.agent, "behaviour", behaviour)


def then(*steps: Step) -> Step:
    """One step after the other."""

    def prepare(env: Environment) -> None:
        for step in steps:
            step(env)

    return prepare


def _training_as(behaviour: AgentBehaviour) -> Step:
    return then(training, behave(behaviour))


def pass_time(span: timedelta) -> Step:
    """Time passes."""
    return lambda env: env.pass_time(span)


def reconcile(env: Environment) -> object:
    """The watchdog looks at the lane."""
    return env.watchdog.lane(env.lane)


def _jump_to_deadline(before: timedelta) -> Step:
    return lambda env: env.pass_time(env.lock().run.deadline - before - env.clock.now())


def _jump_to_age(age: timedelta) -> Step:
    return lambda env: env.pass_time(env.lock().run.created_at + age - env.clock.now())


def _with(**order: float) -> Step:
    return lambda env: env.defaults.update(order)


def kill(*, at_once: bool = False) -> Step:
    """Somebody kills the run."""
    return lambda env: env.kill(at_once=at_once)


def _move(state: InstanceState) -> Step:
    return lambda env: env.fleet.move(env.alive[0].instance_id, state)


def _forget(env: Environment) -> None:
    env.fleet.forget(env.alive[0].instance_id)


def _finish(outcome: Outcome, cause: Cause) -> Step:
    return lambda env: env.agent.finish(Verdict(outcome, cause, "said by the agent", DecidedBy.AGENT))


def _begin_upload(env: Environment, run_id: str) -> None:
    env.objects.begin(run_key(env.name, run_id, "checkpoints/100/model.safetensors"))


def _leave_resources(env: Environment) -> None:
    run_id = env.lock().run.run_id
    _begin_upload(env, run_id)
    for kind, name in (("volume", "vol-unused"), ("network-interface", "eni-unused")):
        env.fleet.left[Resource(kind, name, "available")] = run_id


def begin_uploads(env: Environment) -> None:
    """Unfinished uploads of two old runs and of this one."""
    for run_id in (*_OLD_RUNS, env.lock().run.run_id):
        _begin_upload(env, run_id)


def _orphan(env: Environment) -> None:
    env.fleet.add(owner_tags(env.fleet.project, env.name))
    env.pass_time(LIMITS.grace)


def _orphan_of_an_old_run(env: Environment) -> None:
    """The instance of a launcher that was paused: its run is over, its tags are whole."""
    training(env)
    env.objects.remove(env.lane.state_key)
    behave(AgentBehaviour.SILENT)(env)
    env.pass_time(LIMITS.grace)


def _break_the_state(env: Environment) -> None:
    env.objects.write(env.lane.state_key, b"\xef\xbb\xbf{not a record")


def _checkpoint(env: Environment) -> None:
    env.agent.checkpoint_age = timedelta(seconds=30)
    env.agent.heartbeat()


def _slow_ec2(env: Environment) -> None:
    env.fleet.slow_to_terminate = True


def no_capacity(*places: str) -> Step:
    """EC2 has no capacity in these subnets."""
    return lambda env: env.fleet.no_capacity.update(places)


def _recover(env: Environment) -> None:
    behave(AgentBehaviour.HEALTHY)(env)
    env.agent.heartbeat()


def _lock_alone(env: Environment) -> None:
    """A launcher that died between lock and instance."""
    env.launch()
    env.store.replace_lock(replace(env.lock().run, instance_id=None), env.lock())
    _forget(env)


def drought(env: Environment) -> None:
    """EC2 has no capacity, and the next launches may wait for it."""
    env.fleet.no_capacity.add("g4dn.2xlarge")
    may_wait(env)


def may_wait(env: Environment) -> None:
    """The next launches may wait for capacity."""
    env.defaults["wait_for_capacity"] = timedelta(minutes=30)


def _rain(env: Environment) -> None:
    """EC2 has capacity again."""
    env.fleet.no_capacity.clear()


def _launcher_dies(env: Environment) -> None:
    """A launcher has recorded an option, and dies before it asks EC2 for it."""
    held = env.lock()
    launching = Launching(LaunchOption("g4dn.2xlarge", "subnet-b"), env.clock.now())
    env.store.replace_lock(replace(held.run, launching=launching), held)


SUCCEEDED = _finish(Outcome.SUCCEEDED, Cause.COMPLETED)
TERMINATED = _move(InstanceState.TERMINATED)
_WAITS = (drought, lambda env: env.try_launch(), pass_time(timedelta(minutes=1)))
_SECOND_LOOK = (reconcile, pass_time(LIMITS.confirmation))
SILENT, _DEAF = _training_as(AgentBehaviour.SILENT), _training_as(AgentBehaviour.DEAF)
_DEAD = (SILENT, pass_time(LIMITS.lease + timedelta(seconds=60)))
_HUNG = (_training_as(AgentBehaviour.HUNG), pass_time(LIMITS.progress + timedelta(seconds=1)))
_LOST_WITH_CHECKPOINT = (training, _checkpoint, TERMINATED)
SECOND_ATTEMPT = (_with(crashes_left=1), *_LOST_WITH_CHECKPOINT, reconcile)
_KILLED_SLOWLY = (_slow_ec2, training, kill(at_once=True))

SITUATIONS: tuple[tuple[str, tuple[Step, ...], tuple[Kind, ...] | Promise], ...] = (
    ("healthy, first time", (training,), (Kind.COMPLETED,)),
    ("healthy, again", (training, reconcile), (Kind.COMPLETED,)),
    ("booting", (Environment.launch,), (Kind.COMPLETED,)),
    ("dead agent, first look", _DEAD, (Kind.FAILED,)),
    ("dead agent, second look", (*_DEAD, *_SECOND_LOOK), (Kind.FAILED,)),
    ("hung, first look", _HUNG, (Kind.STUCK,)),
    ("hung, second look", (*_HUNG, *_SECOND_LOOK), of_a_verdict(Kind.STUCK)),
    ("suspicion cleared", (*_HUNG, reconcile, _recover), (Kind.COMPLETED,)),
    ("near the deadline", (training, _jump_to_deadline(timedelta(seconds=90))), (Kind.FAILED,)),
    ("past the deadline", (_DEAF, _jump_to_deadline(timedelta(0))), (Kind.FAILED,)),
    (
        "near the cap", (_with(max_cost_usd=1.0), training, _jump_to_age(timedelta(minutes=58.5))),
        (Kind.OVER_BUDGET,),
    ),
    (
        "over the cap", (_with(max_cost_usd=1.0), _DEAF, pass_time(timedelta(hours=1))),
        of_a_verdict(Kind.OVER_BUDGET),
    ),
    ("stop under way", (training, kill()), (Kind.KILLED,)),
    ("stop ignored", (_DEAF, kill(), pass_time(LIMITS.grace)), (Kind.KILLED,)),
    ("verdict written", (training, SUCCEEDED), (Kind.COMPLETED,)),
    ("lingering", (_training_as(AgentBehaviour.LINGERING), SUCCEEDED, pass_time(LIMITS.grace)), (Kind.COMPLETED,)),
    ("never claimed", (Environment.launch, behave(AgentBehaviour.SILENT), pass_time(LIMITS.boot)), (Kind.FAILED,)),
    ("stopping", (SILENT, _move(InstanceState.STOPPING)), (Kind.FAILED,)),
    ("stopped", (SILENT, _move(InstanceState.STOPPED)), (Kind.FAILED,)),
    ("terminated, succeeded", (training, SUCCEEDED, _leave_resources, TERMINATED), (Kind.COMPLETED,)),
    ("terminated, failed", (training, _finish(Outcome.FAILED, Cause.USER_CODE), TERMINATED), (Kind.FAILED,)),
    ("terminated, killed", (training, _finish(Outcome.KILLED, Cause.REQUESTED), TERMINATED), (Kind.KILLED,)),
    ("terminated without a verdict", (training, TERMINATED), (Kind.FAILED,)),
    ("absent, first look", (training, _forget), (Kind.FAILED,)),
    ("absent, second look", (training, _forget, reconcile, pass_time(LIMITS.absence)), (Kind.FAILED,)),
    ("lock alone", (_lock_alone,), (Kind.FAILED,)),
    ("lock alone, past the boot", (_lock_alone, pass_time(LIMITS.boot)), (Kind.FAILED,)),
    ("orphan, first look", (_orphan,), (Kind.ORPHAN,)),
    ("orphan, second look", (_orphan, *_SECOND_LOOK), (Kind.ORPHAN,)),
    ("orphan of a run that is over", (_orphan_of_an_old_run, *_SECOND_LOOK), (Kind.ORPHAN,)),
    ("orphan beside a healthy run", (training, _orphan, *_SECOND_LOOK), (Kind.ORPHAN, Kind.COMPLETED)),
    (
        "orphan, slow to terminate", (_slow_ec2, _orphan, *_SECOND_LOOK, reconcile, pass_time(LIMITS.alarm)),
        (Kind.ORPHAN, Kind.LEAK),
    ),
    ("unreadable state, nothing alive", (_break_the_state,), (Kind.STUCK,)),
    ("unreadable state, set aside", (_break_the_state, reconcile, pass_time(LIMITS.boot)), (Kind.STUCK,)),
    ("unreadable state, living agent", (training, _break_the_state), (Kind.STUCK,)),
    ("unreadable state, dead agent", (*_DEAD, _break_the_state), (Kind.STUCK, Kind.ORPHAN)),
    ("slow to terminate, by force", (*_KILLED_SLOWLY, pass_time(LIMITS.force)), (Kind.KILLED,)),
    ("slow to terminate, alarm", (*_KILLED_SLOWLY, pass_time(LIMITS.alarm)), (Kind.LEAK, Kind.KILLED)),
    ("resume", (_with(crashes_left=1), *_LOST_WITH_CHECKPOINT), (Kind.RESUMED, Kind.COMPLETED)),
    (
        "resume after a preemption",
        (
            _with(preemptions_left=1), training, _checkpoint, _finish(Outcome.FAILED, Cause.PREEMPTED), TERMINATED,
        ),
        (Kind.RESUMED, Kind.COMPLETED),
    ),
    ("relaunch", SECOND_ATTEMPT, (Kind.RESUMED, Kind.COMPLETED)),
    ("waits for capacity", _WAITS, of_a_wait(Kind.FAILED)),
    ("waits, and there is capacity", (*_WAITS, _rain), of_a_wait(Kind.COMPLETED)),
    ("waits, for long enough", (*_WAITS, pass_time(timedelta(minutes=30))), (Kind.FAILED,)),
    ("waits, killed", (*_WAITS, kill()), (Kind.KILLED,)),
    ("waits, its launcher dead", (*_WAITS, _rain, _launcher_dies), of_a_wait(Kind.COMPLETED)),
    ("take-over", (*_WAITS, _rain, _launcher_dies, pass_time(TAKE_OVER_AFTER)), of_a_wait(Kind.COMPLETED)),
    ("killed, its launcher dead", (*_WAITS, _launcher_dies, kill()), (Kind.KILLED,)),
    ("empty lane", (), ()),
)  # fmt: skip
