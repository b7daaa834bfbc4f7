"""Names from a configuration and items of the data are text in what the agent makes for people."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from agent.chronos.evaluate.report import how_to_forecast, write_model_card
from agent.plots import draw_forecasts
from chronos_ec2.job_config.data import Data
from tests.nasty import NASTY

SCORES = {"mase": 1.0, "wql": 0.1, "sql": 0.2, "smape": 10.0, "coverage_80": 0.8}
CHANGE = {"difference": 0.1, "interval": (0.0, 0.2)}
FORMATTING = re.compile(r"(?<!\\)[*_~]\w|!?(?<!\\)\[[^]]*(?<!\\)\]\(|<[a-z!/]", re.IGNORECASE)
"""What Markdown makes more than text of: emphasis, links, pictures, HTML."""
TICK, CODE, BAR = (re.compile(r"(?<!\\)" + more) for more in ("`", "`[^`]*`", r"\|"))


def document(name: str) -> dict[str, Any]:
    """An evaluation in which every name is `name`."""
    return {
        "family": name,
        "exported": "champion",
        "verdict": {
            "verdict": "better", "against": name, "by": "wql", "wql": CHANGE, "test": "a", "series": 3, "note": "",
        },
        "series": {"judged": 3, "of": 3},
        "windows": 1,
        "findings": [name],
        "undefined": {},
        "models": {name: SCORES},
        "trained_minus": {name: {"mase": CHANGE, "wql": CHANGE}},
        "baselines": None,
        "by_horizon": {name: [{"mase": 1.0, "wql": 0.1}]},
    }  # fmt: skip


@pytest.mark.parametrize("nasty", NASTY, ids=ascii)
@pytest.mark.parametrize("exported", ["trained", "base", "champion"])
def test_a_name_is_no_markup_in_the_model_card(tmp_path: Path, nasty: str, exported: str) -> None:
    def lines(name: str) -> list[str]:
        facts = {"base": {"name": name, "revision": name, "sha256": None}, "context_length": 9}
        write_model_card(tmp_path, document(name) | {"exported": exported}, facts, name, "0" * 64, "How to use it.")
        return (tmp_path / "MODEL_CARD.md").read_text().splitlines()

    shown, ours = lines(nasty), lines("name")
    assert len(shown) == len(ours)
    for line, like in zip(shown, ours, strict=True):
        assert line.isprintable()
        assert len(CODE.findall(line)) == len(CODE.findall(like))
        text = CODE.sub("", line).replace("**Better**", "")
        assert not TICK.search(text)
        assert not FORMATTING.search(text)
        assert len(BAR.findall(text)) == like.count("|")


@pytest.mark.parametrize("nasty", NASTY, ids=ascii)
def test_a_name_stays_in_the_code_that_says_how_to_forecast(nasty: str) -> None:
    def lines(name: str) -> list[str]:
        data = Data.model_validate({"path": "x", "item_id": [name, f"{name} too"], "target": f"the target {name}"})
        return how_to_forecast("run:20260131T120000Z-1a2b3c", data, 9).split("\n")

    shown, ours = lines(nasty), lines("name")
    assert [line for line in shown if "`" in line] == [line for line in ours if "`" in line]
    assert len(shown) == len(ours)
    assert all(line.isprintable() for line in shown)


def test_the_command_that_forecasts_names_the_columns_of_the_data() -> None:
    data = Data.model_validate(
        {"path": "x", "item_id": ["store nbr", "product"], "target": "Ventes (€)", "known_covariates": "promo"}
    )
    command = "chronos-ec2 forecast --model run:20260131T120000Z-1a2b3c --data DATA --horizon 9 --future NEXT"
    flags = "--item-id 'store nbr,product' --target 'Ventes (€)' --known promo"
    assert f"{command} {flags}\n" in how_to_forecast("run:20260131T120000Z-1a2b3c", data, 9)


@pytest.mark.parametrize("nasty", [*NASTY, "x" * 10_000], ids=lambda text: ascii(text[:40]))
def test_an_item_is_a_title_of_one_short_line(tmp_path: Path, nasty: str) -> None:
    example = {
        "item": nasty, "model": "trained", "values": [1.0, 2.0, 3.0, 4.0], "times": ["2020-01-01"] * 4, "low": [3.0],
        "high": [5.0], "median": [4.0], "naive": [3.0],
    }  # fmt: skip
    draw_forecasts([example], tmp_path / "forecast.png")
    assert (tmp_path / "forecast.png").stat().st_size > 1000
