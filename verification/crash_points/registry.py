"""The cases of the model registry: the conclusion of a run that may become the champion, and an operator's part.

A conclusion is repeated by the next tick. An operator looks first, and then does what is left to do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.champion import DEFAULT_MODEL, Champion, Promote, Promotion
from chronos_ec2.domain.records.reports import Comparison
from chronos_ec2.domain.records.status import Status
from chronos_ec2.model_registry import Registry
from chronos_ec2.services.run_queries import find_run
from chronos_ec2.testing import Environment
from chronos_ec2.testing.agent import COMPLETED
from verification.crash_points.case import TERMINATED, Case, Kinds, Step, conclude, reconcile

_FILES = (("config.json", "a" * 64), ("model.safetensors", "b" * 64))
_ALL = ("seasonal_naive", "champion")
_NEVER = (Kind.LEAK,)
"""What nothing here publishes: the registry is not as it must be."""


def _registry(env: Environment) -> Registry:
    return Registry(env.name, env.objects)


def _champion(env: Environment) -> Champion | None:
    return _registry(env).champion(DEFAULT_MODEL)


def _history(env: Environment) -> tuple[Champion, ...]:
    return _registry(env).history(DEFAULT_MODEL)


def _trained(*better_than: str) -> Step:
    """A run has trained a model that is better than these, and its instance is gone."""

    def prepare(env: Environment) -> None:
        champion = _champion(env)
        env.launch(promotion=Promotion(DEFAULT_MODEL, Promote.BETTER, champion.seq if champion else 0))
        env.work_until(Status.TRAINING)
        env.agent.session.finish(COMPLETED, None, _FILES, Comparison("trained", _ALL, better_than))
        TERMINATED(env)

    return prepare


def _promised(versions: int, *kinds: Kind) -> Callable[[Environment], Kinds]:
    """These messages; and when all is concluded the pointer has so many versions, none of which is lost."""

    def promise(env: Environment) -> Kinds:
        conclude(env)
        return kinds if [one.seq for one in _history(env)] == list(range(versions, 0, -1)) else _NEVER

    return promise


def _promote(env: Environment) -> None:
    """An operator makes the first champion the champion again, unless it is."""
    former, current = _history(env)[-1], _champion(env)
    if current is None or current.run_id != former.run_id:
        run = find_run(env.store, env.name, former.run_id).run
        _registry(env).promote(DEFAULT_MODEL, run, "by hand", env.clock.now())


def _roll_back(env: Environment) -> None:
    """An operator takes the second champion back, unless that was done."""
    current = _champion(env)
    if current is not None and current.seq == 2:
        _registry(env).roll_back(DEFAULT_MODEL, env.clock.now())


_BETTER, _WORSE = _trained(*_ALL), _trained("seasonal_naive")
_FIRST = (_BETTER, conclude)
_SECOND = (*_FIRST, _BETTER, conclude)
_ONE = (Kind.PROMOTED, Kind.COMPLETED)
_case = partial(Case, repeated=True)

REGISTRY = (
    _case("registry: the first champion", (_BETTER,), reconcile, _promised(1, *_ONE)),
    _case("registry: a better model", (*_FIRST, _BETTER), reconcile, _promised(2, *_ONE, *_ONE)),
    _case("registry: a worse model", (*_FIRST, _WORSE), reconcile, _promised(1, *_ONE, Kind.KEPT, Kind.COMPLETED)),
    _case("registry: promote", _SECOND, _promote, _promised(3, *_ONE, *_ONE)),
    _case("registry: roll back", _SECOND, _roll_back, _promised(3, *_ONE, *_ONE)),
    _case("registry: read", _SECOND, _history, (*_ONE, *_ONE)),
)
