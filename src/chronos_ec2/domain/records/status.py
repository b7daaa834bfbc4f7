"""The state machine of a run: statuses and their transitions, verdicts and their causes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Status(StrEnum):
    """Where a run stands. Names and order are the reference's."""

    INITIALIZATION = "initialization"
    DATA_SYNC = "data_sync"
    TRAINING = "training"
    RESULTS_SYNC = "results_sync"
    CLEANUP = "cleanup"
    FAILED = "failed"
    KILLED = "killed"


class Outcome(StrEnum):
    """What became of a run."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    KILLED = "killed"


class Cause(StrEnum):
    """Why a run ended."""

    COMPLETED = "completed"
    REQUESTED = "requested"
    USER_CODE = "user-code"
    PREEMPTED = "preempted"
    HUNG = "hung"
    OVER_DEADLINE = "over-deadline"
    OVER_BUDGET = "over-budget"
    ORPHAN = "orphan"
    INFRA = "infra"


class DecidedBy(StrEnum):
    """Who pronounced a verdict. An agent gets a grace to leave, a condemned one does not."""

    AGENT = "agent"
    WATCHDOG = "watchdog"


_TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.INITIALIZATION: frozenset({Status.DATA_SYNC, Status.FAILED, Status.KILLED}),
    Status.DATA_SYNC: frozenset({Status.TRAINING, Status.FAILED, Status.KILLED}),
    Status.TRAINING: frozenset({Status.RESULTS_SYNC, Status.FAILED, Status.KILLED}),
    Status.RESULTS_SYNC: frozenset({Status.CLEANUP, Status.FAILED, Status.KILLED}),
    Status.CLEANUP: frozenset(),
    Status.FAILED: frozenset(),
    Status.KILLED: frozenset(),
}
ACTIVE = frozenset(status for status, following in _TRANSITIONS.items() if following)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a run ended, why, and who said so."""

    outcome: Outcome
    cause: Cause
    message: str
    decided_by: DecidedBy

    @property
    def status(self) -> Status:
        """The status that a run with this verdict has."""
        return _STATUS_OF[self.outcome]


_STATUS_OF = {
    Outcome.SUCCEEDED: Status.CLEANUP,
    Outcome.FAILED: Status.FAILED,
    Outcome.KILLED: Status.KILLED,
}


@dataclass(frozen=True, slots=True)
class Stop:
    """A graceful end that was asked for: the agent has the grace to save its work."""

    cause: Cause
    reason: str
    requested_at: datetime

    @property
    def outcome(self) -> Outcome:
        """Asked for by a person, the run was killed; asked for by a limit, it failed."""
        return Outcome.KILLED if self.cause is Cause.REQUESTED else Outcome.FAILED


@dataclass(frozen=True, slots=True)
class Suspect:
    """The first of two looks: what was seen, and when."""

    cause: Cause
    reason: str
    first_seen: datetime
