"""What a run can cost at most and by when its instance is gone, known before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Outcome


@dataclass(frozen=True, slots=True)
class WorstCase:
    """When the last instance is gone at the latest, and what the run costs then; None if its price is not known."""

    gone_by: datetime
    usd: float | None


def worst_case(
    now: datetime,
    price_per_hour_usd: float | None,
    cap_usd: float | None,
    limits: Limits,
    runs: int = 1,
    longest: timedelta | None = None,
) -> WorstCase:
    """The worst case of a run that starts now, or of a group of runs.

    As all guarantees it holds while EC2 and S3 answer; each failed sweep adds its interval.

    Args:
        now: AWS time.
        price_per_hour_usd: of the most expensive instance that the run may get.
        cap_usd: the price cap over all attempts of all runs, if any.
        limits: `max_runtime` is the time to the deadline of a run, which spans all attempts.
        runs: how many there are.
        longest: the time to the deadline of a group.
    """
    gone_by = now + (longest or limits.max_runtime) + limits.deadline_bound
    if price_per_hour_usd is None:
        return WorstCase(gone_by, None)
    usd = runs * price_per_hour_usd * _hours(limits.max_runtime + limits.deadline_bound)
    if cap_usd is not None:
        usd = min(usd, cap_usd + runs * price_per_hour_usd * _hours(limits.deadline_bound))
    return WorstCase(gone_by, usd)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a run will probably take and cost, judged by a former run of the same data."""

    duration: timedelta
    usd: float
    like: str


def expected(former: Run, steps: tuple[int, int] | None, price_per_hour_usd: float | None) -> Expected | None:
    """What a run will take if it goes like a former one that succeeded.

    Args:
        former: its record.
        steps: those that the former run was to take and those of the new one, if both are known.
        price_per_hour_usd: of the instance that the new run asks for first.
    """
    succeeded = former.verdict is not None and former.verdict.outcome is Outcome.SUCCEEDED
    if not succeeded or former.ended_at is None or price_per_hour_usd is None:
        return None
    duration = former.ended_at - former.created_at
    if steps is not None and steps[0] > 0:
        duration *= steps[1] / steps[0]
    return Expected(duration, price_per_hour_usd * _hours(duration), former.run_id)


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """The dotted keys in which two configurations differ, each with both values; None for a key that is missing."""
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield prefix + key, old, new


def _hours(span: timedelta) -> float:
    return span.total_seconds() / 3600
