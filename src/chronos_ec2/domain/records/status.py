"""The state machine of a run: statuses and transitions, verdicts and causes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from chronos_ec2.domain.parsing.codec import Fields
from chronos_ec2.domain.parsing.times import format_time


class Status(StrEnum):
    """The status of a run. Names and order are the reference's."""

    INITIALIZATION = "initialization"
    DATA_SYNC = "data_sync"
    TRAINING = "training"
    RESULTS_SYNC = "results_sync"
    CLEANUP = "cleanup"
    FAILED = "failed"
    KILLED = "killed"


class Job(StrEnum):
    """What a run does. Statuses and guarantees are the same; `training` is the working phase of every job."""

    TRAIN = "train"
    FORECAST = "forecast"
    EVALUATE = "evaluate"


class Outcome(StrEnum):
    """How a run ended."""

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
    NO_CAPACITY = "no-capacity"


class DecidedBy(StrEnum):
    """Who decided a verdict. After its own verdict, an agent gets a grace to power off; after the watchdog's, none."""

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


def follows(status: Status, later: Status) -> bool:
    """Whether a run may go from one status to another."""
    return later in _TRANSITIONS[status]


MAX_VERDICT = 4000
"""Characters of a verdict's message. A denied call has an encoded part, which must be whole to be decoded."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How and why a run ended, and who decided it."""

    outcome: Outcome
    cause: Cause
    message: str
    decided_by: DecidedBy

    @property
    def status(self) -> Status:
        """The status of a run with this verdict."""
        return _STATUS_OF[self.outcome]

    def to_dict(self) -> dict[str, Any]:
        """The fields in a record."""
        return {
            "outcome": self.outcome,
            "cause": self.cause,
            "message": self.message,
            "decided_by": self.decided_by,
        }


_STATUS_OF = {
    Outcome.SUCCEEDED: Status.CLEANUP,
    Outcome.FAILED: Status.FAILED,
    Outcome.KILLED: Status.KILLED,
}


@dataclass(frozen=True, slots=True)
class Stop:
    """A request for a graceful stop. The agent has the grace to save its work."""

    cause: Cause
    reason: str
    requested_at: datetime

    @property
    def outcome(self) -> Outcome:
        """Killed if a person asked, failed if a limit did."""
        return Outcome.KILLED if self.cause is Cause.REQUESTED else Outcome.FAILED

    def to_dict(self) -> dict[str, Any]:
        """The fields in a record."""
        return {"cause": self.cause, "reason": self.reason, "requested_at": format_time(self.requested_at)}


@dataclass(frozen=True, slots=True)
class Suspect:
    """A first observation: what was observed, and when."""

    cause: Cause
    reason: str
    first_seen: datetime

    def to_dict(self) -> dict[str, Any]:
        """The fields in a record."""
        return {"cause": self.cause, "reason": self.reason, "first_seen": format_time(self.first_seen)}


def read_verdict(fields: Fields) -> Verdict:
    """A verdict in a record. Raises InvalidDocument, ValueError."""
    return Verdict(
        Outcome(fields.text("outcome")),
        Cause(fields.text("cause")),
        fields.text("message"),
        DecidedBy(fields.text("decided_by")),
    )


def read_stop(fields: Fields) -> Stop:
    """A request to stop in a record. Raises InvalidDocument, ValueError."""
    return Stop(Cause(fields.text("cause")), fields.text("reason"), fields.time("requested_at"))


def read_suspect(fields: Fields) -> Suspect:
    """A first observation in a record. Raises InvalidDocument, ValueError."""
    return Suspect(Cause(fields.text("cause")), fields.text("reason"), fields.time("first_seen"))
