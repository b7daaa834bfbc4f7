"""Whether one model is better than another: a sign-flip test over series, and the verdict.

If two models are exchangeable, swapping them changes the sign of the difference of a series, and each of the 2^m ways
to swap them in m series is equally likely. So the true difference is equally likely to lie in each of the intervals
between the differences over all subsets of the series (Hartigan 1969, "Using subsample values as typical values"). That
holds for any number of series, which a bootstrap's does not for few. Above `_ALL_SUBSETS` series, a random subgroup of
the swaps takes the place of all: it is as exact (Hemerik and Goeman 2018, "Exact testing with random permutations").

With several windows, forecasts made at one time err together. The interval then also covers that of a t-test with
standard errors clustered by series and by forecast origin (Cameron, Gelbach and Miller 2011, "Robust inference with
multiway clustering"), with one degree of freedom less than there are series or origins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from agent.chronos.batching.histories import Array
from agent.chronos.evaluate.metrics import Errors
from agent.data.panel import Indices

_TAIL = 0.025
_ALL_SUBSETS = 13
_PART = 1_000
_GROUPS = 1_000
"""More series than these are swapped in random groups, which is as exact and takes less memory."""
_FEW, _TOO_FEW = 30, 6
_SCORES = {"wql": ("quantile_loss", "target"), "mase": ("scaled_error", "scaled_count")}


@dataclass(frozen=True, slots=True)
class Difference:
    """A score, ours minus theirs, with its 95 % interval: NaN if undefined. `series`: how many count."""

    difference: float
    interval: tuple[float, float]
    series: int

    @property
    def below_zero(self) -> bool:
        """Whether the whole interval is."""
        return self.interval[1] < 0

    def document(self) -> dict[str, Any]:
        """As the report has it."""
        return {"difference": self.difference, "interval": list(self.interval)}


Comparison = Mapping[str, Difference]
"""The differences of WQL and MASE."""


def compare(ours: Errors, theirs: Errors, origins: Indices) -> dict[str, Difference]:
    """The differences of WQL and MASE, ours minus theirs. `origins` (k, n): when each window was forecast."""
    return {
        score: _difference(getattr(ours, loss) - getattr(theirs, loss), getattr(ours, size), origins)
        for score, (loss, size) in _SCORES.items()
    }


def verdict(comparisons: Mapping[str, Comparison], windows: int) -> dict[str, Any]:
    """`improved` or `not improved`: the trained model against its base, or without one against seasonal naive.

    WQL decides, or MASE if that is undefined. Without both the verdict is `undefined`. `comparisons` maps each
    reference model to the result of `compare`.
    """
    against = "base" if "base" in comparisons else "seasonal_naive"
    found = comparisons[against]
    by = next((score for score in _SCORES if not math.isnan(found[score].difference)), None)
    series = found[by].series if by else 0
    words = "undefined" if by is None else "improved" if found[by].below_zero else "not improved"
    return {
        "against": against,
        "verdict": words,
        "by": by,
        "test": "sign-flip test" + (" and t-test clustered by series and origin" if windows > 1 else ""),
        "series": series,
        "note": _note(series),
        **documents(comparisons)[against],
    }


def documents(comparisons: Mapping[str, Comparison]) -> dict[str, dict[str, Any]]:
    """The differences of both scores with their intervals, by reference model."""
    return {name: {score: one.document() for score, one in found.items()} for name, found in comparisons.items()}


def _note(series: int) -> str | None:
    if series < _TOO_FEW:
        return f"{series} series cannot prove a difference at 5 %, however large it is: that takes {_TOO_FEW}"
    return f"{series} series prove little about others" if series < _FEW else None


def _difference(loss: Array, size: Array, origins: Indices) -> Difference:
    """Of summed losses over summed sizes, both (k, n)."""
    counts = ((loss != 0) | (size > 0)).any(axis=0)
    loss, size, origins = loss[:, counts], size[:, counts], origins[:, counts]
    if not size.sum() > 0:
        return Difference(math.nan, (math.nan, math.nan), 0)
    difference = float(loss.sum() / size.sum())
    low, high = _typical_values(loss.sum(axis=0), size.sum(axis=0))
    if len(loss) > 1:
        margin = _clustered_margin(loss - difference * size, origins) / float(size.sum())
        low, high = min(low, difference - margin), max(high, difference + margin)
    return Difference(difference, (low, high), int(counts.sum()))


def _typical_values(loss: Array, size: Array) -> tuple[float, float]:
    """The edges that cut 2.5 % of the intervals between the differences of subsets from each side; NaN for too few."""
    if len(loss) > _GROUPS:
        group = np.random.default_rng(0).permutation(len(loss)) % _GROUPS
        loss, size = (_sums_by(group, one) for one in (loss, size))
    values = []
    for subsets in _subsets(len(loss)):
        losses, sizes = subsets @ loss, subsets @ size
        # Losses over nothing exceed any difference, on their side of it.
        over_nothing = np.where(losses == 0, 0.0, np.copysign(np.inf, losses))
        values.append(np.divide(losses, sizes, out=over_nothing, where=sizes > 0))
    ordered = np.sort(np.concatenate(values))
    cut = math.floor(_TAIL * (len(ordered) + 1))
    if not cut or math.isinf(ordered[-cut]):
        return math.nan, math.nan
    low = ordered[cut - 1]
    # The lower edge decides nothing: without the subsets of nothing it says more.
    return float(ordered[np.isfinite(ordered)][cut - 1] if math.isinf(low) else low), float(ordered[-cut])


def _subsets(count: int) -> Iterator[Array]:
    """All subsets but the empty one, or those of a subgroup, as rows of zeros and ones; in parts of a thousand rows.

    In the subgroup each of the first series is swapped by itself, and each further one with some of them.
    """
    first = min(count, _ALL_SUBSETS)
    further = np.random.default_rng(1).permutation(np.arange(1, 1 << first))[: count - first]
    generators = np.concatenate([1 << np.arange(first), further])[None, :] >> np.arange(first)[:, None] & 1
    for begin in range(1, 1 << first, _PART):
        swapped = np.arange(begin, min(begin + _PART, 1 << first))[:, None] >> np.arange(first) & 1
        yield ((swapped @ generators) % 2).astype(np.float64)


def _clustered_margin(residuals: Array, origins: Indices) -> float:
    """Half the width of the t-test's interval of the sum of residuals (k, n)."""
    _, cluster = np.unique(origins, return_inverse=True)
    by_origin = _sums_by(cluster.ravel(), residuals.ravel())
    by_series = residuals.sum(axis=0)
    clusters = min(len(by_origin), len(by_series))
    if clusters < 2:
        return math.nan
    series, origin, window = (_variance(one) for one in (by_series, by_origin, residuals.ravel()))
    variance = max(series + origin - window, series, origin)
    return float(stdtrit(clusters - 1, 1 - _TAIL)) * math.sqrt(variance)


def _sums_by(group: Indices, terms: Array) -> Array:
    found: Array = np.bincount(group, weights=terms).astype(np.float64)
    return found


def _variance(sums: Array) -> float:
    """Of the total of independent terms with mean 0."""
    return float(np.sum(sums**2)) * len(sums) / (len(sums) - 1)
