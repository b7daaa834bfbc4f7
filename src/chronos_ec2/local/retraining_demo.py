"""`python -m chronos_ec2.local.retraining_demo`: data arrive, and a model is retrained, promoted and put to use.

Nobody launches anything: on the embedded AWS the mark of a whole data set invokes the launcher function, and the end of
each run the next one. What happened is told by the messages of the topic, read from a queue.
"""

from __future__ import annotations

import csv
import json
import math
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

from chronos_ec2.aws.clients import client
from chronos_ec2.bootstrap.operator import operator_world
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Job
from chronos_ec2.domain.schedules.ledger import Entry
from chronos_ec2.local.demo import Demo, DemoFailed, Say
from chronos_ec2.local.lifecycle import local_aws
from chronos_ec2.local.state_dir import DEFAULT_STATE_DIR

OUTPUT = Path("build/demo-lifecycle")
_NAME, _DATA = "nightly", "waves"
_SERIES, _POINTS, _SEASON, _HORIZON = 60, 160, 8, 8
_CONTEXT = 32
_TRAIN = f"""\
data: {{path: training-data/{_DATA}/}}
prediction_length: {_HORIZON}
context_length: {_CONTEXT}
model: {{from_scratch: {{d_model: 32, d_kv: 16, d_ff: 64, num_layers: 1, num_heads: 2, patch: 4}}}}
training: {{steps: 400, batch_size: 32, learning_rate: 3e-3, checkpoint_steps: 200}}
evaluation: {{season_length: {_SEASON}}}
"""
_FORECAST = f"""\
job: forecast
data: {{path: training-data/{_DATA}/}}
prediction_length: {_HORIZON}
context_length: {_CONTEXT}
model: champion
"""
_LONGEST_WAIT = 600.0


def run_demo(state_dir: Path, output: Path, say: Say) -> dict[str, Any]:
    """Let data arrive four times, and a schedule do what follows. Returns the summary, and writes it.

    Raises:
        DemoFailed: a step failed; the message says why.
        LocalAwsFailed: the embedded AWS could not be started.
    """
    start = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    with local_aws(state_dir, say=say) as aws, aws.exported():
        world = operator_world(aws.environment)
        say(f"deployed stack {world.stack.name} with bucket {world.stack.bucket} to {aws.endpoint}")
        demo = _Retraining(aws, world, output, say)
        demo.order()
        summary = demo.live()
        demo.delete()
        summary["residue"] = demo.residue()
    summary["seconds"] = round(time.monotonic() - start, 1)
    (output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


class _Retraining(Demo):
    """A schedule that retrains on new data, promotes what is better, and forecasts with the champion."""

    def order(self) -> None:
        """Order the schedule."""
        train, forecast = self._output / "train.yaml", self._output / "forecast.yaml"
        train.write_text(_TRAIN)
        forecast.write_text(_FORECAST)
        self._command(
            "schedule", "create", _NAME, "--on-data", _DATA, "--config", str(train), "--promote", "better",
            "--then", str(forecast), "--allow-cpu", "--price", "0.5", "--max-cost", "2", "--max-cost-per-month", "50",
        )  # fmt: skip

    def live(self) -> dict[str, Any]:
        """Let data arrive, and check what becomes of them. Returns the summary so far."""
        self._say("data without a season arrive")
        first = self._retrained(self._write("flat", season=0.0))
        self._champion_is(first)
        self._say("data with a season arrive, which the champion knows nothing of")
        second = self._retrained(self._write("seasonal", season=3.0))
        self._champion_is(second)
        self._say("data arrive whose history is damaged")
        third = self._retrained(self._write("damaged", season=3.0, damaged=True))
        self._champion_is(second)
        self._say("the same data arrive again")
        self._unchanged(third)
        champions = [one["run_id"] for one in reversed(self._command("models", "show"))]
        self._expect(champions, [first, second])
        return {
            "messages": self.messages,
            "champions": champions,
            "kept_out": [third],
            "forecast_rows": [self._rows(one.run_id) for one in self._entries() if one.job is Job.FORECAST],
        }

    def delete(self) -> None:
        """Delete the schedule."""
        self._command("schedule", "delete", _NAME, "--yes")
        self._expect(self._command("schedule", "list"), [])

    # --- the steps ---------------------------------------------------------------------------------------------

    def _write(self, name: str, season: float, *, damaged: bool = False) -> Path:
        """Write series whose season has this height, in noise of height 1. Damaged ones have lost it until lately."""
        folder, random = self._output / name, Random(name)
        folder.mkdir(exist_ok=True)
        with (folder / f"{_DATA}.csv").open("w", newline="") as stream:
            rows = csv.writer(stream)
            rows.writerow(("item_id", "timestamp", "target"))
            for item in range(_SERIES):
                for at in range(_POINTS):
                    height = 0.0 if damaged and at < _POINTS - _CONTEXT - _HORIZON else season
                    value = 10 + height * math.sin(2 * math.pi * at / _SEASON) + random.gauss(0, 1)
                    rows.writerow((f"item-{item:02d}", date(2026, 1, 1) + timedelta(days=at), f"{value:.4f}"))
        return folder

    def _retrained(self, folder: Path) -> str:
        """Upload data, and wait for the training and the forecast that follow. Returns the run id of the training."""
        before = len(self._entries())
        self._command("upload", "data", str(folder), _DATA, "--replace")
        training, forecast = (self._ended(before, job) for job in (Job.TRAIN, Job.FORECAST))
        self._say(f"  forecast of {self._rows(forecast)} rows, with the champion")
        self._expect(len(self._entries()), before + 2)
        return training

    def _ended(self, before: int, job: Job) -> str:
        """Wait until a run of the schedule has started and succeeded. Returns its id."""

        def started() -> str | None:
            return next((one.run_id for one in self._entries()[before:] if one.job is job), None)

        run_id: str = self._wait_for(f"a run to {job}", started)
        self._say(f"run {run_id} has started by itself, to {job}")
        for _ in self._monitor(run_id):
            pass
        self._receive_messages(run_id)
        verdict = self._run(run_id).verdict
        self._expect(verdict and str(verdict.outcome), "succeeded")
        return run_id

    def _unchanged(self, last: str) -> None:
        """Upload the data of the last training again, and wait until the launcher function has seen that."""
        before, since = len(self._entries()), int(time.time() * 1000)
        self._command("upload", "data", str(self._output / "damaged"), _DATA, "--replace")
        reason = f"the data have not changed since run {last}"
        group, logs = f"/aws/lambda/{self._world.stack.name}-launcher", client("logs")

        def said() -> bool:
            found = logs.filter_log_events(logGroupName=group, startTime=since)["events"]
            return any(reason in event["message"] for event in found)

        self._wait_for("the launcher function", said)
        self._expect(len(self._entries()), before)
        self._say(f"  nothing has started: {reason}")

    def _champion_is(self, run_id: str) -> None:
        found = self._command("models", "show")[0]
        self._expect(found["run_id"], run_id)
        told = next(one for one in reversed(self.messages) if one["kind"] in ("promoted", "kept"))
        self._say(f"  {told['kind']}, because: {told['text']}; the champion is run {run_id}")

    # --- what there is -----------------------------------------------------------------------------------------

    def _entries(self) -> tuple[Entry, ...]:
        return self._world.schedules.orders.ledger(_NAME).ledger.entries

    def _rows(self, run_id: str) -> int:
        """How many rows a forecast has."""
        key = run_key(self._aws.environment, run_id, "forecasts/manifest.json")
        found = self._world.store.objects.read(key)
        if found is None:
            raise DemoFailed(f"run {run_id} has left no forecast")
        return int(json.loads(found.body)["rows"])

    def _wait_for(self, what: str, condition: Callable[[], Any]) -> Any:
        """Wait until something is true; what it is."""
        end = time.monotonic() + _LONGEST_WAIT
        while not (found := condition()):
            if time.monotonic() > end:
                raise DemoFailed(f"waited {_LONGEST_WAIT:.0f} s for {what}; logs are in {self._aws.state_dir}")
            time.sleep(0.5)
        return found


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    done = run_demo(DEFAULT_STATE_DIR, OUTPUT, _say)
    _say(f"done in {done['seconds']:.0f} s; summary: {OUTPUT / 'summary.json'}")
