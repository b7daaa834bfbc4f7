"""Why a run fails on the instance."""

from __future__ import annotations

from chronos_ec2.domain.errors import ChronosError
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Verdict


class RunFailed(ChronosError):
    """The run has failed. The text is the message that people get: one line, what to do included.

    `elsewhere` is whether it is this instance that was not fit, so that another may do better.
    """

    def __init__(self, cause: Cause, message: str, elsewhere: bool = False) -> None:
        super().__init__(message)
        self.elsewhere = elsewhere
        self.verdict = Verdict(Outcome.FAILED, cause, message, DecidedBy.AGENT)
