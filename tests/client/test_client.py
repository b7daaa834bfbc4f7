"""The client: what the command does, from Python, against moto."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chronos_ec2 import Client
from chronos_ec2.aws.clients import client
from chronos_ec2.bootstrap.operator import operator_world
from chronos_ec2.client import RunHandle
from chronos_ec2.domain.errors import InvalidInput, LaneBusy, NotDeployed, RunNotFound
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Outcome
from chronos_ec2.services.run_queries import RunView
from chronos_ec2.testing.aws_server import BUCKET

CONFIG: dict[str, Any] = {
    "data": {"path": "training-data/sales/"},
    "prediction_length": 6,
    "model": {"from_scratch": {}},
}
NEW_MODEL: dict[str, Any] = {"model": {"from_scratch": {}}}
COLUMNS = {"item_id": ["a"] * 3 + ["b"] * 3, "timestamp": pd.date_range("2026-01-01", periods=3).tolist() * 2}


@pytest.fixture
def dev(deployed: str) -> Client:
    client("s3").put_object(Bucket=BUCKET, Key="cached-datasets/dev/training-data/sales/a.parquet", Body=b"PAR1")
    return Client("dev")


def end(run: RunHandle) -> None:
    """Kill a run, and let the watchdog conclude it."""
    run.kill(now=True, reason="enough")
    operator_world("dev").reconciler.sweep()


def long_frame() -> pd.DataFrame:
    return pd.DataFrame(COLUMNS | {"target": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]})


def uploaded(path: str, tmp_path: Path) -> pa.Table:
    prefix = f"cached-datasets/dev/{path}"
    keys = [one["Key"] for one in client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]]
    (key,) = (key for key in keys if key.endswith(".parquet"))
    copy = tmp_path / "uploaded.parquet"
    copy.write_bytes(client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())
    return pq.read_table(copy)


def test_importing_the_package_takes_nothing_with_it() -> None:
    program = "import sys, chronos_ec2; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"boto3", "pydantic", "pyarrow", "jinja2", "torch"} & set(eval(done.stdout))


def test_a_run_is_launched_watched_and_killed(dev: Client) -> None:
    run = dev.launch(CONFIG, max_cost=5, lane="second", allow_cpu=True)
    assert (run.status, run.verdict) == ("initialization", None)
    assert run.record.max_cost_usd == 5
    assert run.record.lane.name == "second"
    with pytest.raises(LaneBusy):
        dev.launch(CONFIG, lane="second")
    assert [found.run.run_id for found in dev.runs() if isinstance(found, RunView)] == [run.run_id]
    assert {finding.kind for finding in dev.verify()} >= {"instance", "lock", "schedule"}
    end(run)
    verdict = run.wait(interval=0)
    assert (verdict.outcome, verdict.message) == (Outcome.KILLED, "enough")
    assert run.cost_usd is not None
    assert dev.verify() == ()


def test_waiting_tells_each_change_and_ends_with_the_verdict(dev: Client) -> None:
    run, seen = dev.launch(CONFIG), list[str]()

    def note(view: RunView) -> None:
        seen.append(view.run.current_step)
        if view.active:
            end(run)

    assert run.wait(interval=0, on_change=note).outcome is Outcome.KILLED
    assert seen == ["launching", "ended_requested"]


def test_a_configuration_may_be_a_file(dev: Client, tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("data: {path: training-data/sales/}\nprediction_length: 9\nmodel: {from_scratch: {}}\n")
    assert dev.launch(path).status == "initialization"


def test_an_option_that_there_is_not_is_an_error(dev: Client) -> None:
    with pytest.raises(TypeError, match="no option max_costs"):
        dev.launch(CONFIG, max_costs=5)  # type: ignore[call-arg]
    assert dev.runs() == ()


@pytest.mark.parametrize(
    ("config", "options", "named"),
    [
        ({"prediction_length": 6}, {}, "data is missing"),
        (CONFIG | {"horizon": 6}, {}, "unknown key horizon"),
        (CONFIG, {"max_hours": -1}, "--max-hours"),
        (CONFIG, {"lane": "No Name"}, "not a valid name"),
        (CONFIG, {"resume": "20200101T000000Z-000000"}, "exclude each other"),
        ("no-such.yaml", {}, "no-such.yaml"),
        (CONFIG, {"on_demand_after": timedelta(minutes=5)}, "--on-demand-after"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_started(
    dev: Client, config: Any, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidInput, match=named):
        dev.launch(config, **options)
    assert dev.runs() == ()


def test_a_frame_is_trained_on(dev: Client, tmp_path: Path) -> None:
    later = long_frame().assign(timestamp=lambda rows: rows.timestamp + timedelta(days=3))
    frame = pd.concat([long_frame(), later]).sort_values(["item_id", "timestamp"], ignore_index=True)
    run = dev.fit(frame, 2, config=NEW_MODEL, max_cost=1)
    assert run.record.max_cost_usd == 1
    (path,) = {view.run.run_id for view in dev.runs() if isinstance(view, RunView)}
    assert path == run.run_id
    details = client("s3").list_objects_v2(Bucket=BUCKET, Prefix="cached-datasets/dev/training-data/frame-")
    name = details["Contents"][0]["Key"].split("/")[3]
    assert uploaded(f"training-data/{name}/", tmp_path).to_pydict() == pa.table(frame).to_pydict()


def test_the_same_frame_gets_the_same_name(dev: Client) -> None:
    assert dev.upload(long_frame()).data_path == dev.upload(long_frame().reset_index(drop=True)).data_path
    assert dev.upload(long_frame().assign(target=0.0)).data_path != dev.upload(long_frame()).data_path


class Streamed:
    """A frame of another library: all that is known of it is how to export it."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


def test_any_frame_that_arrow_reads_will_do(dev: Client, tmp_path: Path) -> None:
    wide = pa.table({"timestamp": COLUMNS["timestamp"][:3], "north": [1.0, 2.0, 3.0], "south": [4.0, 5.0, 6.0]})
    done = dev.upload(Streamed(wide), "shops")
    table = uploaded(done.data_path, tmp_path)
    assert done.data_path == "training-data/shops/"
    assert sorted(set(table["item_id"].to_pylist())) == ["north", "south"]


@pytest.mark.parametrize("frame", [None, 3, "sales.csv", {"a": object()}], ids=["nothing", "number", "path", "mapping"])
def test_what_is_no_frame_is_refused(dev: Client, frame: Any) -> None:
    with pytest.raises(InvalidInput, match="frame"):
        dev.upload(frame)


def test_a_wrong_key_is_refused_before_anything_is_uploaded(dev: Client) -> None:
    with pytest.raises(InvalidInput, match="trainig"):
        dev.fit(long_frame(), 2, config={"trainig": {}})
    found = client("s3").list_objects_v2(Bucket=BUCKET, Prefix="cached-datasets/dev/training-data/frame-")
    assert "Contents" not in found


@pytest.fixture
def ended(dev: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunHandle:
    monkeypatch.chdir(tmp_path)
    run = dev.launch(CONFIG)
    parts = {"forecasts.parquet": tmp_path / "f.parquet"}
    pq.write_table(pa.table({"item_id": ["a"], "0.5": [1.5]}), parts["forecasts.parquet"])
    client("s3").put_object(
        Bucket=BUCKET, Key=run_key("dev", run.run_id, "forecasts.parquet"), Body=parts["forecasts.parquet"].read_bytes()
    )
    client("s3").put_object(Bucket=BUCKET, Key=run_key("dev", run.run_id, "logs/trainer.log"), Body=b"one\ntwo")
    end(run)
    return run


def test_results_logs_and_report_of_a_run(ended: RunHandle, tmp_path: Path) -> None:
    assert list(ended.logs()) == ["one", "two"]
    assert list(ended.logs(follow=True, interval=0)) == ["one", "two"]
    assert ended.forecasts().to_pydict() == {"item_id": ["a"], "0.5": [1.5]}
    folder = ended.results()
    assert folder == Path(ended.run_id)
    assert (folder / "request.json").exists()
    assert ended.scores == {}
    assert ended.report(tmp_path / "r.html").read_text().startswith("<!doctype html>")


def test_a_run_without_forecasts_says_so(dev: Client) -> None:
    run = dev.launch(CONFIG)
    with pytest.raises(InvalidInput, match="no forecasts"):
        run.forecasts()


def test_a_run_that_does_not_exist(dev: Client) -> None:
    with pytest.raises(RunNotFound):
        _ = dev.run("20200101T000000Z-000000").status
    with pytest.raises(InvalidInput):
        dev.run("nonsense")


def test_an_environment_that_is_not_deployed(deployed: str) -> None:
    with pytest.raises(NotDeployed):
        Client("stage")
    with pytest.raises(InvalidInput):
        Client("No Name")
