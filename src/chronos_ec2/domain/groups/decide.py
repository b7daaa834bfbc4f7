"""What a group does next: start a member, wait for those at work, or end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from chronos_ec2.domain.groups.order import Group, Purpose
from chronos_ec2.domain.schedules.ledger import Entry, Ledger


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of a group.

    The ledger was read first, then the lanes, then the final records: a member that is entered and holds no lane has
    its end here, or nobody has taken its lane yet.

    Attributes:
        held: the runs that hold their lanes.
        now: AWS time, aware UTC.
    """

    group: Group
    ledger: Ledger
    held: Collection[str]
    now: datetime


@dataclass(frozen=True, slots=True)
class Start:
    """Start a member; without `enter` it is in the ledger already, and whoever entered it may have died."""

    entry: Entry
    enter: bool = True


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing starts before one of the members at work has ended."""

    reason: str


@dataclass(frozen=True, slots=True)
class Over:
    """The group has ended: no member is at work, and none will be."""

    reason: str


def decide(situation: Situation) -> Start | Wait | Over:
    """What the group does next."""
    ledger, group = situation.ledger, situation.group
    at_work = [one for one in ledger.entries if one.succeeded is None]
    if ledger.stopped is not None:
        working = sum(one.run_id in situation.held for one in at_work)
        return _waits(working, ledger.stopped) if working else Over(ledger.stopped)
    if homeless := next((one for one in at_work if one.run_id not in situation.held), None):
        return Start(homeless, enter=False)
    closed = _closed(situation)
    if closed is None and len(at_work) < group.parallel:
        cap_usd = _share(situation, len(at_work))
        if cap_usd is None or cap_usd >= least_usd(group):
            return Start(group.entry(len(ledger.entries), cap_usd, situation.now))
        closed = f"${_left(situation):.2f} of ${_cap(group):.2f} are left, too little for another run"
    if at_work:
        return _waits(len(at_work), closed or f"{group.parallel} at a time")
    return Over(closed or "")


def _waits(working: int, why: str) -> Wait:
    return Wait(f"{working} at work ({why})")


def _closed(situation: Situation) -> str | None:
    """Why no further member is entered, whatever money is left; None if one may be."""
    group, ledger = situation.group, situation.ledger
    if len(ledger.entries) == len(group.members):
        ended = sum(one.succeeded is True for one in ledger.entries)
        return f"{ended} of {len(group.members)} have succeeded"
    if group.purpose is Purpose.SHARDS and (failed := next((e for e in ledger.entries if e.succeeded is False), None)):
        return f"run {failed.run_id} has not succeeded, so the forecast will not be whole"
    if situation.now > group.budget.deadline - group.request.limits.boot - 2 * group.request.limits.grace:
        return f"its deadline is {group.budget.deadline:%Y-%m-%d %H:%MZ}"
    return None


def _cap(group: Group) -> float:
    return group.budget.max_cost_usd or 0.0


def _left(situation: Situation) -> float:
    """What neither was spent nor is reserved for members at work."""
    used = sum(_used(one) for one in situation.ledger.entries)
    return max(0.0, _cap(situation.group) - used)


def _used(entry: Entry) -> float:
    return (entry.cap_usd or 0.0) if entry.spent_usd is None else entry.spent_usd


def _share(situation: Situation, working: int) -> float | None:
    """What the next member may cost: its share of what is left, if as many start now as may, and as there is money for.

    None without a limit.
    """
    group, left, least = situation.group, _left(situation), least_usd(situation.group)
    if group.budget.max_cost_usd is None:
        return None
    starting = min(group.parallel - working, len(group.members) - len(situation.ledger.entries))
    if starting * least > left:
        starting = max(1, int(left / least))
    return int(left / starting * 100) / 100  # cents, rounded down


def least_usd(group: Group) -> float:
    """What booting an instance may cost: with less than that, none does any work."""
    prices = [price for _, price in group.budget.prices] or [group.budget.price_per_hour_usd or 0.0]
    return max(prices) * (group.request.limits.boot / timedelta(hours=1))
