"""The launcher function as Relauncher. The watchdog has no permission to start instances."""

from __future__ import annotations

import json
from typing import Any

from chronos_ec2.aws.errors import translated
from chronos_ec2.domain.records.run import Run


class LambdaRelauncher:
    """One function, invoked asynchronously."""

    def __init__(self, client: Any, function: str) -> None:
        self._lambda = client
        self._function = function

    def relaunch(self, run: Run) -> None:
        """Ask for the instance of a run's current attempt. Raises ServiceUnavailable, NotAllowed."""
        request = {"lane": run.lane.name, "run_id": run.run_id}
        with translated(f"ask for attempt {run.attempt} of run {run.run_id}"):
            self._lambda.invoke(
                FunctionName=self._function, InvocationType="Event", Payload=json.dumps(request).encode()
            )
