"""Names of one step are equal, names of different steps are not."""

from __future__ import annotations

import pytest

from chronos_ec2.job_config.frequency import length_of, same_frequency


@pytest.mark.parametrize(
    "names",
    [
        ("PT30M", "30min", "30T", "PT1800S"), ("P1D", "D", "1D", "PT24H", "24h"), ("P7D", "W", "W-SUN", "P1W", "7D"),
        ("P1M", "MS", "ME", "M"), ("P3M", "QS", "QE-DEC", "Q"), ("P12M", "P1Y", "YS", "YE-DEC", "A"),
        ("PT0.009S", "9ms"), ("2", "02"),
    ],
)  # fmt: skip
def test_names_of_the_same_step_are_equal(names: tuple[str, ...]) -> None:
    assert all(same_frequency(names[0], other) for other in names)


@pytest.mark.parametrize(
    ("names", "length"),
    [
        (("h", "H"), (0, 3600.0)), (("min", "T"), (0, 60.0)), (("s", "S"), (0, 1.0)), (("ms", "L"), (0, 0.001)),
        (("YS", "YE", "Y", "AS", "A"), (12, 0.0)), (("2MS", "2M", "P2M"), (2, 0.0)), (("5",), (0, -5.0)),
    ],
)  # fmt: skip
def test_pandas_aliases_have_the_length_pandas_gives_them(names: tuple[str, ...], length: tuple[int, float]) -> None:
    assert {length_of(name) for name in names} == {length}


def test_business_days_are_a_step_of_their_own() -> None:
    assert same_frequency("B", "1B")
    assert not same_frequency("B", "D")
    assert not same_frequency("B", "5B")
    assert (length_of("B"), length_of("2B"), length_of("BQ"), length_of("2BYS")) == ("1B", "2B", "3BME", "24BMS")


@pytest.mark.parametrize(
    "names",
    [("BME", "1BME", "BM"), ("3BME", "BQE", "BQ", "BQE-DEC"), ("12BME", "BYE", "BY", "BA", "4BQE"), ("BMS", "1BMS"),
     ("3BMS", "BQS-JAN"), ("12BMS", "BYS", "BAS-JAN")],
)  # fmt: skip
def test_the_first_and_last_business_days_of_months_are_steps_of_their_own(names: tuple[str, ...]) -> None:
    assert all(same_frequency(names[0], other) for other in names)
    assert not any(same_frequency(names[0], other) for other in ("B", "ME", "MS", "2BME", "2BMS", "P1M"))


@pytest.mark.parametrize(
    ("one", "other"),
    [("BME", "BMS"), ("P1M", "PT1M"), ("P1M", "P30D"), ("MS", "ms"), ("2", "PT2S"), ("W", "P6D"), ("h", "min")],
)
def test_names_of_different_steps_differ(one: str, other: str) -> None:
    assert not same_frequency(one, other)


@pytest.mark.parametrize("name", ["monthly", "", "P", "PT", "-1D", "1.5D", "D W", "BX", "BMX", "SME"])
def test_other_names_have_no_length(name: str) -> None:
    assert length_of(name) is None
