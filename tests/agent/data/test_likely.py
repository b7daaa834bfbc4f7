"""What hints guess about columns and about the form of times."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest

from agent.data.ingest.likely import columns_hint, forms_of
from chronos_ec2.job_config.data import Data

DAYS = [date(2024, 1, 12), date(2024, 1, 13)]
STORES, SALES = ["a", "b"], [1.0, 2.0]


@pytest.mark.parametrize(
    ("texts", "forms"),
    [
        (["31.12.2023", "01.01.2024"], ["%d.%m.%Y"]),
        (["1/13/2024", "2/1/2024"], ["%m/%d/%Y"]),
        (["13/1/24"], ["%d/%m/%y"]),
        (["1/2/2024"], ["%m/%d/%Y", "%d/%m/%Y"]),
        (["31.12.2023 13:00"], ["%d.%m.%Y %H:%M"]),
        (["1/13/2024 1:00 PM", None], ["%m/%d/%Y %I:%M %p"]),
        (["13-Jan-2024"], ["%d-%b-%Y"]),
        (["January 2024", "Feb 2024"], ["%b %Y"]),
        (["2015Q1"], []),
        (["31.12.2023", "none"], []),
        ([], []),
    ],
)
def test_the_form_of_times(texts: list[str | None], forms: list[str]) -> None:
    assert forms_of(pa.array(texts, pa.string())) == forms


def test_a_form_is_one_of_all_rows() -> None:
    texts = pa.array(["1/2/2024"] * 2000 + ["13/2/2024"])
    assert forms_of(texts) == ["%d/%m/%Y"]


@pytest.mark.parametrize(
    ("columns", "converted", "options"),
    [
        ({"shop": STORES, "day": DAYS, "sold": SALES}, False, "--item-id shop --timestamp day --target sold, "),
        ({"shop": STORES, "day": DAYS, "sold": [1, 2]}, False, "--item-id shop --timestamp day --target sold, "),
        ({"a shop": STORES, "timestamp": DAYS, "target": SALES}, False, "--item-id 'a shop', "),
        ({"shop": STORES, "town": STORES, "day": DAYS, "target": SALES}, False, "--timestamp day, "),
        ({"shop": STORES, "day": DAYS, "sold": SALES, "price": SALES}, False, "--item-id shop --timestamp day, "),
        ({"day": DAYS, "north": SALES, "south": SALES}, True, "--timestamp day, "),
        ({"day": DAYS, "sold": SALES}, True, "--timestamp day, "),
        ({"day": DAYS, "sold": SALES}, False, "--timestamp day --target sold, "),
        (
            {"shop": STORES, "day": ["31.12.2023", "01.01.2024"], "sold": SALES}, True,
            "--item-id shop --timestamp day --target sold --timestamp-format %d.%m.%Y, ",
        ),
    ],
)  # fmt: skip
def test_columns_of_other_names(columns: dict[str, list[object]], converted: bool, options: str) -> None:
    hint = columns_hint(pa.table(columns), Data(path="x"), converted=converted)
    assert f"its columns: {', '.join(columns)}; perhaps {options}or data: {{" in hint


def test_the_keys_of_a_configuration_name_them_as_well() -> None:
    hint = columns_hint(pa.table({"shop": STORES, "day": DAYS, "sold": SALES}), Data(path="x"), converted=False)
    assert hint.endswith("or data: {item_id: shop, timestamp: day, target: sold} in the configuration")


def test_nothing_is_guessed_where_nothing_tells() -> None:
    assert columns_hint(pa.table({"a": SALES, "b": SALES}), Data(path="x"), converted=False) == "its columns: a, b"
