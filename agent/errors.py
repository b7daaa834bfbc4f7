"""The error that fails a run."""

from __future__ import annotations

from chronos_ec2.domain.errors import ChronosError
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Verdict


class RunFailed(ChronosError):
    """The run failed. The text is the message for the user: one line that includes what to do.

    `elsewhere` says that the instance is at fault, so that another one may succeed.
    """

    def __init__(self, cause: Cause, message: str, elsewhere: bool = False) -> None:
        super().__init__(message)
        self.elsewhere = elsewhere
        self.verdict = Verdict(Outcome.FAILED, cause, message, DecidedBy.AGENT)
