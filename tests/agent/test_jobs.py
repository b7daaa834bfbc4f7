"""Forecast and evaluate jobs through the agent: phases, output, verdict, and attempts that go on with a part."""

from __future__ import annotations

import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agent.checkpoint.upload import store_checkpoint
from agent.lifecycle import FAILED, SUCCEEDED, run_agent
from agent.protocol.forecast_parts import PARTS, done_parts
from agent.protocol.workdir import Workdir
from agent.results.schema import problems
from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.records.request import DataObject, ModelReference
from chronos_ec2.domain.records.s3_keys import CHECKPOINTS, run_key
from chronos_ec2.domain.records.status import Cause, Job, Outcome, Status
from chronos_ec2.testing import Faults, MemoryAws
from chronos_ec2.worker.control import Control
from tests.agent.builders import RUN_ID, World, a_workdir, an_identity, launch, put_toy_series, the_run, toy_series
from tests.agent.chronos.builders import a_family
from tests.agent.chronos.forecast.builders import with_covariates

GIVEN = "amazon/chronos-2"
FORECAST: dict[str, Any] = {
    "job": "forecast", "data": {"path": "training-data/toy/"}, "prediction_length": 6, "context_length": 24,
    "model": GIVEN, "output": {"series_per_part": 5},
}  # fmt: skip
WITH_PRICES = FORECAST | {"data": {"path": "training-data/toy/", "known_covariates": ["price"]}, "future": True}
FUTURE = "cached-datasets/dev/training-data/next/part.parquet"
EVALUATE: dict[str, Any] = {
    "job": "evaluate", "data": {"path": "training-data/toy/"}, "prediction_length": 6, "context_length": 24,
    "models": [GIVEN], "evaluation": {"season_length": 6, "baselines": []},
}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World()
    put_toy_series(made, tmp_path)
    return made


@pytest.fixture
def model(world: World, tmp_path: Path) -> ModelReference:
    return a_model(world, tmp_path)


def a_model(world: World, tmp_path: Path) -> ModelReference:
    """A tiny model in the bucket, as `launch` leaves it there."""
    a_family("chronos-2").save(tmp_path / "model")
    prefix, hashes = "cached-datasets/models/tiny/", []
    for path in sorted((tmp_path / "model").iterdir()):
        world.memory.objects.write(prefix + path.name, path.read_bytes())
        hashes.append((path.name, hashlib.sha256(path.read_bytes()).hexdigest()))
    return ModelReference(GIVEN, f"s3://bucket/{prefix}", tuple(hashes))


def run_to_end(world: World, workdir: Workdir, control: Control | None = None) -> int:
    identity = an_identity(attempt=the_run(world).attempt)
    return run_agent(world, "bucket", identity, workdir, control or Control())


def body(world: World, name: str) -> bytes:
    return world.memory.objects.body(run_key("dev", RUN_ID, name))


def rows(world: World) -> pa.Table:
    keys = [part["key"] for part in world.document("forecasts/manifest.json")["parts"]]
    return pa.concat_tables(pq.read_table(io.BytesIO(world.memory.objects.body(key))) for key in keys)


@dataclass(frozen=True)
class Forecast:
    """A forecast job at its end, and each step that it has reported."""

    world: World
    model: ModelReference
    exit_code: int
    steps: tuple[str, ...]


def future_of(world: World) -> tuple[DataObject, ...]:
    """The file with the known covariates of the future."""
    return tuple(DataObject(one.key, one.size, one.etag) for one in world.memory.objects.listed(FUTURE))


@pytest.fixture(scope="module")
def forecast(tmp_path_factory: pytest.TempPathFactory) -> Forecast:
    """Runs once, because its trainer imports torch for seconds. Nobody may write into its world."""
    folder, steps, faults = tmp_path_factory.mktemp("forecast"), list[str](), Faults()
    world = World(MemoryAws(faults))
    history, future = with_covariates(toy_series())
    put_toy_series(world, folder, history.drop(["day"]))
    pq.write_table(future.drop(["day"]), folder / "future.parquet")
    world.memory.objects.write(FUTURE, (folder / "future.parquet").read_bytes())
    model = a_model(world, folder)
    launch(world, WITH_PRICES, job=Job.FORECAST, models=(model,), future=future_of(world))

    def seen(_key: str) -> None:
        steps.append(world.document("status.json")["step"])

    faults.hook("objects.write", seen, after=True, on="*/status.json")
    return Forecast(world, model, run_to_end(world, a_workdir(folder)), tuple(steps))


def test_a_forecast_goes_through_all_phases_and_leaves_parts_and_a_manifest(forecast: Forecast) -> None:
    world = forecast.world
    assert forecast.exit_code == SUCCEEDED

    run, manifest = the_run(world), world.document("forecasts/manifest.json")
    assert run.verdict is not None
    assert (run.verdict.outcome, run.verdict.message) == (Outcome.SUCCEEDED, "forecast 12 series, 72 rows in 3 parts")
    assert [status for status, _ in run.phases][2:4] == [Status.TRAINING, Status.RESULTS_SYNC]
    assert {name: manifest[name] for name in ("rows", "items", "quantiles_cross", "model", "format")} == {
        "rows": 72, "items": 12, "quantiles_cross": 0, "model": GIVEN, "format": "parquet"
    }  # fmt: skip
    assert (manifest["first_timestamp"], manifest["last_timestamp"]) == (
        "2024-03-01 00:00:00.000", "2024-03-06 00:00:00.000"
    )  # fmt: skip
    for part in manifest["parts"]:
        content = world.memory.objects.body(part["key"])
        assert hashlib.sha256(content).hexdigest() == part["sha256"]
        assert pq.read_table(io.BytesIO(content)).num_rows == part["rows"]
    assert [part["first_item"] for part in manifest["parts"]] == ["item-00", "item-05", "item-10"]
    assert rows(world).num_rows == 72
    assert {"eval/report.md", "plots/forecast.png"} < world.names()


def test_the_documents_of_a_forecast_name_its_job_model_and_result(forecast: Forecast) -> None:
    training, run = forecast.world.document("training.json"), forecast.world.document("run.json")
    assert problems(training) == []
    assert (training["job"], training["forecast"]["items"], training["model_uri"]) == ("forecast", 12, None)
    assert (run["job"], run["models"][0]["given"]) == ("forecast", GIVEN)
    assert run["training"]["family"] == "chronos-2"


def test_heartbeats_count_series_and_the_step_says_what_the_job_does(forecast: Forecast) -> None:
    heartbeat = forecast.world.store.read_heartbeat("dev", RUN_ID)
    assert isinstance(heartbeat, HeartbeatReceived)
    assert (heartbeat.heartbeat.step, heartbeat.heartbeat.total_steps) == (12, 12)
    assert "forecasting" in forecast.steps
    assert not any(step.startswith("step_") for step in forecast.steps)


def test_known_covariates_come_from_a_second_data_set(forecast: Forecast) -> None:
    assert forecast.exit_code == SUCCEEDED
    assert rows(forecast.world).num_rows == 72
    assert forecast.world.document("run.json")["future"]["files"][0]["key"] == FUTURE


@pytest.mark.thorough
def test_a_shard_to_which_no_series_falls_is_an_empty_forecast(
    world: World, tmp_path: Path, model: ModelReference
) -> None:
    put_toy_series(world, tmp_path, toy_series())
    taken = {zlib.crc32(f"item-{number:02d}".encode()) % 40 for number in range(12)}
    index = next(index for index in range(40) if index not in taken)
    launch(world, FORECAST | {"shard": {"index": index, "of": 40}}, job=Job.FORECAST, models=(model,))
    assert run_to_end(world, a_workdir(tmp_path)) == SUCCEEDED
    manifest, training = world.document("forecasts/manifest.json"), world.document("training.json")
    assert (manifest["rows"], manifest["items"], manifest["parts"]) == (0, 0, [])
    assert problems(training) == []
    assert training["message"] == "forecast 0 series, 0 rows in 0 parts"


def last_checkpoint(forecast: Forecast, folder: Path) -> Path:
    folder.mkdir()
    (folder / PARTS).write_bytes(body(forecast.world, f"checkpoints/12/{PARTS}"))
    return folder


@pytest.mark.parametrize(
    "torn",
    [
        pytest.param(None, marks=pytest.mark.thorough),
        pytest.param("forecasts/part-00000.parquet", marks=pytest.mark.thorough),
        "forecasts/part-00001.parquet",
    ],
)
def test_another_attempt_goes_on_with_the_first_part_that_is_not_whole(
    forecast: Forecast, tmp_path: Path, torn: str | None
) -> None:
    """The union of the parts is that of an uninterrupted run, byte for byte."""
    world, first = World(), forecast.world.memory.objects
    names = [f"forecasts/part-{number:05d}.parquet" for number in range(3)]
    whole = [body(forecast.world, name) for name in names]
    # What an instance leaves that is lost while it uploads the third part.
    step = done_parts(last_checkpoint(forecast, tmp_path / "last")).first(2).save(tmp_path)
    objects = world.memory.objects
    for key, _ in first.keys(""):
        if key.startswith("cached-datasets/") or key.endswith(("request.json", *names[:2])):
            objects.write(key, first.body(key))
    prefix = run_key("dev", RUN_ID, CHECKPOINTS)
    store_checkpoint(objects, world.transfer, prefix, tmp_path, step, lambda _: None)
    objects.write(run_key("dev", RUN_ID, names[2]), whole[2][:100])
    if torn is not None:
        # As long as it was: only its hash tells.
        content = bytearray(body(world, torn))
        content[50] ^= 1
        objects.write(run_key("dev", RUN_ID, torn), bytes(content))
    launch(world, WITH_PRICES, job=Job.FORECAST, models=(forecast.model,), future=future_of(world), attempt=2)

    assert run_to_end(world, a_workdir(tmp_path)) == SUCCEEDED

    assert [body(world, name) for name in names] == whole
    expected = {None: 10, names[0]: None, names[1]: 5}[torn]
    assert world.document("training.json")["resumed_from_step"] == expected
    assert world.document("forecasts/manifest.json")["items"] == 12


def test_a_model_that_has_changed_ends_the_run_before_it_is_loaded(
    world: World, tmp_path: Path, model: ModelReference
) -> None:
    launch(world, FORECAST, job=Job.FORECAST, models=(model,))
    world.memory.objects.write("cached-datasets/models/tiny/config.json", b"{}")
    assert run_to_end(world, a_workdir(tmp_path)) == FAILED
    verdict = the_run(world).verdict
    assert verdict is not None
    assert verdict.cause is Cause.USER_CODE
    assert "forecasts/manifest.json" not in world.names()


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, ModelReference]:
    """An evaluation at its end, and its model. Nobody may write into its world."""
    world, folder = World(), tmp_path_factory.mktemp("evaluation")
    put_toy_series(world, folder)
    model = a_model(world, folder)
    launch(world, EVALUATE, job=Job.EVALUATE, models=(model,))
    assert run_to_end(world, a_workdir(folder)) == SUCCEEDED
    return world, model


def test_an_evaluation_ends_with_its_sentence_and_uploads_the_comparison(
    evaluation: tuple[World, ModelReference],
) -> None:
    world, _ = evaluation
    training, verdict = world.document("training.json"), the_run(world).verdict
    assert verdict is not None
    assert verdict.message == training["comparison"]["verdict"]["sentence"]
    assert problems(training) == []
    assert {"eval/report.md", "eval/report.json", "eval/series.parquet", "forecasts.parquet"} < world.names()
    assert not any(name.startswith("models/") for name in world.names())


@pytest.mark.thorough
def test_another_attempt_loads_no_model_that_is_scored_and_says_the_same(
    evaluation: tuple[World, ModelReference], tmp_path: Path
) -> None:
    """In `make test` its parts stand alone: the next attempt of a forecast, and an interrupted comparison."""
    world, model = evaluation
    training = world.document("training.json")
    following, lost = World(), world.memory.objects
    for key, _ in lost.keys(""):
        if key.startswith("cached-datasets/") or "/checkpoints/" in key:
            following.memory.objects.write(key, lost.body(key))
    launch(following, EVALUATE, job=Job.EVALUATE, models=(model,), attempt=2)
    assert run_to_end(following, a_workdir(tmp_path / "following")) == SUCCEEDED
    again = following.document("training.json")
    assert again["resumed_from_step"] == 12
    assert again["comparison"] == training["comparison"]
    assert body(following, "forecasts.parquet") == body(world, "forecasts.parquet")
