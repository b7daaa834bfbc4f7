"""The ways in which the agent's work ends before its time.

ChronosError
├── RunFailed        the run has failed, and why is known
├── Stopped          a graceful end was asked for, and has been obeyed
├── LateNote         a note came when its phase was over; it is nobody's end
└── Fenced           of the domain: the run is not ours any more
    └── Condemned    because the watchdog has ended it
"""

from __future__ import annotations

from chronos_ec2.domain.errors import ChronosError, Fenced
from chronos_ec2.domain.run import Cause, Judge, Outcome, Stop, Verdict


class RunFailed(ChronosError):
    """The run has failed. The text is the message that people get: one line, what to do included.

    `elsewhere` is whether it is this instance that was not fit, so that another may do better.
    """

    def __init__(self, cause: Cause, message: str, elsewhere: bool = False) -> None:
        super().__init__(message)
        self.elsewhere = elsewhere
        self.verdict = Verdict(Outcome.FAILED, cause, message, Judge.AGENT)


class Stopped(ChronosError):
    """A graceful end was asked for, and has been obeyed."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.reason)
        self.verdict = Verdict(stop.outcome, stop.cause, stop.reason, Judge.AGENT)


class LateNote(ChronosError):
    """A finer step of a phase came when the phase was over."""


class Condemned(Fenced):
    """The watchdog has ended the run while this instance had it; nobody else has it now."""
