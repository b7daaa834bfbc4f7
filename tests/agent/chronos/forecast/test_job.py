"""A forecast job: its rows, its equality with the trainer's evaluation, its parts, and how it goes on from them."""

from __future__ import annotations

import contextlib
import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from chronos import BaseChronosPipeline

from agent.chronos.batching.held_out import QUANTILES, hold_out
from agent.chronos.batching.sampler import WindowBatch
from agent.chronos.evaluate.predict import forecast_batches
from agent.chronos.model.families import family_of
from agent.data.ingest.read import read_panel
from agent.data.ingest.shards import _shard_of
from agent.protocol.forecast_parts import latest_parts
from agent.protocol.trainer import StoppedEarly, StopSignal
from agent.results.verdict import completed
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.records.status import Job
from chronos_ec2.job_config.data import Data
from tests.agent.builders import toy_series
from tests.agent.chronos.builders import CONTEXT, FAMILIES, HORIZON
from tests.agent.chronos.forecast.builders import MODEL, forecast, forecast_workdir, rows, with_covariates

LEVELS = [str(level) for level in QUANTILES]


def test_the_columns_are_those_of_predict_df(tmp_path: Path) -> None:
    workdir = forecast_workdir(tmp_path)
    forecast(workdir)
    found = rows(workdir).to_pandas()
    pipeline = BaseChronosPipeline.from_pretrained(str(workdir.reference(MODEL)))
    history = toy_series().to_pandas()
    theirs = pipeline.predict_df(history, prediction_length=HORIZON, context_length=CONTEXT, freq="D")

    assert list(found.columns) == list(theirs.columns)
    assert (found["item_id"] == theirs["item_id"]).all()
    assert (found["timestamp"] == theirs["timestamp"]).all()
    assert (found.dtypes[3:] == theirs.dtypes[3:]).all()
    # The library's quantiles may cross.
    np.testing.assert_allclose(found[LEVELS], np.sort(theirs[LEVELS], axis=1), rtol=1e-4)
    assert (found["predictions"] == found["0.5"]).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_windows_have_equal_numbers_in_the_evaluation_and_in_a_forecast(tmp_path: Path, family: str) -> None:
    whole = toy_series()
    cut = whole.filter(pc.less(whole["timestamp"], pa.scalar(np.datetime64("2024-02-24", "ms"))))
    workdir = forecast_workdir(tmp_path, cut, family)
    pq.write_table(whole, tmp_path / "whole.parquet")
    panel = read_panel([tmp_path / "whole.parquet"], Data.model_validate({"path": "x"}), 1, tmp_path / "whole")
    test = hold_out(panel, HORIZON, 1, 6)

    pipeline = BaseChronosPipeline.from_pretrained(str(workdir.reference(MODEL)))
    model = family_of(pipeline, CONTEXT, HORIZON)

    torch.manual_seed(0)
    evaluated = np.concatenate(list(forecast_batches(model, panel, WindowBatch(test.series, test.cutoffs[0]))))
    forecast(workdir)

    found = rows(workdir)
    numbers = np.stack([found[level].to_numpy() for level in LEVELS], axis=-1).reshape(evaluated.shape)
    np.testing.assert_array_equal(numbers, evaluated)


def test_ids_times_and_names_are_those_of_the_data(tmp_path: Path) -> None:
    months = pa.array(np.arange("2020-01", "2024-01", dtype="datetime64[M]").astype("datetime64[D]"), pa.date32())
    count = len(months)
    table = pa.table(
        {
            "shop": pa.array(np.repeat([7, 3], count), pa.int32()),
            "product": np.repeat(["b", "a"], count).tolist(),
            "month": pa.concat_arrays([months, months]),
            "sold": np.random.default_rng(0).normal(size=2 * count),
        }
    )
    workdir = forecast_workdir(tmp_path, table)
    forecast(
        workdir,
        data={"path": "x", "item_id": ["shop", "product"], "timestamp": "month", "target": "sold"},
        quantile_levels=[0.05, 0.95],
    )
    found = rows(workdir)

    assert found.column_names == ["shop", "product", "month", "target_name", "predictions", "0.05", "0.95"]
    assert found.schema.types[:3] == [pa.int32(), pa.string(), pa.date32()]
    assert found["shop"].to_pylist() == [3] * HORIZON + [7] * HORIZON
    assert [str(day) for day in found["month"].to_pylist()[:2]] == ["2024-01-01", "2024-02-01"]
    assert found["target_name"].unique().to_pylist() == ["sold"]
    assert pc.all(pc.less_equal(found["0.05"], found["predictions"])).as_py()
    assert pc.all(pc.less_equal(found["predictions"], found["0.95"])).as_py()


def test_csv_has_the_same_rows(tmp_path: Path) -> None:
    workdir = forecast_workdir(tmp_path)
    forecast(workdir, output={"format": "csv", "series_per_part": 5})
    lines = [line for part in sorted(workdir.forecast_parts.iterdir()) for line in part.read_text().splitlines()]
    assert [part.name for part in sorted(workdir.forecast_parts.iterdir())] == [
        "part-00000.csv", "part-00001.csv", "part-00002.csv"
    ]  # fmt: skip
    assert lines[0].startswith('"item_id","timestamp","target_name","predictions","0.1"')
    assert len(lines) == 3 + 12 * HORIZON


class StopsAfter(StopSignal):
    """SIGTERM after so many checks."""

    def __init__(self, checks: int) -> None:
        self.asked, self._left = False, checks

    def check(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise StoppedEarly


@pytest.mark.parametrize("family", FAMILIES)
def test_an_interrupted_forecast_goes_on_with_the_first_missing_part_and_ends_the_same(
    tmp_path: Path, family: str
) -> None:
    settings: dict[str, Any] = {"output": {"series_per_part": 2}, "batch_size": 2}
    whole = forecast_workdir(tmp_path / "whole", family=family)
    forecast(whole, **settings)
    cut = forecast_workdir(tmp_path / "cut", family=family)
    reached = []
    for checks in (6, 7, 9, 1000):
        try:
            forecast(cut, StopsAfter(checks), **settings)
        except StoppedEarly:
            reached.append(latest_parts(cut.checkpoints).items)

    assert 0 < reached[0] < reached[-1] < 12
    names = [path.name for path in sorted(whole.forecast_parts.glob("part-*"))]
    assert len(names) == 6
    for name in names:
        assert (cut.forecast_parts / name).read_bytes() == (whole.forecast_parts / name).read_bytes()
    assert latest_parts(cut.checkpoints) == latest_parts(whole.checkpoints)


def test_shards_have_the_same_forecasts(tmp_path: Path) -> None:
    one = forecast_workdir(tmp_path / "one")
    forecast(one)
    many = forecast_workdir(tmp_path / "many")
    result = forecast(many, shard_rows=200, output={"series_per_part": 3})

    by_item = [("item_id", "ascending"), ("timestamp", "ascending")]
    left, right = (rows(one).sort_by(by_item), rows(many).sort_by(by_item))
    assert left.select([0, 1, 2]) == right.select([0, 1, 2])
    np.testing.assert_allclose(left["0.9"].to_numpy(), right["0.9"].to_numpy(), rtol=1e-4)
    assert result["forecast"]["items"] == 12
    assert {shard for shard, _ in latest_parts(many.checkpoints).ends} == {0, 1, 2, 3}


def test_a_forecast_of_shards_goes_on_within_a_shard(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"shard_rows": 360, "output": {"series_per_part": 2}, "batch_size": 2}
    whole, cut = (forecast_workdir(tmp_path / name) for name in ("whole", "cut"))
    forecast(whole, **settings)
    reached = []
    for checks in (9, 10, 11, 1000):
        with contextlib.suppress(StoppedEarly):
            forecast(cut, StopsAfter(checks), **settings)
        reached.append(latest_parts(cut.checkpoints).items)
    assert any(items in {2, 4, 8, 10} for items in reached)
    for path in whole.forecast_parts.glob("part-*"):
        assert (cut.forecast_parts / path.name).read_bytes() == path.read_bytes()


def test_a_pattern_names_the_series(tmp_path: Path) -> None:
    workdir = forecast_workdir(tmp_path)
    forecast(workdir, series="item-0[13]")
    assert rows(workdir)["item_id"].unique().to_pylist() == ["item-01", "item-03"]
    with pytest.raises(InvalidInput, match="'shop' matches no series"):
        forecast(forecast_workdir(tmp_path / "none"), series="shop")


def test_series_of_one_number_or_one_point_are_forecast_and_those_without_any_are_counted(tmp_path: Path) -> None:
    """As `predict_df` has it for a constant; training refuses them."""
    flat, new = toy_series(2).slice(0, 60), toy_series(1, 1)
    flat = flat.set_column(0, "item_id", [["flat"] * 60]).set_column(2, "target", [np.full(60, 7.0)])
    new = new.set_column(0, "item_id", [["new"]])
    empty = flat.set_column(0, "item_id", [["empty"] * 60]).set_column(2, "target", [np.full(60, np.nan)])
    workdir = forecast_workdir(tmp_path, pa.concat_tables([toy_series(3), flat, empty, new]))
    result = forecast(workdir)

    found = rows(workdir)
    assert found["item_id"].unique().to_pylist() == ["flat", "item-00", "item-01", "item-02", "new"]
    constant = found.filter(pc.equal(found["item_id"], "flat"))
    pipeline = BaseChronosPipeline.from_pretrained(str(workdir.reference(MODEL)))
    theirs = pipeline.predict_df(flat.to_pandas(), prediction_length=HORIZON, context_length=CONTEXT, freq="D")
    np.testing.assert_allclose(constant.to_pandas()[LEVELS], np.sort(theirs[LEVELS], axis=1), rtol=1e-4)
    message = completed(Job.FORECAST, result).message
    assert message == "forecast 5 series, 30 rows in 1 part; 1 series without any number left out"
    report = (workdir.evaluation / "report.md").read_text()
    assert "1 of 6 series have no number, so there is nothing to forecast from, for instance empty" in report


def test_a_target_without_an_observation_to_forecast_from_has_no_numbers(tmp_path: Path) -> None:
    """Beside one that has some: the library makes up a forecast around zero."""
    table = toy_series()
    sales = table["target"].to_numpy().copy()
    per_series = len(sales) // 12
    sales[:per_series] = np.nan  # never observed
    sales[2 * per_series - CONTEXT : 2 * per_series] = np.nan  # not in the context
    sales[3 * per_series - CONTEXT + 1 : 3 * per_series] = np.nan  # once in the context
    workdir = forecast_workdir(tmp_path, table.append_column("sales", [sales]))
    result = forecast(workdir, data={"path": "x", "target": ["target", "sales"]}, output={"series_per_part": 6})
    found = rows(workdir)
    without = found.filter(pc.is_null(found["predictions"]))
    assert without.select(["item_id", "target_name"]).group_by(["item_id", "target_name"]).aggregate(
        [([], "count_all")]
    ).sort_by("item_id").to_pylist() == [
        {"item_id": name, "target_name": "sales", "count_all": HORIZON} for name in ("item-00", "item-01")
    ]  # fmt: skip
    assert {column.null_count for column in found.select(["predictions", *LEVELS]).columns} == {2 * HORIZON}
    assert result["forecast"]["rows_without_numbers"] == 2 * HORIZON
    assert completed(Job.FORECAST, result).message.endswith("; 12 rows of targets without observations have no numbers")
    assert "12 rows have no numbers: their targets" in (workdir.evaluation / "report.md").read_text()
    assert forecast(workdir, data={"path": "x", "target": ["target", "sales"]})["forecast"] == result["forecast"]


def test_a_resumed_forecast_reports_the_data_of_all_shards(tmp_path: Path) -> None:
    table = toy_series()
    target = table["target"].to_numpy().copy()
    target[:60] = np.nan
    workdir = forecast_workdir(tmp_path, table.set_column(2, "target", [target]))
    settings: dict[str, Any] = {"shard_rows": 200, "output": {"series_per_part": 1}, "batch_size": 2}
    whole = forecast(workdir, **settings)["forecast"]
    assert whole["left_out"] == 1
    assert forecast(workdir, **settings)["forecast"] == whole


def test_known_covariates_are_joined_to_each_series(tmp_path: Path) -> None:
    """As predict_df has it for numbers; rows of the future are in any order."""
    history, future = with_covariates(toy_series())
    numbers = ["item_id", "timestamp", "target", "price"]
    workdir = forecast_workdir(tmp_path, history.select(numbers))
    workdir.future.mkdir()
    shuffled = future.take(np.random.default_rng(0).permutation(future.num_rows))
    pq.write_table(shuffled, workdir.future / "next.parquet")
    forecast(workdir, data={"path": "x", "known_covariates": "price"}, future=True)

    pipeline = BaseChronosPipeline.from_pretrained(str(workdir.reference(MODEL)))
    theirs = pipeline.predict_df(
        history.select(numbers).to_pandas(), future.select(["item_id", "timestamp", "price"]).to_pandas(),
        prediction_length=HORIZON, context_length=CONTEXT, freq="D", validate_inputs=False,
    )  # fmt: skip
    np.testing.assert_allclose(rows(workdir).to_pandas()[LEVELS], np.sort(theirs[LEVELS], axis=1), rtol=1e-3)


def test_text_has_the_codes_that_the_model_was_trained_with(tmp_path: Path) -> None:
    """Not those of the texts that happen to be in the data."""
    history, future = with_covariates(toy_series())
    names, codes = {"day-4": "fri", "day-5": "sat"}, {"mon": 0, "fri": 1, "sat": 2}
    found = {}
    for kind in ("texts", "codes"):
        workdir = forecast_workdir(tmp_path / kind)
        workdir.future.mkdir()
        for table, path in ((history, workdir.data / "toy.parquet"), (future, workdir.future / "next.parquet")):
            texts = [names.get(day, "none of them") for day in table["day"].to_pylist()]
            values = texts if kind == "texts" else pa.array([codes.get(text) for text in texts], pa.float64())
            pq.write_table(table.set_column(table.column_names.index("day"), "day", pa.array(values)), path)
        given = {"path": "x", "known_covariates": ["price", "day"]}
        trained = workdir.reference(MODEL) / "covariates.json"
        if kind == "texts":
            trained.write_text(json.dumps({"categories": {"day": codes}}))
        forecast(workdir, data=given, future=True)
        found[kind] = rows(workdir)
    assert found["texts"] == found["codes"]
    trained.write_text(json.dumps({"categories": {"day": codes}}))
    shutil.rmtree(workdir.checkpoints)
    workdir.checkpoints.mkdir()
    with pytest.raises(
        InvalidInput, match="column 'day' of the data: is a number, and text in what the model was trai"
    ):
        forecast(workdir, data=given, future=True)


def test_cross_learning_is_an_option_of_chronos_2_and_in_the_report(tmp_path: Path) -> None:
    alone, together = (forecast_workdir(tmp_path / name) for name in ("alone", "together"))
    forecast(alone)
    forecast(together, cross_learning=True)
    pipeline = BaseChronosPipeline.from_pretrained(str(together.reference(MODEL)))
    theirs = pipeline.predict_df(
        toy_series().to_pandas(), prediction_length=HORIZON, context_length=CONTEXT, freq="D", cross_learning=True,
        batch_size=100,
    )  # fmt: skip
    assert rows(alone)["0.9"] != rows(together)["0.9"]
    np.testing.assert_allclose(rows(together).to_pandas()[LEVELS], np.sort(theirs[LEVELS], axis=1), rtol=1e-3)
    assert "Cross-learning is on" in (together.evaluation / "report.md").read_text()
    assert "Cross-learning" not in (alone.evaluation / "report.md").read_text()
    bolt = forecast_workdir(tmp_path / "bolt", family="chronos-bolt")
    with pytest.raises(InvalidInput, match="chronos-bolt forecasts each series by itself"):
        forecast(bolt, cross_learning=True)


def by_item(table: pa.Table) -> pa.Table:
    return table.sort_by([("item_id", "ascending"), ("timestamp", "ascending"), ("target_name", "ascending")])


@pytest.mark.parametrize("shard_rows", [1 << 24, 100])
def test_the_shards_together_are_the_forecast_row_for_row_and_each_series_is_in_one(
    tmp_path: Path, shard_rows: int
) -> None:
    history, future = with_covariates(toy_series())
    config: dict[str, Any] = {"data": {"path": "x", "known_covariates": ["price", "day"]}, "future": True}

    def made(name: str, **shard: Any) -> pa.Table:
        workdir = forecast_workdir(tmp_path / name, history)
        workdir.future.mkdir()
        pq.write_table(future, workdir.future / "future.parquet")
        found = forecast(workdir, shard_rows=shard_rows, **config, **shard)["forecast"]
        table = rows(workdir)
        assert found["items"] == len(table["item_id"].unique())
        return table

    whole = made("whole")
    parts = [made(f"shard-{index}", shard={"index": index, "of": 3}) for index in range(3)]
    series = [set(part["item_id"].to_pylist()) for part in parts]
    assert all(series)
    assert sum(map(len, series)) == len(set.union(*series)) == 12
    together = by_item(pa.concat_tables(parts))
    whole = by_item(whole)
    for name in ("item_id", "timestamp", "target_name"):
        assert together[name].equals(whole[name])
    for name in ["predictions", *LEVELS]:
        np.testing.assert_allclose(together[name], whole[name], rtol=1e-4, atol=1e-4)


def test_a_shard_without_a_series_is_an_empty_forecast(tmp_path: Path) -> None:
    empty = []
    for index in range(40):
        workdir = forecast_workdir(tmp_path / str(index))
        found = forecast(workdir, shard={"index": index, "of": 40})["forecast"]
        if not found["items"]:
            empty.append(found)
            break
    assert (empty[0]["rows"], empty[0]["parts"], empty[0]["first_timestamp"]) == (0, 0, None)
    assert "No series falls to this shard." in (workdir.evaluation / "report.md").read_text()
    assert completed(Job.FORECAST, {"forecast": empty[0]}).message == "forecast 0 series, 0 rows in 0 parts"


def test_the_shard_of_a_series_is_the_crc_32_of_its_name() -> None:
    """What the documentation says of it, so that others can tell where a series is."""
    names = pa.array(["a", "item-07", "\u00e4"])
    assert _shard_of([names], 8).tolist() == [zlib.crc32(name.encode()) % 8 for name in names.to_pylist()]
