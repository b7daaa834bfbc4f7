"""The last look before something is done that cannot be undone: LostRace if the facts behind it have changed."""

from __future__ import annotations

from chronos_ec2.domain.decision import Action, FinishRun, Terminate, WriteLock
from chronos_ec2.domain.errors import LostRace
from chronos_ec2.domain.facts import (
    Found,
    HeartbeatRead,
    HeartbeatReceived,
    LaneFacts,
    LockHeld,
    LockRead,
    ReadFailed,
    Unreadable,
    last_heard,
)
from chronos_ec2.domain.records.reports import Claim, OutcomeReport
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.run_store import RunStore


def check_heartbeat(store: RunStore, action: Action, facts: LaneFacts) -> None:
    """Raise LostRace if a heartbeat has arrived or moved since the facts were read, before anything is written."""
    if (silent := _based_on_heartbeat_of(action, facts)) is None:
        return
    instance_id, run_id = silent
    known = facts.heartbeats.get(run_id, facts.heartbeat)
    if isinstance(known, ReadFailed):
        return  # decided without it
    current = store.read_heartbeat(facts.lane.environment, run_id)
    if isinstance(current, ReadFailed):
        raise LostRace(f"the heartbeat of {instance_id} could not be checked again: {current.problem}")
    last, before = last_heard(current, instance_id), last_heard(known, instance_id)
    if last is None:
        return
    arrived = before is None or last > before
    moved = _counter(current) > _counter(known)
    hung = isinstance(action, Terminate) and action.cause is Cause.HUNG
    if moved or (arrived and not hung):
        raise LostRace(f"{instance_id} has sent a heartbeat since")


def check_lock(store: RunStore, facts: LaneFacts) -> None:
    """Raise LostRace if the lock has changed, or an instance may have claimed or ended the attempt since.

    A verdict that is written keeps the instance from both.
    """
    if _version(store.read_lock(facts.lane)) != _version(facts.lock):
        raise LostRace(f"{facts.lane.state_key} changed")
    if not isinstance(facts.lock, LockHeld) or facts.lock.run.verdict is not None:
        return
    run = facts.lock.run
    current = store.read_outcome(run) if run.claimed else store.read_claim(run)
    if isinstance(current, ReadFailed) or (isinstance(current, Found) and not _void(current)):
        raise LostRace(f"the instance of run {run.run_id} may have reported since")


def _void(report: Found[Claim] | Found[OutcomeReport]) -> bool:
    return isinstance(report.document, Claim) and report.document.void


def _counter(heartbeat: HeartbeatRead) -> int:
    return heartbeat.heartbeat.counter if isinstance(heartbeat, HeartbeatReceived) else -1


def _based_on_heartbeat_of(action: Action, facts: LaneFacts) -> tuple[str, str] | None:
    """The ids of the instance and run whose old or missing heartbeat is a reason for this action, if any.

    A heartbeat of an instance that has not claimed proves nothing.
    """
    match action, facts.lock:
        case _, LockHeld(run) if not run.claimed:
            return None
        case Terminate(instance_id, Cause.INFRA | Cause.HUNG), LockHeld(run):
            return instance_id, run.run_id
        case Terminate(instance_id, Cause.ORPHAN | Cause.HUNG), Unreadable():
            run_id = next((each.run_id for each in facts.instances if each.instance_id == instance_id), None)
            return (instance_id, run_id) if run_id else None
        case FinishRun(after) | WriteLock(after), LockHeld(run) if run.instance_id and run.instance_id not in _ids(
            facts
        ):
            over = isinstance(action, FinishRun) or after.attempt != run.attempt
            return (run.instance_id, run.run_id) if over else None
        case _:
            return None


def _ids(facts: LaneFacts) -> set[str]:
    return {instance.instance_id for instance in facts.instances}


def _version(lock: LockRead) -> object:
    """Equal for two reads of the same lock: sequence and nonce, because an ETag can recur."""
    match lock:
        case LockHeld(run):
            return (run.run_id, run.seq, run.nonce)
        case ReadFailed():
            return ReadFailed  # their texts differ
        case _:
            return lock
