"""Data that other tools have stumbled over are trained on, or refused, as they should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cases.jobs import problems_of_evaluation, problems_of_forecast
from benchmarks.cases.right import RIGHT
from benchmarks.cases.runner import DATA, run_case

_QUICK = {name for name, right in RIGHT.items() if right.refused} | {
    "03-future-rows-null-target/stop", "11b-dst-naive/train", "12-int-ids-own-names/train", "23-hive-country/named",
    "24-new-product/train", "25-integer-times-from-0/train", "26-business-days/train",
}  # fmt: skip


def test_every_configuration_of_every_case_has_a_right_outcome() -> None:
    assert {f"{path.parent.name}/{path.stem}" for path in DATA.glob("*/*.yaml")} == RIGHT.keys()


@pytest.mark.parametrize("name", sorted(_QUICK))
def test_a_case_ends_as_it_should(tmp_path: Path, name: str) -> None:
    assert RIGHT[name].problems(run_case(name, tmp_path / "run")) == []


@pytest.mark.thorough
@pytest.mark.parametrize("name", sorted(RIGHT.keys() - _QUICK))
def test_each_other_case_ends_as_it_should(tmp_path: Path, name: str) -> None:
    assert RIGHT[name].problems(run_case(name, tmp_path / "run")) == []


@pytest.mark.parametrize("name", ["01-constant/train", "01-constant/drop", "12-int-ids-own-names/train"])
def test_a_case_is_forecast_and_evaluated_as_it_should(tmp_path: Path, name: str) -> None:
    assert problems_of_forecast(name, tmp_path / "forecast") == []
    assert problems_of_evaluation(name, tmp_path / "evaluation") == []


@pytest.mark.thorough
@pytest.mark.parametrize("name", sorted(RIGHT))
def test_each_case_is_forecast_and_evaluated_as_it_should(tmp_path: Path, name: str) -> None:
    assert problems_of_forecast(name, tmp_path / "forecast") == []
    assert problems_of_evaluation(name, tmp_path / "evaluation") == []
