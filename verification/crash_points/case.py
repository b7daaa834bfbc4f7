"""A case: how a situation comes about, one call in it, and the messages that must follow; and what many cases need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Verdict
from chronos_ec2.testing import Environment

Step = Callable[[Environment], object]
Kinds = tuple[Kind, ...]
_RETRIES = (timedelta(minutes=1), timedelta(minutes=2))


@dataclass(frozen=True, slots=True)
class Case:
    """Steps into a situation, one call in it, and what must follow."""

    name: str
    prepare: tuple[Step, ...]
    call: Step
    promise: Kinds | Callable[[Environment], Kinds]
    """Which messages must be published at the end, or how they follow from what the call left behind."""
    announces: bool = False
    """Whether `started` must be published exactly as often as without the fault."""
    repeated: bool = False
    """Whether somebody makes the call again, because nobody else would do what it does."""


def training(env: Environment) -> None:
    """A run in training."""
    env.launch()
    env.work_until(Status.TRAINING)


def conclude(env: Environment) -> None:
    """All runs end, and nothing of them is left."""
    while not env.settled:
        env.tick()


def reconcile(env: Environment) -> object:
    """The watchdog looks at the lane."""
    return env.watchdog.lane(env.lane)


def kill(*, at_once: bool = False) -> Step:
    """Somebody kills the run."""
    return lambda env: env.kill(at_once=at_once)


def finish(outcome: Outcome, cause: Cause) -> Step:
    """The agent writes its outcome."""
    return lambda env: env.agent.finish(Verdict(outcome, cause, "said by the agent", DecidedBy.AGENT))


def move(state: InstanceState) -> Step:
    """The only instance comes into another state."""
    return lambda env: env.fleet.move(env.alive[0].instance_id, state)


def order(**fields: object) -> Step:
    """The next launches ask for this."""
    return lambda env: env.defaults.update(fields)


def no_capacity(*places: str) -> Step:
    """EC2 has no capacity in these subnets, or for these instance types."""
    return lambda env: env.fleet.no_capacity.update(places)


def delivered(call: Step) -> Step:
    """A call that Lambda repeats while it fails; when its process dies, the test does."""

    def deliver(env: Environment) -> object:
        for wait in _RETRIES:
            try:
                return call(env)
            except ServiceUnavailable:
                env.pass_time(wait)
        return call(env)

    return deliver


SUCCEEDED = finish(Outcome.SUCCEEDED, Cause.COMPLETED)
TERMINATED = move(InstanceState.TERMINATED)
MAY_WAIT = order(wait_for_capacity=timedelta(minutes=30))
DROUGHT = (no_capacity("g4dn.2xlarge"), MAY_WAIT)
