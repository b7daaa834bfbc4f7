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
        self._ask(f"ask for attempt {run.attempt} of run {run.run_id}", lane=run.lane.name, run_id=run.run_id)

    def follow(self, run: Run, schedule: str) -> None:
        """Ask for what a schedule does after a run. Raises ServiceUnavailable, NotAllowed."""
        self._ask(f"ask for what follows run {run.run_id}", schedule=schedule, after=run.run_id)

    def advance(self, run: Run, group: str) -> None:
        """Ask a group to go on after one of its members. Raises ServiceUnavailable, NotAllowed."""
        self._ask(f"ask for what follows run {run.run_id}", group=group, after=run.run_id)

    def _ask(self, what: str, **request: str) -> None:
        with translated(what):
            self._lambda.invoke(
                FunctionName=self._function, InvocationType="Event", Payload=json.dumps(request).encode()
            )
