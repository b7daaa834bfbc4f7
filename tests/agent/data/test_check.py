"""The check of a data set finds on a laptop what an instance would refuse, all of it at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.data.check import check_data
from agent.data.ingest.read import read_panel
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.parse import parse_config
from chronos_ec2.job_config.schema import TrainingConfig
from tests.agent.data.files import a_file, days

ROOT = Path(__file__).parents[3]


def a_config(**problems: Any) -> TrainingConfig:
    document = {"data": {"path": "x", "problems": problems}, "prediction_length": 2, "model": {"from_scratch": {}}}
    return parse_config(document, "test")


def troubled(tmp_path: Path) -> Path:
    """A repeated time, a gap, an infinite value, a constant series, a short one, and a future row."""
    rows = {
        "repeats": [(1, 1.0), (2, 2.0), (2, 3.0), (3, 4.0), (4, 5.0)],
        "gap": [(1, 1.0), (2, 2.0), (4, 4.0), (5, 5.0), (6, None)],
        "infinite": [(1, 1.0), (2, float("inf")), (3, 3.0), (4, 4.0)],
        "constant": [(1, 7.0), (2, 7.0), (3, 7.0), (4, 7.0)],
        "short": [(1, 1.0), (2, 2.0), (3, 3.0)],
    }
    flat = [(name, day, value) for name, of in rows.items() for day, value in of]
    items, numbers, values = zip(*flat, strict=True)
    return a_file(tmp_path, item_id=list(items), timestamp=days(*numbers), target=list(values))


def test_all_problems_are_found_at_once_with_counts_examples_and_settings(tmp_path: Path) -> None:
    report = check_data([troubled(tmp_path)], a_config(gaps="refuse", short="refuse"))
    found = {one.kind: (dict(one.counts), one.examples, one.accepted) for one in report.findings}
    assert found == {
        "infinite": ({"values": 1, "series": 1}, ("infinite",), False),
        "duplicates": ({"rows": 1, "series": 1}, ("repeats",), False),
        "empty": ({"series": 1}, ("constant",), False),
        "trailing": ({"rows": 1, "series": 1}, ("gap",), True),
        "gaps": ({"times": 1, "series": 1}, ("gap",), False),
        "short": ({"series": 1}, ("short (3)",), False),
    }
    assert report.settings == (
        "data.problems.infinite: fill", "data.problems.duplicates: drop", "data.problems.empty: drop",
        "data.problems.gaps: fill", "data.problems.short: train",
    )  # fmt: skip
    assert not report.accepted
    assert list(tmp_path.iterdir()) == [tmp_path / "part.parquet"]


def test_with_the_proposed_settings_the_data_are_accepted(tmp_path: Path) -> None:
    path = troubled(tmp_path)
    settings = check_data([path], a_config(gaps="refuse", short="refuse")).settings
    accepting = dict(line.removeprefix("data.problems.").split(": ") for line in settings)
    report = check_data([path], a_config(**accepting))
    assert report.accepted
    assert report.settings == ()
    assert len(report.findings) == 6
    assert report.summary is not None
    assert (report.summary.series, report.summary.evaluated, report.summary.points) == (4, 3, 16)
    assert (report.summary.observations, report.summary.frequency) == (14, "P1D")
    assert (report.summary.first, report.summary.last) == ("2024-01-01 00:00:00", "2024-01-05 00:00:00")
    assert read_panel([path], a_config(**accepting).data, 4, tmp_path / "panel").lengths.tolist() == [5, 4, 4, 3]


def test_a_problem_that_no_setting_accepts_ends_the_check(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["a"], timestamp=days(1), sales=[1.0])
    report = check_data([path], a_config())
    assert not report.accepted
    assert report.summary is None
    (finding,) = report.findings
    assert (finding.kind, finding.where, finding.setting) == ("data", "part.parquet", "")
    with pytest.raises(InvalidInput) as caught:
        read_panel([path], a_config().data, 4, tmp_path / "panel")
    assert (finding.where, finding.problem, finding.remedy) == (
        caught.value.where,
        caught.value.detail,
        caught.value.hint,
    )


def test_times_without_a_common_step_do_not_hide_what_else_is_wrong(tmp_path: Path) -> None:
    odd = days(3)[0].replace(hour=7)
    rows = {"item_id": ["a"] * 6 + ["b"] * 2, "timestamp": [*days(1, 2, 3), odd, *days(4, 5), *days(1, 2)]}
    report = check_data([a_file(tmp_path, **rows, target=range(8))], a_config(short="refuse"))
    assert [one.kind for one in report.findings] == ["steps", "short"]
    assert report.settings == ("data.problems.gaps: ignore", "data.problems.short: train")


def test_times_as_text_are_refused_with_how_to_write_them(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["c"] * 3, timestamp=["2024-01-01"] * 3, target=[1, 2, 3])
    assert check_data([path], a_config()).findings[0].remedy == "write it as times: pandas.to_datetime"


def test_a_report_is_plain_json(tmp_path: Path) -> None:
    document = check_data([troubled(tmp_path)], a_config()).to_document()
    assert json.loads(json.dumps(document)) == document
    assert document["findings"][0]["setting"] == "data.problems.infinite: fill"


def test_the_check_needs_nothing_that_trains(tmp_path: Path) -> None:
    """A laptop has pyarrow and numpy, and none of these."""
    code = """
import sys
from importlib.abc import MetaPathFinder
class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "chronos", "transformers", "pandas", "scipy", "statsforecast"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from pathlib import Path
from agent.data.check import check_data
from chronos_ec2.job_config.parse import parse_config
config = parse_config({"data": {"path": "x"}, "prediction_length": 2, "model": {"from_scratch": {}}}, "test")
print(len(check_data([Path(sys.argv[1])], config).findings))
"""
    path = troubled(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("6", "")
