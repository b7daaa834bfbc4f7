"""What the verdict of a completed run says, by its job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.status import Cause, DecidedBy, Job, Outcome, Verdict


def completed(job: Job, result: Mapping[str, Any]) -> Verdict:
    """The verdict of a run whose trainer left this result."""
    return Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, _MESSAGES[job](result), DecidedBy.AGENT)


def _trained(_result: Mapping[str, Any]) -> str:
    return "trained, evaluated, and results in S3"


def _forecast(result: Mapping[str, Any]) -> str:
    found = result["forecast"]
    parts = "part" if found["parts"] == 1 else "parts"
    message = f"forecast {found['items']:,} series, {found['rows']:,} rows in {found['parts']:,} {parts}"
    if found["left_out"]:
        message += f"; {found['left_out']:,} series without any number left out"
    if found["rows_without_numbers"]:
        message += f"; {found['rows_without_numbers']:,} rows of targets without observations have no numbers"
    return message


def _evaluated(result: Mapping[str, Any]) -> str:
    return one_line(result["comparison"]["verdict"]["sentence"])


_MESSAGES = {Job.TRAIN: _trained, Job.FORECAST: _forecast, Job.EVALUATE: _evaluated}
