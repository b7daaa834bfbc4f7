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
    reason = _against(promotion, comparison, now) if run.models else "the run has left no model"
    if reason is None:
        return Judgement(run.run_id, True, now, _for(promotion, comparison, champion))
    return Judgement(run.run_id, False, now, reason)


def _against(promotion: Promotion, comparison: Comparison | None, now: int) -> str | None:
    """Why the model does not become the champion, None if it does."""
    if comparison is None:
        return "the run reports no comparison of its model with others"
    if comparison.exported != _TRAINED:
        return f"the model it exports is not the trained one: {comparison.exported} did better before the test windows"
    if promotion.rule is Promote.ALWAYS:
        return None
    if promotion.compared_with != now:
        return "the champion is another than the one it was compared with"
    against = _reference(comparison, now)
    if against is None:
        return "it was not compared with the champion"
    if against not in comparison.better_than:
        return f"it is not significantly better than {_named(against)} on the test windows"
    return None


def _reference(comparison: Comparison, seq: int) -> str | None:
    """The model that it must be better than: the champion, or without one the base model or the seasonal naive one."""
    candidates = (_CHAMPION,) if seq else ("base", "seasonal_naive")
    return next((name for name in candidates if name in comparison.compared), None)


def _for(promotion: Promotion, comparison: Comparison | None, champion: Champion | None) -> str:
    if promotion.rule is Promote.ALWAYS or comparison is None:
        return "the run asks for it, whatever its scores"
    against = _reference(comparison, champion.seq if champion else 0)
    return f"significantly better than {_named(against or '')} on the test windows"


def _named(reference: str) -> str:
    return {_CHAMPION: "the champion", "base": "its base model"}.get(reference, "the seasonal naive forecast")
