"""Why the agent's work ends early.

ChronosError
├── RunFailed            (agent.errors) the run failed, for a known cause
├── Stopped              a graceful stop was requested, and the work has stopped
└── Fenced               (domain) the run no longer belongs to this agent
    └── EndedByWatchdog  because the watchdog ended it
"""

from __future__ import annotations

from chronos_ec2.domain.errors import ChronosError, Fenced
from chronos_ec2.domain.records.status import DecidedBy, Stop, Verdict


class Stopped(ChronosError):
    """A graceful stop was requested, and the work has stopped."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.reason)
        self.verdict = Verdict(stop.outcome, stop.cause, stop.reason, DecidedBy.AGENT)


class EndedByWatchdog(Fenced):
    """The watchdog ended the run while this instance held it. No other instance holds it now."""
