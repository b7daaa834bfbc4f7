"""The lane of a new run: take it, and leave it right when the launch fails.

If no instance can have been started, the lane is freed at once. If one may have been, the lock stays: without it nobody
would know whose instance it is. The run is then asked to stop, and the watchdog ends it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from chronos_ec2.domain.errors import (
    CapacityUnavailable,
    InvalidInput,
    LaneBusy,
    LaunchRefused,
    LostRace,
    NotAllowed,
    Superseded,
    UserError,
)
from chronos_ec2.domain.facts import LockHeld, ReadFailed, Unreadable
from chronos_ec2.domain.instance import NewInstance
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.capacity import Launching, LaunchOption
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES, REQUEST, Request
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import MAX_VERDICT, Cause, DecidedBy, Outcome, Stop, Verdict
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.run_queries import FINAL_RECORD

_TRIES = 5
_REFUSALS = (CapacityUnavailable, LaunchRefused, NotAllowed, UserError)
"""EC2's word, or that of our own machine, that a call has started nothing."""


def refuse_if_busy(store: RunStore, lane: Lane) -> None:
    """Raise LaneBusy, which names the holder, if the lane is not free."""
    match store.read_lock(lane):
        case LockHeld(run):
            raise LaneBusy(run.run_id, str(lane), run.status)
        case Unreadable(problem):
            remedy = "the watchdog sets it aside; see `chronos-ec2 verify`"
            raise InvalidInput(lane.state_key, f"cannot be read ({problem})", remedy)
        case _:
            return


def take_lane(run: Run, request: Request, store: RunStore) -> LockHeld:
    """Write the request, then the lock.

    Raises:
        LaneBusy: another run holds the lane.
        ServiceUnavailable: S3 did not answer; the lane may have been taken.
    """
    _put_request(store, request)
    try:
        return store.create_lock(run)
    except LostRace:
        refuse_if_busy(store, run.lane)
        raise


def _put_request(store: RunStore, request: Request) -> None:
    """Write the request once. When botocore retries after a lost response, it finds its own first write."""
    key, body = run_key(request.lane.environment, request.run_id, REQUEST), request.to_json()
    try:
        store.objects.create(key, body)
    except LostRace:
        found = store.objects.read(key, MAX_REQUEST_BYTES)
        if found is None or found.body != body:
            raise


class StartsInstances(Protocol):
    """The part of Fleet that a launch uses."""

    def launch(self, run: Run, option: LaunchOption, user_data: str) -> NewInstance:
        """Start one instance, see Fleet."""
        ...


class StartedInstances:
    """Starts instances, and remembers what may be running although the caller of `launch` got no answer."""

    def __init__(self, fleet: StartsInstances) -> None:
        self._fleet = fleet
        self.possible = ""
        """What may be running, for people; empty if nothing can be."""

    def launch(self, run: Run, option: LaunchOption, user_data: str) -> NewInstance:
        """Start one instance, see Fleet."""
        before, self.possible = self.possible, f"an instance ({option.instance_type}, {option.subnet_id})"
        try:
            started = self._fleet.launch(run, option, user_data)
        except _REFUSALS:
            self.possible = before
            raise
        self.possible = f"instance {started.instance_id}"
        return started


@dataclass(frozen=True, slots=True)
class FailedLaunch:
    """What a launch that ends with an error leaves behind: its lane, its request, and what people must know of it."""

    run: Run
    request: Request
    store: RunStore
    possible_instance: str
    took_lane: bool
    recorded: frozenset[Launching | None] = frozenset()
    """The options that the launch has recorded in the lock."""

    def settle(self, error: BaseException) -> None:
        """Free the lane, or ask the run to stop, and note in `error` how it stands. Raises nothing else."""
        try:
            note = self._settled(error)
        except (Exception, KeyboardInterrupt) as failed:  # noqa: BLE001 - the first error is the one to report
            note = self._unsettled(one_line(str(failed), 300) or type(failed).__name__)
        if note:
            error.add_note(note)

    def _settled(self, error: BaseException) -> str:
        for _ in range(_TRIES):
            state = self.store.read_lock(self.run.lane)
            if isinstance(state, ReadFailed | Unreadable):
                return self._unsettled(state.problem)
            if not isinstance(state, LockHeld) or state.run.run_id != self.run.run_id:
                return self._without_lock()
            if state.run.attempt != self.run.attempt:
                return f"run {self.run.run_id} goes on as attempt {state.run.attempt}. {self._commands('monitor')}"
            taken_over = state.run.launching and state.run.launching not in self.recorded
            # The watchdog concludes a run that has its verdict, and tells of it.
            if taken_over or state.run.verdict or isinstance(error, Superseded):
                return self._commands("monitor")
            try:
                return self._stop(state, error) if self.possible_instance else self._free(state, error)
            except LostRace:
                continue
        return self._unsettled(f"{self.run.lane.state_key} kept changing")

    def _free(self, held: LockHeld, error: BaseException) -> str:
        """Keep the final record and free the lane: there is no instance."""
        outcome, cause = _ending(error)
        verdict = Verdict(outcome, cause, _reason(error), DecidedBy.AGENT)
        ended = held.run.end(verdict, max(held.written_at, held.run.updated_at))
        self.store.objects.write(run_key(self.run.lane.environment, self.run.run_id, FINAL_RECORD), ended.to_json())
        self.store.release_lock(held)
        return f"run {self.run.run_id}: no instance was started, and {self.run.lane} is free"

    def _stop(self, held: LockHeld, error: BaseException) -> str:
        """Ask the run to stop, so that the watchdog ends whatever was started."""
        if not (held.run.stop or held.run.verdict):
            now = max(held.written_at, held.run.updated_at)
            self.store.replace_lock(replace(held.run, stop=Stop(_ending(error)[1], _reason(error), now)), held)
        return (
            f"run {self.run.run_id}: {self.possible_instance} may be running; the run was told to end, and the "
            f"watchdog sees to it. {self._commands('kill --now')}"
        )

    def _without_lock(self) -> str:
        if not self.took_lane:
            key = run_key(self.run.lane.environment, self.run.run_id, REQUEST)
            found = self.store.objects.read(key, MAX_REQUEST_BYTES)
            if found is not None and found.body == self.request.to_json():
                self.store.objects.remove(key)
            return ""
        instance = f"; the watchdog ends {self.possible_instance} too, if it runs" if self.possible_instance else ""
        return f"run {self.run.run_id} no longer holds {self.run.lane}{instance}. {self._commands('monitor')}"

    def _unsettled(self, problem: str) -> str:
        what = f"{self.possible_instance} may be running" if self.possible_instance else "no instance was started"
        holds = "holds" if self.took_lane else "may hold"
        return f"run {self.run.run_id} {holds} {self.run.lane} ({problem}), and {what}. {self._commands('kill')}"

    def _commands(self, command: str) -> str:
        environment = f"--environment {self.run.lane.environment}"
        name, _, option = command.partition(" ")
        does = {"kill": "ends it", "kill --now": "ends it at once", "monitor": "shows it"}[command]
        call = " ".join(filter(None, ("chronos-ec2", name, self.run.run_id, option, environment)))
        return f"`{call}` {does}, `chronos-ec2 verify {environment}` shows what is left"


def _ending(error: BaseException) -> tuple[Outcome, Cause]:
    if isinstance(error, CapacityUnavailable):
        return Outcome.FAILED, Cause.NO_CAPACITY
    return (Outcome.FAILED, Cause.INFRA) if isinstance(error, Exception) else (Outcome.KILLED, Cause.REQUESTED)


def _reason(error: BaseException) -> str:
    if not isinstance(error, Exception):
        return "the launch was interrupted"
    return one_line(f"the launch failed: {str(error) or type(error).__name__}", MAX_VERDICT)
