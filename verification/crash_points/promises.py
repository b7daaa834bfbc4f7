"""The messages that are promised after a fault, given what it left behind."""

from __future__ import annotations

from collections.abc import Callable

from chronos_ec2.domain.facts import Found, LockHeld
from chronos_ec2.domain.limits import TAKE_OVER_AFTER
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import WAITING
from chronos_ec2.domain.records.s3_keys import incident_key
from chronos_ec2.testing import Environment

NEIGHBOUR = Lane("dev", "neighbour")
Promise = Callable[[Environment, bool], tuple[Kind, ...]]
"""Which messages must be published at the end, given what the call left behind and whether its process crashed."""


def always(*kinds: Kind) -> Promise:
    """These messages, whatever the call left behind."""
    return lambda _env, _crashed: kinds


def of_a_launch(env: Environment, _crashed: bool) -> tuple[Kind, ...]:
    """With an instance there is a run, unless its launch failed; a lock alone fails; without one there was no run."""
    if env.run is None:
        return ()
    return (Kind.COMPLETED,) if env.alive and env.run.stop is None else (Kind.FAILED,)


def of_two_lanes(env: Environment, _crashed: bool) -> tuple[Kind, ...]:
    """The first run completes; the second too, if it has an instance and its launch did not fail."""
    second = env.store.read_lock(NEIGHBOUR)
    if not isinstance(second, LockHeld):
        return (Kind.COMPLETED,)
    return (Kind.COMPLETED, Kind.COMPLETED if len(env.alive) == 2 and second.run.stop is None else Kind.FAILED)


def of_a_kill(env: Environment, _crashed: bool) -> tuple[Kind, ...]:
    """A recorded kill is carried out; one that was not recorded leaves the run alone, unless it made its claim void."""
    run = env.reported
    if run is None or run.stop or run.verdict:
        return (Kind.KILLED,)
    claim = env.store.read_claim(run)
    return (Kind.FAILED,) if isinstance(claim, Found) and claim.document.void else (Kind.COMPLETED,)


def of_a_verdict(kind: Kind) -> Promise:
    """An instance is terminated also when S3 refuses the verdict; then all that is left to see is that it went away."""

    def promise(env: Environment, _crashed: bool) -> tuple[Kind, ...]:
        run = env.reported
        return (kind,) if env.alive or (run and run.verdict) else (Kind.FAILED,)

    return promise


def of_a_wait(end: Kind) -> Promise:
    """A run that waits says so, unless it gets its instance before: at the next tick, or while a marker is pending."""

    def promise(env: Environment, _crashed: bool) -> tuple[Kind, ...]:
        if Kind.WAITING in env.kinds():
            return (Kind.WAITING, end)
        run = env.run
        if run is None or run.current_step != WAITING:
            return (end,)
        pending = env.objects.read(incident_key(env.name, run.run_id, Kind.WAITING, run.attempt)) is not None
        at_work = run.launching is not None and env.clock.now() - run.launching.since < TAKE_OVER_AFTER
        return (end,) if pending and not at_work and not env.fleet.no_capacity else (Kind.WAITING, end)

    return promise


def of_a_patient_launch(env: Environment, _crashed: bool) -> tuple[Kind, ...]:
    """A recorded run that may wait gets its instance in the end, if there is one to get."""
    if env.run is None:
        return ()
    if env.run.stop:  # the launch failed after EC2 was asked
        return (Kind.FAILED,)
    return (Kind.WAITING, Kind.FAILED) if env.fleet.no_capacity else (Kind.COMPLETED,)


def of_an_agent(env: Environment, crashed: bool) -> tuple[Kind, ...]:
    """An agent survives whatever S3 does; its crash is a failure, unless it had written its outcome."""
    run = env.reported
    return (Kind.FAILED,) if crashed and not (run and run.verdict) else (Kind.COMPLETED,)
