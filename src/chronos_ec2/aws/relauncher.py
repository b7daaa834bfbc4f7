"""The launcher function as Relauncher: the watchdog has no right to start instances, so it asks."""

from __future__ import annotations

import json
from typing import Any

from chronos_ec2.aws.errors import translated
from chronos_ec2.domain.records.run import Run


class LambdaRelauncher:
    """One function, called without waiting for its end."""

    def __init__(self, client: Any, function: str) -> None:
        self._lambda = client
        self._function = function

    def relaunch(self, run: Run) -> None:
        """Have an instance started for the current attempt of a run. Raises ServiceUnavailable, NotAllowed."""
        order = {"lane": run.lane.name, "run_id": run.run_id}
        with translated(f"ask for attempt {run.attempt} of run {run.run_id}"):
            self._lambda.invoke(FunctionName=self._function, InvocationType="Event", Payload=json.dumps(order).encode())
