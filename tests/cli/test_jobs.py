"""`forecast` and `evaluate`: from a data set and a model to a run that knows exactly what it will do."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Job, Outcome, Verdict
from chronos_ec2.testing.aws_server import BUCKET
from chronos_ec2.testing.builders import a_run
from tests.cli.conftest import Command
from tests.model_hub import FILES, MemoryHub
from tests.template.calls import aside

pytestmark = pytest.mark.usefixtures("data", "hub")
NAME, TRAINED = "amazon/chronos-2", "20260131T100000Z-00000a"
SUCCEEDED = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "forecast 2 items, 12 rows", DecidedBy.AGENT)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def trained(deployed: str) -> str:
    """A run that has exported a model."""
    run = a_run(run_id=TRAINED, lane=Lane("dev"), models=(("config.json", "a" * 64), ("model.safetensors", "b" * 64)))
    put("state.json", run.to_json(), TRAINED)
    for name in ("config.json", "model.safetensors"):
        put(f"models/{name}", FILES[name], TRAINED)
    return f"run:{TRAINED}"


def put(name: str, body: bytes, run_id: str) -> None:
    """Write as the watchdog or an instance does, which nobody asks the operator's rights for."""
    aside("s3").put_object(Bucket=BUCKET, Key=run_key("dev", run_id, name), Body=body)


def read(key: str) -> Any:
    return json.loads(client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())


def request_of(run_id: str) -> Any:
    return read(run_key("dev", run_id, "request.json"))


def keys(prefix: str = "") -> list[str]:
    return [each["Key"] for each in client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]


def a_folder(path: Path, horizon_ahead: int = 0) -> Path:
    """Two series of monthly sales as CSV; or only their next months, with the price that is known."""
    path.mkdir()
    months = [f"{2023 + month // 12}-{month % 12 + 1:02d}-01" for month in range(24)]
    chosen = months[12 : 12 + horizon_ahead] if horizon_ahead else months[:12]
    lines = ["shop,month,price" if horizon_ahead else "shop,month,price,sales"]
    for shop in ("north", "south"):
        for index, month in enumerate(chosen):
            lines.append(f"{shop},{month},{index % 3}.5" + ("" if horizon_ahead else f",{index * 2 + len(shop)}.25"))
    (path / "sales.csv").write_text("\n".join(lines) + "\n")
    return path


COLUMNS = ("--item-id", "shop", "--timestamp", "month", "--target", "sales")


def test_a_first_forecast_needs_a_data_set_and_a_horizon(run: Command, hub: MemoryHub) -> None:
    started = run("forecast", "--data", "sales", "--horizon", "28", "--json").json
    request = request_of(started["run_id"])
    assert (request["job"], read("dev/system-state.json")["job"]) == ("forecast", "forecast")
    config = request["config"]
    assert (config["job"], config["model"], config["prediction_length"]) == ("forecast", NAME, 28)
    assert config["data"]["path"] == "training-data/sales/"
    assert [one["key"] for one in request["dataset"]] == ["cached-datasets/dev/training-data/sales/a.parquet"]
    (model,) = request["models"]
    prefix = model["uri"].removeprefix(f"s3://{BUCKET}/")
    assert model["given"] == NAME
    assert (
        sorted(model["sha256"])
        == [key.removeprefix(prefix) for key in keys(prefix)]
        == ["config.json", "model.safetensors"]
    )
    assert request["future"] == []


def test_a_forecast_has_a_small_gpu_and_four_hours_unless_somebody_says_otherwise(run: Command) -> None:
    plan = run("forecast", "--data", "sales", "--horizon", "28", "--plan", "--json").json["plan"]
    assert [each["type"] for each in plan["instance_types"]] == ["g6.xlarge", "g5.xlarge", "g4dn.xlarge"]
    assert (plan["job"], plan["max_hours"]) == ("forecast", 4.0)
    options = ("--instance-type", "g5.2xlarge", "--max-hours", "9", "--spot", "--max-cost", "2")
    plan = run("forecast", "--data", "sales", "--horizon", "28", *options, "--plan", "--json").json["plan"]
    assert [each["type"] for each in plan["instance_types"]] == ["g5.2xlarge"]
    assert (plan["max_hours"], plan["market"], plan["max_cost_usd"]) == (9.0, "spot", 2.0)


def test_a_plan_shows_the_model_and_writes_nothing(run: Command, hub: MemoryHub) -> None:
    before = keys()
    text = " ".join(run("forecast", "--data", "sales", "--horizon", "28", "--plan").out.split())
    commit = hub.put(NAME)
    assert f"forecasts 28 points with {NAME}" in text
    assert f"model {NAME}@{commit[:12]}, 0.0 MB, which is copied into the bucket first" in text
    assert keys() == before
    run("forecast", "--data", "sales", "--horizon", "28", "--json")
    text = run("evaluate", "--data", "sales", "--horizon", "28", "--windows", "3", "--plan", "--lane", "second").out
    assert f"{NAME}@{commit[:12]}, 0.0 MB, in the bucket" in text
    assert f"{NAME} on 3 x 28 points" in text


@pytest.mark.parametrize("models", ["", " ", ","])
def test_an_evaluation_of_no_model_is_refused(run: Command, models: str) -> None:
    result = run("evaluate", "--data", "sales", "--horizon", "6", "--models", models)
    assert result.code == 2
    assert "error: the options: models: " in result.err


def test_an_evaluation_pins_every_model_however_it_is_named(run: Command, trained: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("config.json", "model.safetensors"):
        (mine / name).write_bytes(FILES[name] + b" ")
    models = f"{NAME},amazon/chronos-bolt-tiny,{trained},./mine"
    options = ("--models", models, "--windows", "3", "--season", "12")
    started = run("evaluate", "--data", "sales", "--horizon", "6", *options, "--json").json
    request = request_of(started["run_id"])
    assert request["config"]["evaluation"]["windows"] == 3
    assert request["config"]["evaluation"]["season_length"] == 12
    assert [one["given"] for one in request["models"]] == models.split(",")
    assert len({one["uri"] for one in request["models"]}) == 4
    assert request["models"][2]["sha256"] == {"config.json": "a" * 64, "model.safetensors": "b" * 64}
    # The one that was copied can be named by where it is, too.
    uri = request["models"][0]["uri"]
    again = run("forecast", "--data", "sales", "--horizon", "6", "--model", uri, "--lane", "second", "--json")
    assert again.err == ""
    again = again.json
    assert request_of(again["run_id"])["models"][0]["sha256"] == request["models"][0]["sha256"]


def test_a_training_pins_its_base_and_the_champion(run: Command, trained: str, tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(
        f"data: {{path: training-data/sales/}}\nprediction_length: 6\nevaluation: {{champion: '{trained}'}}\n"
    )
    started = run("launch", "--config", str(config), "--json").json
    request = request_of(started["run_id"])
    assert [one["given"] for one in request["models"]] == [NAME, trained]
    assert (request["job"], started["plan"]["job"]) == ("train", "train")


def test_files_of_this_machine_are_converted_checked_and_uploaded(run: Command, tmp_path: Path) -> None:
    a_folder(tmp_path / "Shop Sales")
    options = ("--data", "./Shop Sales", "--horizon", "3", *COLUMNS, "--json")
    request = request_of(run("forecast", *options).json["run_id"])
    path = request["config"]["data"]["path"]
    assert path.startswith("training-data/shop-sales-")
    assert request["config"]["data"]["item_id"] == ["shop"]
    (one,) = request["dataset"]
    assert one["key"] == f"cached-datasets/dev/{path}sales.csv.parquet"
    assert one["etag"]
    # The same files are the same data set, and others are another one.
    before = keys("cached-datasets/dev/training-data/")
    assert request_of(run("forecast", *options, "--lane", "b").json["run_id"])["dataset"] == request["dataset"]
    assert keys("cached-datasets/dev/training-data/") == before
    (tmp_path / "Shop Sales" / "sales.csv").write_text(
        (tmp_path / "Shop Sales" / "sales.csv").read_text().replace("2.5", "3.5")
    )
    assert request_of(run("forecast", *options, "--lane", "c").json["run_id"])["config"]["data"]["path"] != path


def test_one_file_is_enough(run: Command, tmp_path: Path) -> None:
    a_folder(tmp_path / "sales")
    text = run("forecast", "--data", "sales/sales.csv", "--horizon", "3", *COLUMNS).out
    assert "converted 1 file of sales/sales.csv to Parquet, 24 rows" in text
    assert "forecasts 3 points" in text


def test_a_training_takes_files_of_this_machine_too(run: Command, tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text("data: {path: x, item_id: shop, timestamp: month, target: sales}\nprediction_length: 3\n")
    a_folder(tmp_path / "sales")
    started = run("launch", "--config", str(config), "--data", "./sales", "--json").json
    assert started["plan"]["data"]["path"].startswith("training-data/sales-")
    assert request_of(started["run_id"])["config"]["data"]["item_id"] == ["shop"]


@pytest.mark.parametrize("command", ["forecast", "evaluate"])
def test_data_that_a_run_would_refuse_are_refused_here(run: Command, tmp_path: Path, command: str) -> None:
    a_folder(tmp_path / "sales")
    table = tmp_path / "sales" / "sales.csv"
    table.write_text(table.read_text() + "north,2023-03-01,1.5,9.25\n")
    before = keys()
    result = run(command, "--data", "./sales", "--horizon", "3", *COLUMNS)
    assert result.code == 2
    assert "a run would refuse the data: 1 times occur twice" in result.err or "duplicate" in result.err
    assert "data.problems.duplicates" in result.err
    assert keys() == before


SOME = ("--data", "sales", "--horizon", "3")
NO_DATA = "data.path: no .parquet files below cached-datasets/dev/training-data/nothing/"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "--data: is missing"),
        (("--data", "sales"), "--horizon: is missing"),
        (("--data", "./nowhere", "--horizon", "3"), "--data: there is no ./nowhere"),
        (("--data", "nothing", "--horizon", "3"), NO_DATA),
        ((*SOME, "--model", "chronos-2"), "model: chronos-2: does not name a model"),
        ((*SOME, "--model", "amazon/nothing"), "amazon/nothing: the hub has no such model"),
        ((*SOME, "--model", f"{NAME}@v9"), "the hub has no revision v9"),
        ((*SOME, "--model", f"run:{TRAINED}"), f"no run {TRAINED} in environment dev"),
        ((*SOME, "--quantiles", "0.5,high"), "--quantiles: '0.5,high' is not a list of numbers"),
        ((*SOME, "--quantiles", "0.5,1.5"), "quantile_levels.1: "),
        ((*SOME, "--max-hours", "0.01"), "--max-hours: 0.01 is too short"),
        ((*SOME, "--instance-type", "big"), "--instance-type: 'big' is not an instance type"),
        ((*SOME, "--config", "train.yaml"), "train.yaml: is of job train, not forecast"),
        ((*SOME, "--config", "training.yaml"), "unknown key training, which is for job: train"),
        ((*SOME, "--config", "future.yaml"), "--future: the configuration has future: true"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_written(
    run: Command, tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    (tmp_path / "train.yaml").write_text("job: train\n")
    (tmp_path / "training.yaml").write_text("training: {steps: 5}\n")
    (tmp_path / "future.yaml").write_text("future: true\ndata: {known_covariates: price}\n")
    before = keys()
    result = run("forecast", *arguments)
    assert result.code == 2
    assert problem in result.err
    assert "hint: " in result.err
    assert keys() == before


def test_a_folder_that_is_named_like_a_data_set_is_hinted_at(run: Command, tmp_path: Path) -> None:
    a_folder(tmp_path / "shops")
    result = run("forecast", "--data", "shops", "--horizon", "3")
    assert "--data: the bucket has no data set shops" in result.err
    assert "hint: `--data ./shops` uploads the one on this machine" in result.err


def test_options_change_single_keys_of_a_file(run: Command, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        "job: forecast\ndata: {path: training-data/sales/, target: [a, b]}\nprediction_length: 6\n"
        "output: {series_per_part: 7}\n"
    )
    options = ("--config", "job.yaml", "--horizon", "12", "--format", "csv", "--quantiles", "0.9,0.1", "--series", "a*")
    config = request_of(run("forecast", *options, "--json").json["run_id"])["config"]
    assert (config["prediction_length"], config["series"]) == (12, "a*")
    assert config["output"] == {"format": "csv", "series_per_part": 7}
    assert config["quantile_levels"] == [0.1, 0.9]
    assert config["data"]["target"] == ["a", "b"]
    # `launch` takes the file as it is, too.
    again = run("launch", "--config", "job.yaml", "--lane", "second", "--json").json
    assert request_of(again["run_id"])["job"] == "forecast"


def test_without_the_hub_s_library_one_line_says_how_to_install_it(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", None)
    result = run("forecast", "--data", "sales", "--horizon", "3")
    assert (result.code, "which needs huggingface_hub.errors" in result.err) == (2, True)
    assert "hint: pip install -e '.[hub]'" in result.err


def test_without_the_extra_for_data_one_line_says_how_to_install_it(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sales").mkdir()
    (tmp_path / "sales" / "a.parquet").write_bytes(b"PAR1data-PAR1")
    monkeypatch.setitem(sys.modules, "agent.data", None)
    result = run("forecast", "--data", "./sales", "--horizon", "3")
    assert (result.code, "--data: files are checked before a launch, which needs agent.data" in result.err) == (2, True)
    assert "hint: pip install -e '.[data]'" in result.err


def test_results_are_downloaded_once_the_run_is_over(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def conclude(_seconds: float) -> None:
        """What agent and watchdog do meanwhile."""
        s3 = aside("s3")
        lock = json.loads(s3.get_object(Bucket=BUCKET, Key="dev/system-state.json")["Body"].read())
        run_id, now = lock["run_id"], datetime.fromisoformat(lock["created_at"])
        ended = a_run(
            run_id=run_id, lane=Lane("dev"), created_at=now, ended_at=now + timedelta(minutes=9), job=Job.FORECAST
        )
        put("forecasts/part-00000.parquet", b"PAR1", run_id)
        put("forecasts/manifest.json", b'{"rows": 12, "items": 2}', run_id)
        put("state.json", ended.end(SUCCEEDED, now).to_json(), run_id)
        s3.delete_object(Bucket=BUCKET, Key="dev/system-state.json")

    monkeypatch.setattr("time.sleep", conclude)
    done = run("forecast", "--data", "sales", "--horizon", "6", "--to", "out")
    assert (done.code, done.err) == (0, "")
    assert "succeeded (completed): forecast 2 items, 12 rows" in done.out
    assert (tmp_path / "out" / "forecasts" / "part-00000.parquet").read_bytes() == b"PAR1"


def test_the_columns_of_the_future_are_the_known_covariates(run: Command, tmp_path: Path) -> None:
    a_folder(tmp_path / "sales")
    a_folder(tmp_path / "ahead", 3)
    options = ("--data", "./sales", "--future", "./ahead", "--horizon", "3", *COLUMNS, "--json")
    request = request_of(run("forecast", *options).json["run_id"])
    assert request["config"]["future"] is True
    assert request["config"]["data"]["known_covariates"] == ["price"]
    (one,) = request["future"]
    assert one["key"].startswith("cached-datasets/dev/training-data/ahead-")
    assert one["etag"]
    # Both are in the bucket now, and can be named by their paths there.
    future = one["key"].removeprefix("cached-datasets/dev/").rpartition("/")[0] + "/"
    again = ("--data", request["config"]["data"]["path"], "--future", future, "--horizon", "3", *COLUMNS)
    second = request_of(run("forecast", *again, "--lane", "second", "--json").json["run_id"])
    assert (second["dataset"], second["future"]) == (request["dataset"], request["future"])
    assert second["config"]["data"]["known_covariates"] == ["price"]


def test_a_point_without_known_covariates_is_named_before_the_launch(run: Command, tmp_path: Path) -> None:
    a_folder(tmp_path / "sales")
    table = a_folder(tmp_path / "ahead", 3) / "sales.csv"
    table.write_text(
        "".join(line for line in table.read_text().splitlines(keepends=True) if "south,2024-02" not in line)
    )
    before = keys()
    result = run("forecast", "--data", "./sales", "--future", "./ahead", "--horizon", "3", *COLUMNS)
    assert result.code == 2
    assert "1 of 6 points to forecast have no row, in 1 of 2 series, for instance 2024-02-01" in result.err
    assert keys() == before
