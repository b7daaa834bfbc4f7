"""Data as people have them, through the commands: checked, uploaded, forecast and evaluated by the real agent.

The forecasts have the names, the types and the series of the data, and go on where each series ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from agent.chronos.model.families import family_of
from agent.chronos.model.from_scratch import new_pipeline
from chronos_ec2.job_config.schema import FromScratch
from chronos_ec2.local.lifecycle import LocalAws

pytestmark = [pytest.mark.embedded_aws, pytest.mark.thorough]

LENGTH, HORIZON, CONTEXT = 40, 6, 24
DAYS = (np.datetime64("2024-01-01", "D") + np.arange(LENGTH + HORIZON)).astype("datetime64[ms]")
PAST, NEXT = DAYS[:LENGTH], DAYS[LENGTH]
_TIMEOUT_SECONDS = 900
AT_ONCE = 2
"""Jobs at a time, each in its own lane: an import of torch that takes half a minute is a run that hangs."""


def values(series: int = 3, length: int = LENGTH) -> Any:
    """(series, length): a season of 7 at another level for each series."""
    return 10.0 * np.arange(1, series + 1)[:, None] + np.sin(np.arange(length) * 2 * np.pi / 7)


def long_table(ids: Mapping[str, pa.Array], target: str = "target", timestamp: str = "timestamp") -> pa.Table:
    """A row per series and day; `ids` has the names of the series by column."""
    count = len(next(iter(ids.values())))
    series = np.repeat(np.arange(count), LENGTH)
    columns = {name: names.take(pa.array(series)) for name, names in ids.items()}
    return pa.table(columns | {timestamp: np.tile(PAST, count), target: values(count).ravel()})


SHOPS = pa.array(["north", "south", "west"])
NUMBERS = pa.array([907, 12, 5], pa.int64())


def wide_csv(folder: Path) -> None:
    rows = [",".join(["day", *SHOPS.to_pylist()])]
    for day, row in zip(PAST.tolist(), values().T, strict=True):
        rows.append(",".join([f"{day:%d.%m.%Y}", *(f"{one:.4f}" for one in row)]))
    (folder / "wide.csv").write_text("\n".join(rows) + "\n")


def feather_with_gaps(folder: Path) -> None:
    table = long_table({"item_id": SHOPS})
    feather.write_feather(table.take(pa.array([row for row in range(len(table)) if row % LENGTH != 20])),
                          folder / "sales.feather")  # fmt: skip


def hive_folders(folder: Path) -> None:
    table = long_table({"shop": NUMBERS}, "sales", "day")
    for country in ("DE", "FR"):
        (folder / f"country={country}").mkdir()
        pq.write_table(table, folder / f"country={country}" / "part-0.parquet")


def numbered_with_own_names(folder: Path) -> None:
    pq.write_table(long_table({"shop": NUMBERS.cast(pa.int32())}, "sales", "day"), folder / "a.parquet")


def text_dates(folder: Path) -> None:
    table = long_table({"item_id": SHOPS})
    days = pa.array([f"{day:%Y-%m-%d}" for day in table["timestamp"].to_pylist()])
    pa_csv.write_csv(table.set_column(1, "timestamp", days), folder / "sales.csv")


OWN_NAMES = ("--timestamp", "day", "--target", "sales")


@dataclass(frozen=True)
class Case:
    """Files, the options and keys that they need, and what is right of their forecasts.

    `given`: the arguments with which jobs name the data; a name of the bucket is uploaded first.
    """

    write: Callable[[Path], None]
    given: str
    ids: Mapping[str, pa.DataType]
    names: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    form: tuple[str, ...] = ()
    series: int = 3
    converted: int = 0
    findings: tuple[str, ...] = ()

    @property
    def timestamp(self) -> str:
        return str(self.settings.get("timestamp", "timestamp"))


CASES = {
    "wide": Case(
        wide_csv, "./wide", {"item_id": pa.string()}, ("--timestamp", "day"), {"timestamp": "day"},
        ("--timestamp-format", "%d.%m.%Y"), converted=1,
    ),
    "gaps": Case(feather_with_gaps, "./gaps", {"item_id": pa.string()}, converted=1, findings=("gaps",)),
    "hive": Case(
        hive_folders, "hive", {"country": pa.string(), "shop": pa.int64()}, ("--item-id", "country,shop", *OWN_NAMES),
        {"item_id": ["country", "shop"], "timestamp": "day", "target": "sales"}, series=6,
    ),
    "numbers": Case(
        numbered_with_own_names, "numbers", {"shop": pa.int32()}, ("--item-id", "shop", *OWN_NAMES),
        {"item_id": "shop", "timestamp": "day", "target": "sales"},
    ),
    "text": Case(text_dates, "./text", {"item_id": pa.string()}, converted=1),
}  # fmt: skip
EVALUATED = ("wide", "hive")


@dataclass
class Operator:
    """A user at a terminal whose folder has the data of all cases and a tiny model."""

    aws: LocalAws
    folder: Path

    def run(self, *arguments: str) -> str:
        """The output of a command that succeeds."""
        command = [sys.executable, "-m", "chronos_ec2.cli", *arguments]
        done = subprocess.run(
            command, text=True, env=self.aws.environ(), cwd=self.folder, capture_output=True, check=False,
            timeout=_TIMEOUT_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, (arguments, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout

    def config(self, name: str) -> str:
        """A configuration that names the columns of a case."""
        data = {"path": "training-data/x/"} | dict(CASES[name].settings)
        (self.folder / f"{name}.yaml").write_text(json.dumps({"data": data, "prediction_length": HORIZON}))
        return f"{name}.yaml"

    def job(self, job: str, name: str, *more: str) -> None:
        """Run a job on the data of a case; its results go into a folder named after both."""
        case = CASES[name]
        self.run(
            job, "--data", case.given, *case.names, *case.form, "--horizon", str(HORIZON), "--context", str(CONTEXT),
            "--lane", f"{job}-{name}", "--allow-cpu", "--to", f"{job}-{name}", "--yes", *more,
        )  # fmt: skip


@pytest.fixture(scope="module")
def operator(embedded_aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """After all jobs."""
    user = Operator(embedded_aws, tmp_path_factory.mktemp("jobs"))
    shape = FromScratch(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, patch=6)
    family_of(new_pipeline(shape, CONTEXT, HORIZON), CONTEXT, HORIZON).save(user.folder / "tiny")
    for name, case in CASES.items():
        (user.folder / name).mkdir()
        case.write(user.folder / name)
        if not case.given.startswith("."):
            user.run("upload", "data", f"./{name}", name)
    jobs = [("forecast", name, "--model", "./tiny") for name in CASES]
    jobs += [("evaluate", name, "--models", "./tiny", "--windows", "2", "--season", "7") for name in EVALUATED]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda job: user.job(*job), jobs))
    return user


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_check_sees_the_series_that_a_run_forecasts(operator: Operator, name: str) -> None:
    case = CASES[name]
    found = json.loads(operator.run("data", "check", name, "--config", operator.config(name), *case.form, "--json"))
    assert (found["accepted"], found["converted"]) == (True, case.converted)
    assert found["summary"]["series"] == case.series
    assert tuple(one["kind"] for one in found["findings"]) == case.findings


def test_a_forecast_has_the_names_and_types_of_its_data_and_goes_on_where_they_end(
    operator: Operator, name: str
) -> None:
    case = CASES[name]
    parts = sorted((operator.folder / f"forecast-{name}" / "forecasts").glob("*.parquet"))
    table = pa.concat_tables([pq.read_table(part, partitioning=None) for part in parts])
    assert table.column_names[: len(case.ids) + 2] == [*case.ids, case.timestamp, "target_name"]
    assert {column: table.schema.field(column).type for column in case.ids} == case.ids
    series = table.group_by(list(case.ids)).aggregate([(case.timestamp, "min"), (case.timestamp, "count")])
    assert len(series) == case.series
    assert set(series[f"{case.timestamp}_count"].to_pylist()) == {HORIZON}
    assert {np.datetime64(first, "ms") for first in series[f"{case.timestamp}_min"].to_pylist()} == {NEXT}
    assert np.isfinite(table["predictions"].to_numpy()).all()


def test_an_id_is_what_it_was(operator: Operator, name: str) -> None:
    parts = sorted((operator.folder / f"forecast-{name}" / "forecasts").glob("*.parquet"))
    column = list(CASES[name].ids)[-1]
    found = {one for part in parts for one in pq.read_table(part, partitioning=None)[column].to_pylist()}
    assert found == set((NUMBERS if column == "shop" else SHOPS).to_pylist())


@pytest.mark.parametrize("evaluated", EVALUATED)
def test_an_evaluation_judges_every_series(operator: Operator, evaluated: str) -> None:
    report = json.loads((operator.folder / f"evaluate-{evaluated}" / "eval" / "report.json").read_text())
    count = CASES[evaluated].series
    assert (report["series"], report["windows"]) == ({"judged": count, "of": count}, 2)
    assert set(report["models"]) == {"./tiny", "seasonal_naive"}
    assert report["verdict"]["sentence"]
