"""Whether the model of a run that has succeeded becomes the champion."""

from __future__ import annotations

from chronos_ec2.domain.records.champion import Champion, Judgement, Promote, Promotion
from chronos_ec2.domain.records.reports import Comparison
from chronos_ec2.domain.records.run import Run

_TRAINED, _CHAMPION = "trained", "champion"


def judge(run: Run, promotion: Promotion, comparison: Comparison | None, champion: Champion | None) -> Judgement:
    """The judgement on a run, from what it asks for, what it has reported, and the champion as it is now.

    With `better` it takes the place of the champion that it was compared with, and of no other: whether it is better
    than one that came since is not known.
    """
    now = champion.seq if champion else 0
    promote, reason = _promoted(promotion, comparison, now) if run.models else (False, "the run has left no model")
    return Judgement(run.run_id, promote, now, reason)


def _promoted(promotion: Promotion, comparison: Comparison | None, now: int) -> tuple[bool, str]:
    """Whether the model takes the place of champion number `now`, and why."""
    if comparison is None:
        return False, "the run reports no comparison of its model with others"
    if comparison.exported != _TRAINED:
        text = f"the model it exports is not the trained one: {comparison.exported} did better before the test windows"
        return False, text
    if promotion.rule is Promote.ALWAYS:
        return True, "the run asks for it, whatever its scores"
    if promotion.compared_with != now:
        return False, "the champion is another than the one it was compared with"
    against = _reference(comparison, now)
    if against is None:
        return False, "it was not compared with the champion"
    better = against in comparison.better_than
    return better, f"{'' if better else 'it is not '}significantly better than {_named(against)} on the test windows"


def _reference(comparison: Comparison, seq: int) -> str | None:
    """The model that it must be better than: the champion, or without one the base model or the seasonal naive one."""
    candidates = (_CHAMPION,) if seq else ("base", "seasonal_naive")
    return next((name for name in candidates if name in comparison.compared), None)


def _named(reference: str) -> str:
    return {_CHAMPION: "the champion", "base": "its base model"}.get(reference, "the seasonal naive forecast")
