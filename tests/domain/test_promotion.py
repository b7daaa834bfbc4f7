"""Which run's model becomes the champion."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chronos_ec2.domain.records.champion import Champion, How, Promote, Promotion
from chronos_ec2.domain.records.reports import Comparison
from chronos_ec2.domain.rules.promotion import judge
from chronos_ec2.testing.builders import NOW, a_run

TRAINED = replace(a_run(), models=(("config.json", "1" * 64),))
CHAMPION = Champion("default", 3, "20260101T000000Z-000000", (("config.json", "0" * 64),), How.CONCLUSION, "", NOW)
ALL = ("seasonal_naive", "base", "champion")


def compared(*better_than: str, exported: str = "trained", among: tuple[str, ...] = ALL) -> Comparison:
    return Comparison(exported, among, better_than)


def better(compared_with: int = CHAMPION.seq) -> Promotion:
    return Promotion("default", Promote.BETTER, compared_with)


def test_a_model_better_than_the_champion_it_was_compared_with_takes_its_place() -> None:
    judgement = judge(TRAINED, better(), compared("champion"), CHAMPION)
    assert (judgement.promote, judgement.replaces) == (True, 3)
    assert judgement.reason == "significantly better than the champion on the test windows"


@pytest.mark.parametrize(
    ("promotion", "comparison", "champion", "reason"),
    [
        (better(), compared("base", "seasonal_naive"), CHAMPION, "not significantly better than the champion"),
        (better(2), compared("champion"), CHAMPION, "another than the one it was compared with"),
        (better(4), compared("champion"), CHAMPION, "another than the one it was compared with"),
        (better(0), compared("base"), CHAMPION, "another than the one it was compared with"),
        (better(3), compared("base"), None, "another than the one it was compared with"),
        (better(), compared("base", among=("base",)), CHAMPION, "it was not compared with the champion"),
        (better(), compared("champion", exported="champion"), CHAMPION, "champion did better before the test windows"),
        (better(), None, CHAMPION, "no comparison"),
        (better(0), compared("seasonal_naive"), None, "not significantly better than its base model"),
        (better(0), compared(among=("seasonal_naive",)), None, "than the seasonal naive forecast"),
        (better(0), compared(among=()), None, "not compared"),
    ],
)
def test_any_other_leaves_it_in_place_with_the_reason(
    promotion: Promotion, comparison: Comparison | None, champion: Champion | None, reason: str
) -> None:
    judgement = judge(TRAINED, promotion, comparison, champion)
    assert not judgement.promote
    assert reason in judgement.reason


@pytest.mark.parametrize(
    ("among", "by"), [(("seasonal_naive", "base"), "base"), (("seasonal_naive",), "seasonal_naive")]
)
def test_the_first_champion_is_better_than_its_base_or_without_one_than_seasonal_naive(
    among: tuple[str, ...], by: str
) -> None:
    judgement = judge(TRAINED, better(0), compared(by, among=among), None)
    assert (judgement.promote, judgement.replaces) == (True, 0)


@pytest.mark.parametrize("rule", Promote)
def test_a_run_that_has_left_no_model_replaces_none(rule: Promote) -> None:
    judgement = judge(a_run(), Promotion("default", rule, 3), compared("champion"), CHAMPION)
    assert (judgement.promote, judgement.reason) == (False, "the run has left no model")


def test_always_takes_the_place_of_whatever_champion_there_is() -> None:
    always = Promotion("default", Promote.ALWAYS, 1)
    assert judge(TRAINED, always, compared(), CHAMPION).replaces == 3
    assert judge(TRAINED, always, compared(), None).promote
    assert not judge(TRAINED, always, compared(exported="base"), CHAMPION).promote
