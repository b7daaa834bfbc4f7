"""The cases of the crash points: every situation, and every call of every service in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chronos_ec2.domain.errors import Fenced
from chronos_ec2.domain.messages import Kind
from chronos_ec2.services.run_queries import find_run, list_runs
from chronos_ec2.services.watchdog.orphan_uploads import abort_orphan_uploads
from chronos_ec2.testing import Agent, AgentBehaviour, Crash, Environment
from chronos_ec2.testing.agent import COMPLETED
from chronos_ec2.testing.builders import LIMITS
from verification.crash_points.groups import GROUPS
from verification.crash_points.promises import (
    NEIGHBOUR,
    Promise,
    always,
    of_a_kill,
    of_a_launch,
    of_a_patient_launch,
    of_an_agent,
    of_two_lanes,
)
from verification.crash_points.registry import REGISTRY
from verification.crash_points.schedules import SCHEDULES
from verification.crash_points.situations import (
    SECOND_ATTEMPT,
    SILENT,
    SITUATIONS,
    SUCCEEDED,
    Step,
    begin_uploads,
    drought,
    kill,
    may_wait,
    no_capacity,
    pass_time,
    reconcile,
    then,
    training,
)

SUBNETS = ("subnet-a", "subnet-b")


@dataclass(frozen=True, slots=True)
class Case:
    """A situation, one call in it, and what must follow."""

    name: str
    prepare: Step
    call: Step
    promise: Promise
    announces: bool = False
    """Whether `started` must be published exactly as often as without the fault."""
    repeated: bool = False
    """Whether somebody makes the call again, because nobody else would do what it does."""


def _reconcile_instance(env: Environment) -> object:
    with env.faults.suspended():
        ours = [instance.instance_id for instance in env.fleet.instances(env.name)]
    return env.watchdog.instance(next(iter(ours), "i-00000000000000001"))


_TRIGGERS: dict[str, Step] = {
    "lane": reconcile, "sweep": lambda env: env.watchdog.sweep(), "instance": _reconcile_instance,
}  # fmt: skip


def _act(act: Callable[[Agent], object]) -> Step:
    """A call of the agent: its process ends with a crash, and with any error that it does not survive."""

    def call(env: Environment) -> object:
        with env.faults.suspended():
            agent = env.agent
        try:
            return act(agent)
        except (Crash, Fenced):
            agent.behaviour = AgentBehaviour.CRASHED
            raise

    return call


def _claimed(env: Environment) -> None:
    env.launch()
    env.agent.claim()


def _neighbour_in_training(env: Environment) -> None:
    env.launch(NEIGHBOUR)
    for _ in range(3):
        env.live()


def cases() -> Iterator[Case]:
    """Every situation, and every call of every service in it."""
    for name, steps, kinds in SITUATIONS:
        promise = always(*kinds) if isinstance(kinds, tuple) else kinds
        for trigger, call in _TRIGGERS.items():
            yield Case(f"{trigger}: {name}", then(*steps), call, promise, announces=True)
    yield Case(
        "sweep: dead agent beside a healthy lane", then(SILENT, _neighbour_in_training, pass_time(LIMITS.lease)),
        _TRIGGERS["sweep"], always(Kind.FAILED, Kind.COMPLETED),
    )  # fmt: skip
    yield Case("launch", then(), Environment.launch, of_a_launch)
    yield Case("launch: capacity in the last subnet", no_capacity("subnet-a"), Environment.launch, of_a_launch)
    yield Case("launch: no capacity", no_capacity(*SUBNETS), Environment.launch, of_a_launch)
    yield Case("launch: may wait", may_wait, Environment.try_launch, of_a_patient_launch)
    yield Case("launch: has to wait", drought, Environment.try_launch, of_a_patient_launch)
    yield Case("launch: lane is busy", training, Environment.launch, always(Kind.COMPLETED))
    yield Case("launch: in another lane", training, lambda env: env.launch(NEIGHBOUR), of_two_lanes)
    yield Case(
        "relaunch", then(*SECOND_ATTEMPT),
        lambda env: env.relaunch(next(iter(env.agents.values())).session.run), always(Kind.RESUMED, Kind.COMPLETED),
    )  # fmt: skip
    for at_once, how in ((False, "kill"), (True, "kill --now")):
        call = kill(at_once=at_once)
        yield Case(f"{how}: in training", training, call, of_a_kill)
        yield Case(f"{how}: booting", Environment.launch, call, of_a_kill)
        yield Case(f"{how}: after the verdict", then(training, SUCCEEDED), call, always(Kind.COMPLETED))
    yield Case(
        "cleanup: uploads", then(training, begin_uploads),
        lambda env: abort_orphan_uploads(env.name, env.store, env.fleet), always(Kind.COMPLETED), repeated=True,
    )  # fmt: skip
    for name, prepare, act in (
        ("claim", Environment.launch, Agent.claim),
        ("heartbeat", _claimed, Agent.heartbeat),
        ("enter data_sync", _claimed, Agent.advance),
        ("enter results_sync", training, Agent.upload),
        ("note a step", training, lambda agent: agent.session.record_step("step_9")),
        ("look", training, lambda agent: agent.session.read()),
        ("verdict", training, lambda agent: agent.finish(COMPLETED)),
    ):
        yield Case(f"agent: {name}", prepare, _act(act), of_an_agent)
    for name, begin, invoke, promise in SCHEDULES:
        yield Case(f"schedule: {name}", begin, invoke, promise, repeated=name != "a forecast follows")
    for name, begin, call, promise, repeated in GROUPS:
        yield Case(f"group: {name}", begin, call, promise, repeated=repeated)
    for name, begin, act_on, promise in REGISTRY:
        yield Case(f"registry: {name}", begin, act_on, promise, repeated=True)
    for name, read in (
        ("verify", lambda env: env.findings()),
        ("runs", lambda env: list_runs(env.store, env.name)),
        ("look", lambda env: find_run(env.store, env.name, next(iter(env.agents.values())).session.run.run_id)),
    ):
        yield Case(f"read: {name}", training, read, always(Kind.COMPLETED))
