"""The cases of whoever launches, kills, cleans up or reads, and of an agent."""

from __future__ import annotations

from collections.abc import Callable

from chronos_ec2.domain.errors import Fenced
from chronos_ec2.domain.facts import Found, LockHeld
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.services.run_queries import find_run, list_runs
from chronos_ec2.services.watchdog.orphan_uploads import abort_orphan_uploads
from chronos_ec2.testing import Agent, AgentBehaviour, Crash, Environment
from chronos_ec2.testing.agent import COMPLETED
from verification.crash_points.case import DROUGHT, MAY_WAIT, SUCCEEDED, Case, Kinds, Step, kill, no_capacity, training
from verification.crash_points.situations import NEIGHBOUR, SECOND_ATTEMPT, begin_upload

SUBNETS = ("subnet-a", "subnet-b")


def _of_a_launch(env: Environment, lane: Lane | None = None) -> Kinds:
    """With an instance there is a run, unless its launch failed; a lock alone fails; without one there was no run."""
    state = env.store.read_lock(lane or env.lane)
    if not isinstance(state, LockHeld):
        return ()
    alive = any(instance.run_id == state.run.run_id for instance in env.alive)
    return (Kind.COMPLETED,) if alive and state.run.stop is None else (Kind.FAILED,)


def _of_a_patient_launch(env: Environment) -> Kinds:
    """A recorded run that may wait gets its instance in the end, if there is one to get."""
    if env.run is None:
        return ()
    if env.run.stop:  # the launch failed after EC2 was asked
        return (Kind.FAILED,)
    return (Kind.WAITING, Kind.FAILED) if env.fleet.no_capacity else (Kind.COMPLETED,)


def _of_two_lanes(env: Environment) -> Kinds:
    return (Kind.COMPLETED, *_of_a_launch(env, NEIGHBOUR))


def _of_a_kill(env: Environment) -> Kinds:
    """A recorded kill is carried out; one that was not recorded leaves the run alone, unless it made its claim void."""
    run = env.reported
    if run is None or run.stop or run.verdict:
        return (Kind.KILLED,)
    claim = env.store.read_claim(run)
    return (Kind.FAILED,) if isinstance(claim, Found) and claim.document.void else (Kind.COMPLETED,)


def _of_an_agent(env: Environment) -> Kinds:
    """An agent survives whatever S3 does; its crash is a failure, unless it had written its outcome."""
    run = env.reported
    crashed = any(agent.behaviour is AgentBehaviour.CRASHED for agent in env.agents.values())
    return (Kind.FAILED,) if crashed and not (run and run.verdict) else (Kind.COMPLETED,)


def _act(act: Callable[[Agent], object]) -> Step:
    """A call of the agent, whose process may crash in it."""

    def call(env: Environment) -> object:
        with env.faults.suspended():
            agent = env.agent
        try:
            return act(agent)
        except Crash:
            agent.behaviour = AgentBehaviour.CRASHED
            raise
        except Fenced as error:
            raise AssertionError(f"the agent of the run is told that it is another's: {error}") from error

    return call


def _begin_uploads(env: Environment) -> None:
    """Unfinished uploads of two old runs and of this one."""
    for run_id in ("20200101T000000Z-000000", "20200101T000000Z-000001", env.lock().run.run_id):
        begin_upload(env, run_id)


def _first_run(env: Environment) -> Run:
    return next(iter(env.agents.values())).session.run


_KILL, _KILL_NOW = kill(), kill(at_once=True)
_LAUNCHED, _CLAIMED = (Environment.launch,), (Environment.launch, lambda env: env.agent.claim())
CALLS = (
    Case("launch", (), Environment.launch, _of_a_launch),
    Case("launch: capacity in the last subnet", (no_capacity("subnet-a"),), Environment.launch, _of_a_launch),
    Case("launch: no capacity", (no_capacity(*SUBNETS),), Environment.launch, _of_a_launch),
    Case("launch: may wait", (MAY_WAIT,), Environment.try_launch, _of_a_patient_launch),
    Case("launch: has to wait", DROUGHT, Environment.try_launch, _of_a_patient_launch),
    Case("launch: lane is busy", (training,), Environment.launch, (Kind.COMPLETED,)),
    Case("launch: in another lane", (training,), lambda env: env.launch(NEIGHBOUR), _of_two_lanes),
    Case("relaunch", SECOND_ATTEMPT, lambda env: env.relaunch(_first_run(env)), (Kind.RESUMED, Kind.COMPLETED)),
    Case("kill: in training", (training,), _KILL, _of_a_kill),
    Case("kill: booting", _LAUNCHED, _KILL, _of_a_kill),
    Case("kill: after the verdict", (training, SUCCEEDED), _KILL, (Kind.COMPLETED,)),
    Case("kill --now: in training", (training,), _KILL_NOW, _of_a_kill),
    Case("kill --now: booting", _LAUNCHED, _KILL_NOW, _of_a_kill),
    Case("kill --now: after the verdict", (training, SUCCEEDED), _KILL_NOW, (Kind.COMPLETED,)),
    Case(
        "cleanup: uploads", (training, _begin_uploads),
        lambda env: abort_orphan_uploads(env.name, env.store, env.fleet), (Kind.COMPLETED,), repeated=True,
    ),
    Case("agent: claim", _LAUNCHED, _act(Agent.claim), _of_an_agent),
    Case("agent: heartbeat", _CLAIMED, _act(Agent.heartbeat), _of_an_agent),
    Case("agent: enter data_sync", _CLAIMED, _act(Agent.advance), _of_an_agent),
    Case("agent: enter results_sync", (training,), _act(Agent.upload), _of_an_agent),
    Case("agent: note a step", (training,), _act(lambda agent: agent.session.record_step("step_9")), _of_an_agent),
    Case("agent: look", (training,), _act(lambda agent: agent.session.read()), _of_an_agent),
    Case("agent: verdict", (training,), _act(lambda agent: agent.finish(COMPLETED)), _of_an_agent),
)  # fmt: skip
READS = (
    Case("read: verify", (training,), Environment.findings, (Kind.COMPLETED,)),
    Case("read: runs", (training,), lambda env: list_runs(env.store, env.name), (Kind.COMPLETED,)),
    Case(
        "read: look", (training,), lambda env: find_run(env.store, env.name, _first_run(env).run_id),
        (Kind.COMPLETED,),
    ),
)  # fmt: skip
