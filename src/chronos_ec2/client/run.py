"""A run as a Python object: wait for it, read its logs, take its results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from chronos_ec2.bootstrap.operator import OperatorWorld
from chronos_ec2.client.patience import PatientReader
from chronos_ec2.domain.errors import InvalidInput, RunUnsuccessful
from chronos_ec2.domain.records.run import Run, check_run_id
from chronos_ec2.domain.records.status import Outcome, Verdict
from chronos_ec2.services.kill import hold, kill, release
from chronos_ec2.services.logs import LogReader
from chronos_ec2.services.report import REPORT
from chronos_ec2.services.results import ResultFile, fetch_result, list_results, missing_files
from chronos_ec2.services.run_details import run_details
from chronos_ec2.services.run_queries import RunView, find_run, list_instances

_FORECASTS = ("forecasts.parquet", "forecasts/")


class RunHandle:
    """A run of an environment. It reads anew whenever it is asked; nothing is remembered.

    Each method raises RunNotFound, ServiceUnavailable or NotAllowed if the run cannot be read.
    """

    def __init__(self, run_id: str, environment: str, reader: PatientReader) -> None:
        self.run_id = check_run_id(run_id)
        self.environment = environment
        self._reader = reader

    def __repr__(self) -> str:
        return f"<run {self.run_id} in {self.environment}>"

    @property
    def view(self) -> RunView:
        """Its record, whether it is active, and its latest heartbeat."""
        return self._find(self._world)

    @property
    def record(self) -> Run:
        """Its record."""
        return self.view.run

    @property
    def status(self) -> str:
        """Its status, such as `training`; `cleanup`, `failed` or `killed` when it has ended."""
        return str(self.record.status)

    @property
    def verdict(self) -> Verdict | None:
        """How and why it ended, None while it has not."""
        return self.record.verdict

    @property
    def cost_usd(self) -> float | None:
        """What it has cost until now, in USD; None if the price is unknown."""
        listed = list_instances(self._world.fleet, self.environment)
        return self.view.cost_usd(self._world.clock.now(), self._world.limits, listed)

    @property
    def scores(self) -> Mapping[str, float]:
        """The scores of the model in its results, empty without an evaluation; lower is better."""
        return run_details(self._world.store, self.environment, self.run_id).scores

    @property
    def leaderboard(self) -> Mapping[str, Mapping[str, float]]:
        """The scores of every model that it has compared, the best first; empty without an evaluation."""
        return run_details(self._world.store, self.environment, self.run_id).leaderboard

    def wait(self, *, interval: float = 15.0, on_change: Callable[[RunView], None] | None = None) -> Verdict:
        """Wait until the run has ended and its instance is gone. Ctrl-C ends the waiting, not the run.

        While AWS does not answer or the credentials are expired, it logs that and goes on, for up to an hour.

        Args:
            interval: seconds between two reads.
            on_change: gets the run whenever its status, step or attempt has changed.
        """
        self._find(self._world)  # what cannot be read at the start is an error, not an outage
        seen: object = None
        while True:
            view = self._reader.read(self._find)
            now = (view.run.status, view.run.current_step, view.run.attempt, view.active)
            if on_change and now != seen:
                on_change(view)
            seen = now
            if not view.active and view.run.verdict is not None:
                return view.run.verdict
            time.sleep(interval)

    def succeeded(self, *, interval: float = 15.0) -> RunHandle:
        """Wait for its end; the run itself. Raises RunUnsuccessful unless it has succeeded, whatever `wait` raises."""
        verdict = self.wait(interval=interval)
        if verdict.outcome is not Outcome.SUCCEEDED:
            raise RunUnsuccessful(self.run_id, f"{verdict.outcome} ({verdict.cause}): {verdict.message}")
        return self

    def hold(self, span: timedelta | None = None) -> None:
        """Keep its instance, for a while or as long as it lives, see `chronos-ec2 hold`."""
        world = self._world
        hold(self.run_id, self.environment, world.store, world.fleet, world.limits, world.clock.now(), span)

    def release(self) -> None:
        """Let go of an instance that `hold` keeps."""
        release(self.run_id, self.environment, self._world.store, self._world.fleet)

    def logs(self, log: str = "trainer", *, follow: bool = False, interval: float = 5.0) -> Iterator[str]:
        """The lines of a log: `trainer`, `agent` or `boot`; with `follow` until the run has ended."""
        reader = LogReader(self._world.store.objects, self.environment, self.run_id, log)
        active = self.view.active
        yield from reader.more()
        while follow and active:
            time.sleep(interval)
            # Before the log is read: a run that ends in between still has its last lines.
            active = self._reader.read(self._find).active
            yield from self._reader.read(lambda _world: reader.more())
        yield from reader.rest()

    def results(self, to: Path | str | None = None, *, checkpoints: bool = False) -> Path:
        """Download model, evaluation, forecasts, plots and logs into a folder, by default one named like the run.

        Files that are there already are kept, so that an interrupted download goes on where it was.
        """
        files = list_results(self._world.store.objects, self.environment, self.run_id, checkpoints=checkpoints)
        return fetch(files, self.run_id if to is None else to, self._world)

    def forecasts(self, to: Path | str | None = None) -> Any:
        """Download its forecasts; a `pyarrow.Table`, from which `to_pandas()` and `polars.from_arrow` make frames.

        Raises:
            InvalidInput: the run has no forecasts.
        """
        files = list_results(self._world.store.objects, self.environment, self.run_id)
        return read_forecasts(self._world, files, f"run {self.run_id}", self.run_id if to is None else to)

    def report(self, to: Path | str | None = None) -> Path:
        """Write its report, one HTML file, by default RUN/report.html; see `chronos-ec2 report`."""
        from chronos_ec2.client.report import report_of  # noqa: PLC0415 - takes jinja2

        path = Path(self.run_id, REPORT) if to is None else Path(to)
        made = report_of(self._world, self.environment, self.run_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made.body)
        return path

    def kill(self, *, now: bool = False, reason: str = "requested by the operator") -> None:
        """End the run after it has saved its work, or `now`. Raises InvalidInput if it has ended."""
        kill(self.run_id, self._world.store, self._world.reconciler, self._world.clock, reason, at_once=now)

    @property
    def _world(self) -> OperatorWorld:
        return self._reader.world

    def _find(self, world: OperatorWorld) -> RunView:
        return find_run(world.store, self.environment, self.run_id)


def fetch(files: Iterable[ResultFile], to: Path | str, world: OperatorWorld) -> Path:
    """Download what a folder does not have of the files; the folder."""
    folder = Path(to)
    for file in missing_files(files, folder):
        fetch_result(file, folder, world.transfer, lambda _count: None)
    return folder


def read_forecasts(world: OperatorWorld, files: Iterable[ResultFile], of: str, to: Path | str) -> Any:
    """Download the forecasts among the files, and read them as one table. Raises InvalidInput if there are none."""
    from agent.data.convert import read_parts  # noqa: PLC0415 - needs the extra `data`

    parts = [file for file in files if file.name.startswith(_FORECASTS) and file.name.endswith(".parquet")]
    if not parts:
        raise InvalidInput("run id", f"{of} has no forecasts", "wait until it has succeeded")
    folder = fetch(parts, to, world)
    return read_parts([file.path(folder) for file in parts])
