"""`python -m verification.agent.interrupted_forecasts`: forecasts whose instance is lost, through the whole system.

The command line starts forecasts of the same data by the same model on the embedded AWS, each in a lane of its own.
Once a heartbeat tells of a checkpoint, the agent of one gets SIGKILL, another a spot notice from its metadata service,
and the instance of a third is terminated. The deployed watchdog starts the next attempt, which goes on from the parts
in S3. Their union must be that of the forecast without an interruption, byte for byte.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from chronos_ec2.bootstrap.operator import OperatorWorld, operator_world
from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.records.status import Cause, Outcome
from chronos_ec2.local import LocalAws, LocalAwsFailed, local_aws
from chronos_ec2.local.ec2.imds import announce_interruption
from chronos_ec2.local.state_dir import METADATA
from chronos_ec2.services.run_queries import find_run
from verification.agent.figures import note
from verification.agent.forecast_inputs import SETTINGS, write_inputs
from verification.agent.probe_runs import wait_for

Parts = Mapping[str, bytes]
SERIES = 400
LOST_TO = {"agent killed": Cause.INFRA, "spot notice": Cause.PREEMPTED, "instance terminated": Cause.INFRA}
"""What the first attempt is lost to, by what interrupts it."""
_AT_ONCE = 2
"""Runs at a time: imports of torch side by side take long."""
_TIMEOUT_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Row:
    """How a forecast ended. `lost`: what its first attempt was lost to; `resumed_from`: series that were done by then.

    `equal`: whether its parts are those of the forecast without an interruption.
    """

    interruption: str
    attempts: int
    lost: str
    resumed_from: int | None
    parts: int
    equal: bool

    @property
    def passed(self) -> bool:
        """Whether it was interrupted in the middle, and ended as if it had not been."""
        as_lost = self.attempts == 2 and self.lost == LOST_TO[self.interruption]
        return as_lost and self.equal and 0 < (self.resumed_from or 0) < SERIES


@dataclass(frozen=True, slots=True)
class _Operator:
    """A user at a terminal in a folder with the data and a model."""

    aws: LocalAws
    world: OperatorWorld
    folder: Path

    def run(self, *arguments: str) -> str:
        """The output of a command. Raises LocalAwsFailed with its error."""
        command, variables = [sys.executable, "-m", "chronos_ec2.cli", *arguments], self.aws.environ()
        done = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=self.folder, check=False)
        if done.returncode:
            raise LocalAwsFailed(f"chronos-ec2 {' '.join(arguments)}: {done.stderr}", "see the error above")
        return done.stdout

    def forecast(self, name: str) -> tuple[Row, Parts]:
        """Forecast in a lane of its own until the end, and interrupt it as `name` says after its first checkpoint."""
        lane = ("--lane", name.replace(" ", "-"), "--preemptions", "1", "--crashes", "1")
        launched = json.loads(self.run("forecast", "--config", "job.yaml", *lane, "--allow-cpu", "--json"))
        run_id, where = launched["run_id"], (self.world.store, self.aws.environment)

        def has_checkpoint() -> bool:
            read = self.world.store.read_heartbeat(self.aws.environment, run_id)
            return isinstance(read, HeartbeatReceived) and read.heartbeat.checkpoint_age is not None

        if name in LOST_TO:
            wait_for(has_checkpoint, _TIMEOUT_SECONDS, lambda: f"{name}: no checkpoint")
            self.interrupt(name, launched["instance_id"])
        wait_for(lambda: not find_run(*where, run_id).active, _TIMEOUT_SECONDS, lambda: f"{name}: no end")
        record = find_run(*where, run_id).run
        if record.verdict is None or record.verdict.outcome is not Outcome.SUCCEEDED:
            problem = f"{name}: attempt {record.attempt} ended with {record.verdict}"
            raise LocalAwsFailed(problem, "see the logs of the run")
        self.run("results", run_id, "--to", run_id)
        training = json.loads((self.folder / run_id / "training.json").read_text())
        parts = {part.name: part.read_bytes() for part in (self.folder / run_id / "forecasts").glob("part-*")}
        budgets = {Cause.PREEMPTED: record.preemptions_left, Cause.INFRA: record.crashes_left}
        lost = ", ".join(cause for cause, left in budgets.items() if not left)
        return Row(name, record.attempt, lost, training["resumed_from_step"], len(parts), False), parts

    def interrupt(self, how: str, instance_id: str) -> None:
        """Interrupt the run on an instance."""
        disk = self.aws.disk(instance_id)
        match how:
            case "agent killed":
                os.kill(int((disk / "agent.pid").read_text()), signal.SIGKILL)
            case "spot notice":
                announce_interruption(disk / METADATA, time.time())
            case "instance terminated":
                self.world.fleet.terminate(instance_id)


def measure(aws: LocalAws, folder: Path) -> list[Row]:
    """Interrupt a forecast in each way; `folder` is for the data and the results.

    Raises LocalAwsFailed: a command fails, or a run does not get on.
    """
    (folder / "many").mkdir()
    write_inputs(folder / "tiny", folder / "many" / "series.parquet", SERIES)
    job = SETTINGS | {
        "data": {"path": "training-data/many/"}, "model": "./tiny", "output": {"series_per_part": 1},
    }  # fmt: skip
    (folder / "job.yaml").write_text(json.dumps(job))
    with aws.exported(), ThreadPoolExecutor(_AT_ONCE) as pool:
        operator = _Operator(aws, operator_world(aws.environment), folder)
        operator.run("upload", "data", "./many", "many")
        (_, whole), *interrupted = pool.map(operator.forecast, ("none", *LOST_TO))
    if len(whole) != SERIES:
        raise LocalAwsFailed(f"{len(whole)} parts of {SERIES} series", "see the logs of the run in lane none")
    return [replace(row, equal=parts == whole) for row, parts in interrupted]


def main() -> int:
    """Interrupt forecasts, into build/agent.json. Returns 1 if one does not end as it should."""
    with TemporaryDirectory(prefix="chronos-ec2-") as folder:
        try:
            with local_aws(Path(folder) / "aws") as aws:
                rows = measure(aws, Path(folder))
        except LocalAwsFailed as error:
            sys.stderr.write(f"{error}\n")
            return 1
    note("interrupted_forecasts", [asdict(row) for row in rows])
    for row in rows:
        print(f"{row}: {'ok' if row.passed else 'FAILED'}")
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
