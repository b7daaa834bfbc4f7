"""Which run's model becomes the champion."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chronos_ec2.domain.records.champion import Champion, How, Judgement, Promote, Promotion
from chronos_ec2.domain.records.reports import Comparison
from chronos_ec2.domain.rules.promotion import judge
from chronos_ec2.testing.builders import NOW, a_run

TRAINED = replace(a_run(), models=(("config.json", "1" * 64),))
CHAMPION = Champion("default", 3, "20260101T000000Z-000000", (("config.json", "0" * 64),), How.CONCLUSION, "", NOW)
BETTER, ANOTHER = "significantly better than", "the champion is another than the one it was compared with"
ALL = ("seasonal_naive", "base", "champion")


def compared(*better_than: str, exported: str = "trained", among: tuple[str, ...] = ALL) -> Comparison:
    return Comparison(exported, among, better_than)


def better(compared_with: int = CHAMPION.seq) -> Promotion:
    return Promotion("default", Promote.BETTER, compared_with)


def test_a_model_better_than_the_champion_it_was_compared_with_takes_its_place() -> None:
    judgement = judge(TRAINED, better(), compared("champion"), CHAMPION)
    assert judgement == Judgement(TRAINED.run_id, True, 3, f"{BETTER} the champion on the test windows")


@pytest.mark.parametrize(
    ("promotion", "comparison", "champion", "reason"),
    [
        (
            better(), compared("base", "seasonal_naive"), CHAMPION,
            f"it is not {BETTER} the champion on the test windows",
        ),
        (better(2), compared("champion"), CHAMPION, ANOTHER),
        (better(4), compared("champion"), CHAMPION, ANOTHER),
        (better(0), compared("base"), CHAMPION, ANOTHER),
        (better(3), compared("base"), None, ANOTHER),
        (better(), compared("base", among=("base",)), CHAMPION, "it was not compared with the champion"),
        (
            better(), compared("champion", exported="champion"), CHAMPION,
            "the model it exports is not the trained one: champion did better before the test windows",
        ),
        (better(), None, CHAMPION, "the run reports no comparison of its model with others"),
        (better(0), compared("seasonal_naive"), None, f"it is not {BETTER} its base model on the test windows"),
        (
            better(0), compared(among=("seasonal_naive",)), None,
            f"it is not {BETTER} the seasonal naive forecast on the test windows",
        ),
        (better(0), compared(among=()), None, "it was not compared with the champion"),
    ],
)  # fmt: skip
def test_any_other_leaves_it_in_place_with_the_reason(
    promotion: Promotion, comparison: Comparison | None, champion: Champion | None, reason: str
) -> None:
    seq = champion.seq if champion else 0
    assert judge(TRAINED, promotion, comparison, champion) == Judgement(TRAINED.run_id, False, seq, reason)


@pytest.mark.parametrize(
    ("among", "by", "named"),
    [
        (("seasonal_naive", "base"), "base", "its base model"),
        (("seasonal_naive",), "seasonal_naive", "the seasonal naive forecast"),
    ],
)
def test_the_first_champion_is_better_than_its_base_or_without_one_than_seasonal_naive(
    among: tuple[str, ...], by: str, named: str
) -> None:
    judgement = judge(TRAINED, better(0), compared(by, among=among), None)
    assert judgement == Judgement(TRAINED.run_id, True, 0, f"{BETTER} {named} on the test windows")


@pytest.mark.parametrize("rule", Promote)
def test_a_run_that_has_left_no_model_replaces_none(rule: Promote) -> None:
    judgement = judge(a_run(), Promotion("default", rule, 3), compared("champion"), CHAMPION)
    assert (judgement.promote, judgement.reason) == (False, "the run has left no model")


def test_always_takes_the_place_of_whatever_champion_there_is() -> None:
    always = Promotion("default", Promote.ALWAYS, 1)
    asked = Judgement(TRAINED.run_id, True, 3, "the run asks for it, whatever its scores")
    assert judge(TRAINED, always, compared(), CHAMPION) == asked
    assert judge(TRAINED, always, compared(), None).promote
    assert not judge(TRAINED, always, compared(exported="base"), CHAMPION).promote
