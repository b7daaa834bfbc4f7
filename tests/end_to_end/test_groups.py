"""Groups on the embedded AWS, by the commands that a user would type; nobody goes on with them but the watchdog."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agent.chronos.model.families import family_of
from agent.chronos.model.from_scratch import new_pipeline
from chronos_ec2.aws.clients import client
from chronos_ec2.bootstrap.operator import OperatorWorld, operator_world
from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, Outcome
from chronos_ec2.job_config.schema import FromScratch
from chronos_ec2.local.lifecycle import LocalAws
from chronos_ec2.services.run_queries import RunView, find_run

pytestmark = [pytest.mark.embedded_aws, pytest.mark.thorough]

SERIES, LENGTH, HORIZON, CONTEXT = 12, 60, 6, 24
_LONGEST = 900.0
FORECAST = (
    "forecast", "--data", "shops", "--horizon", str(HORIZON), "--context", str(CONTEXT), "--allow-cpu", "--price", "0.5"
)  # fmt: skip
GRID = f"""\
base:
  data: {{path: training-data/shops/}}
  prediction_length: {HORIZON}
  context_length: {CONTEXT}
  training: {{steps: 20, batch_size: 8, checkpoint_steps: 10, learning_rate: 0.003}}
  evaluation: {{season_length: 7, windows: 1}}
values:
  model.base: [./tiny, ./bolt, ./small]
"""
MODELS = {
    "tiny": FromScratch(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, patch=6),
    "small": FromScratch(d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2, patch=6),
    "bolt": FromScratch(family="chronos-bolt", d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, patch=6),
}


@dataclass
class Operator:
    """A user at a terminal whose folder has a tiny model and the file of a sweep."""

    aws: LocalAws
    world: OperatorWorld
    folder: Path

    def run(self, *arguments: str, code: int = 0) -> str:
        """The output of a command."""
        done = subprocess.run(
            [sys.executable, "-m", "chronos_ec2.cli", *arguments], text=True, env=self.aws.environ(),
            cwd=self.folder, capture_output=True, check=False, timeout=_LONGEST,
        )  # fmt: skip
        assert done.returncode == code, (arguments, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code))

    def followed(self, name: str, code: int = 0) -> Any:
        """A group at its end."""
        return json.loads(self.run("monitor", name, "--json", "--interval", "1", code=code).splitlines()[-1])

    def view(self, run_id: str) -> RunView:
        return find_run(self.world.store, self.aws.environment, run_id)

    def ended(self, run_id: str) -> Run:
        """Wait until a run is over and has freed its lane; its final record."""
        wait_for(f"{run_id} to end", lambda: self.known(run_id) and not self.view(run_id).active)
        return self.view(run_id).run

    def known(self, run_id: str) -> bool:
        return any(one["run_id"] == run_id for one in self.json("runs"))

    def trainer(self, run_id: str) -> int:
        """The process that works for a run, once it does."""

        def pid() -> int | None:
            heartbeat = self.view(run_id).heartbeat if self.known(run_id) else None
            return heartbeat.heartbeat.trainer_pid if isinstance(heartbeat, HeartbeatReceived) else None

        return int(wait_for(f"{run_id} to work", pid))

    def scores(self, run_id: str) -> Any:
        """The evaluation in a run's training.json."""
        key = f"{self.aws.environment}/{run_id}/training.json"
        body = client("s3").get_object(Bucket=self.world.stack.bucket, Key=key)["Body"].read()
        return json.loads(body)["evaluation"]

    def instances(self, run_id: str) -> int:
        """How many instances a run has had, by its receipt: the emulator soon forgets them. Waits for its end."""
        if not self.known(run_id):
            return 0
        self.ended(run_id)
        found = self.world.store.objects.read(f"{self.aws.environment}/{run_id}/cleanup_status.json")
        assert found
        return sum(one["kind"] == "instance" for one in json.loads(found.body)["resources"])

    def left(self, name: str) -> list[Any]:
        found: list[Any] = self.json("verify", name)["left"]
        return found


def wait_for(what: str, condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + _LONGEST
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {_LONGEST} s for {what}"
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def folder(embedded_aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a model, a sweep, and data whose upload is done."""
    made = tmp_path_factory.mktemp("groups")
    for name, shape in MODELS.items():
        family_of(new_pipeline(shape, CONTEXT, HORIZON), CONTEXT, HORIZON).save(made / name)
    (made / "grid.yaml").write_text(GRID)
    (made / "shops").mkdir()
    days = (np.datetime64("2024-01-01", "D") + np.arange(LENGTH)).astype("datetime64[ms]")
    values = 10.0 * np.arange(1, SERIES + 1)[:, None] + np.sin(np.arange(LENGTH) * 2 * np.pi / 7)
    table = pa.table(
        {
            "item_id": np.repeat([f"shop-{number}" for number in range(SERIES)], LENGTH),
            "timestamp": np.tile(days, SERIES),
            "target": values.ravel(),
        }
    )
    pq.write_table(table, made / "shops" / "shops.parquet")
    with embedded_aws.exported():
        Operator(embedded_aws, operator_world(embedded_aws.environment), made).run("upload", "data", "./shops", "shops")
    return made


@pytest.fixture
def operator(embedded_aws: LocalAws, folder: Path) -> Iterator[Operator]:
    with embedded_aws.exported():
        yield Operator(embedded_aws, operator_world(embedded_aws.environment), folder)


def forecasts(folder: Path) -> pa.Table:
    parts = [pq.read_table(part, partitioning=None) for part in sorted((folder / "forecasts").glob("*.parquet"))]
    return pa.concat_tables(parts).sort_by([("item_id", "ascending"), ("timestamp", "ascending")])


def test_shards_are_the_whole_forecast_and_each_is_started_by_the_end_of_the_one_before(operator: Operator) -> None:
    started = operator.json(
        *FORECAST, "--model", "./tiny", "--shards", "2", "--parallel", "1", "--max-cost", "2", "--name", "parts"
    )
    first, second = started["runs"]
    assert operator.world.groups.orders.ledger("parts").ledger.of(second) is None
    operator.run(*FORECAST, "--model", "./tiny", "--lane", "whole", "--to", "whole", "--yes")
    shown = operator.followed("parts")
    assert (shown["ended"], shown["succeeded"]) == (True, True)
    assert [operator.instances(run_id) for run_id in (first, second)] == [1, 1]
    operator.run("results", "parts", "--to", "parts")
    together, whole = forecasts(operator.folder / "parts"), forecasts(operator.folder / "whole")
    assert together.schema.equals(whole.schema)
    assert together.equals(whole)
    assert len(set(whole["item_id"].to_pylist())) == SERIES
    verdicts = [operator.ended(run_id).verdict for run_id in (first, second)]
    assert [one and one.outcome for one in verdicts] == [Outcome.SUCCEEDED, Outcome.SUCCEEDED]
    assert operator.left("parts") == []


def test_a_sweep_goes_on_after_a_hung_run_and_ranks_models_of_several_origins(operator: Operator) -> None:
    hung, *others = operator.json(
        "sweep", "grid.yaml", "--allow-cpu", "--price", "0.5", "--max-cost", "6", "--parallel", "1", "--crashes", "0",
        "--name", "origins",
    )["runs"]  # fmt: skip
    os.kill(operator.trainer(hung), signal.SIGSTOP)
    shown = operator.followed("origins", code=1)
    assert shown["summary"].startswith("2 of 3 runs have succeeded")
    assert [operator.instances(run_id) for run_id in (hung, *others)] == [1, 1, 1]
    verdict = operator.ended(hung).verdict
    assert verdict
    assert (verdict.outcome, verdict.cause) == (Outcome.FAILED, Cause.HUNG)
    found = operator.json("report", "origins")
    assert found["compared"] == 2
    scores = {run_id: operator.scores(run_id) for run_id in others}
    for one in found["runs"]:
        selection = scores[one["run_id"]]["selection"] if one["run_id"] in scores else {one["exported"]: None}
        assert one["score"] == selection[one["exported"]]
    best = min(others, key=lambda run_id: scores[run_id]["selection"][scores[run_id]["exported"]])
    assert found["best"]["run_id"] == best
    exported = scores[best]["models"][scores[best]["exported"]]
    assert found["best"]["test"] == {name: exported[name] for name in found["best"]["test"]}
    operator.run("results", "origins", "--to", "best")
    assert (operator.folder / "best" / "models" / "model.safetensors").exists()
    assert operator.left("origins") == []


def test_a_group_that_is_killed_starts_nothing_more_and_leaves_nothing(operator: Operator) -> None:
    name = "stopped"
    runs = operator.json(*FORECAST, "--model", "./tiny", "--shards", "3", "--parallel", "1", "--name", name)["runs"]
    operator.trainer(runs[0])
    assert operator.json("kill", name, "--reason", "wrong data")["runs"] == runs[:1]
    shown = operator.followed(name, code=1)
    assert shown["summary"].endswith("killed: wrong data")
    assert [one["status"] for one in shown["runs"][1:]] == ["not started", "not started"]
    assert [operator.instances(run_id) for run_id in runs] == [1, 0, 0]
    verdict = operator.ended(runs[0]).verdict
    assert verdict
    assert verdict.outcome is Outcome.KILLED
    operator.run("results", name, code=2)
    assert operator.left(name) == []
