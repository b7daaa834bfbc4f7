"""The ways in which the agent's work ends before its time.

ChronosError
├── RunFailed        the run has failed, and why is known
├── Stopped          a graceful end was asked for, and has been obeyed
├── LateStep         a note came when its phase was over; it is nobody's end
└── Fenced           of the domain: the run is not ours any more
    └── Condemned    because the watchdog has ended it
"""

from __future__ import annotations

from chronos_ec2.domain.errors import ChronosError, Fenced
from chronos_ec2.domain.records.status import DecidedBy, Stop, Verdict


class Stopped(ChronosError):
    """A graceful end was asked for, and has been obeyed."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.reason)
        self.verdict = Verdict(stop.outcome, stop.cause, stop.reason, DecidedBy.AGENT)


class LateStep(ChronosError):
    """A finer step of a phase came when the phase was over."""


class EndedByWatchdog(Fenced):
    """The watchdog has ended the run while this instance had it; nobody else has it now."""
