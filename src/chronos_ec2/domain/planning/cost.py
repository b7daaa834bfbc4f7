"""The cost of a run: what its record and EC2 say about its instances, at the prices in its record.

A price is that of an instance hour with its root volume and its public address. Only instances cost: a run that waits
for one does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from chronos_ec2.domain.facts import Absent, HeartbeatRead, ReadFailed, last_heard
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, DecidedBy

HOURS_PER_MONTH = 730
PUBLIC_IPV4_USD_PER_HOUR = 0.005
"""The same in every region since 2024, unless AWS says another."""
_POWER_OFF = timedelta(seconds=30)
"""Assumed between an agent's last sign of life and the end of its instance, if EC2 does not name the end."""


def with_volume_and_address(
    instance_usd: float, volume_gib: int, gib_month_usd: float, address_usd: float = PUBLIC_IPV4_USD_PER_HOUR
) -> float:
    """USD per hour of an instance with its root volume of gp3 and its public IPv4 address."""
    return instance_usd + volume_gib * gib_month_usd / HOURS_PER_MONTH + address_usd


def price_in(run: Run, instance_type: str | None = None) -> float | None:
    """USD per hour of a run's instance, of the type that EC2 reports or else of the type in the record."""
    return dict(run.prices).get(run.instance_type if instance_type is None else instance_type, run.price_per_hour_usd)


def cost_until(
    now: datetime,
    run: Run,
    limits: Limits,
    listed: Iterable[Instance] | None = None,
    heartbeat: HeartbeatRead | None = None,
) -> float | None:
    """USD that all attempts of a run have cost until `now`, or None if the price is unknown.

    Args:
        now: AWS time.
        run: its record.
        limits: those of its stack: an instance whose end nobody names lasted no longer than they allow.
        listed: what EC2 lists; None if EC2 was not asked: then an instance lasts until its agent's verdict.
        heartbeat: the latest of the run: an instance whose end EC2 does not name was last seen then.
    """
    if price_in(run) is None:
        return None
    cost = run.spent_usd
    for instance_type, began, ended in _usage(now, run, limits, listed, heartbeat or Absent()):
        price = price_in(run, instance_type)
        if price is None:
            return None
        cost += price * max((ended - began).total_seconds(), 0.0) / 3600
    return cost


def cost_of(instance: Instance, price: float | None, now: datetime) -> float | None:
    """USD that an instance without a run has cost, or None without its price per hour."""
    ended = instance.ended_at or now
    return None if price is None else price * max((ended - instance.launched_at).total_seconds(), 0.0) / 3600


def settled(now: datetime, run: Run, limits: Limits, listed: Iterable[Instance], heartbeat: HeartbeatRead) -> Run:
    """This run with its whole cost and the end of its last instance, which every later reader then finds."""
    if run.ended_at is not None:
        return run
    listed = tuple(listed)
    cost = cost_until(now, run, limits, listed, heartbeat)
    ended = max((end for _, _, end in _usage(now, run, limits, listed, heartbeat)), default=now)
    return replace(run, spent_usd=run.spent_usd if cost is None else cost, ended_at=ended)


def time_left(run: Run, limits: Limits, now: datetime) -> timedelta:
    """Until the deadline of a run or until its cap is spent, whichever comes first. Never negative."""
    left, price, cost = run.deadline - now, price_in(run), cost_until(now, run, limits)
    if run.max_cost_usd is not None and cost is not None and price:
        left = min(left, timedelta(hours=(run.max_cost_usd - cost) / price))
    return max(left, timedelta(0))


def _usage(
    now: datetime, run: Run, limits: Limits, listed: Iterable[Instance] | None, heartbeat: HeartbeatRead
) -> Iterator[tuple[str, datetime, datetime]]:
    """Type, launch and end of each instance of the current attempt; the end is `now` while it runs."""
    if run.ended_at is not None:
        return
    seen = set()
    for instance in listed or ():
        if (instance.run_id, instance.attempt) == (run.run_id, run.attempt):
            seen.add(instance.instance_id)
            ended = _end(now, run, limits, instance, heartbeat)
            yield instance.instance_type, instance.launched_at, ended
    if run.instance_id is not None and run.instance_id not in seen:
        began = run.launched_at or run.attempt_started_at
        runs_on = listed is None and run.verdict is None
        ended = now if runs_on else _last_seen(now, run, limits, run.instance_id, began, heartbeat)
        yield run.instance_type, began, ended


def _end(now: datetime, run: Run, limits: Limits, instance: Instance, heartbeat: HeartbeatRead) -> datetime:
    if instance.state not in (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED):
        return now
    if instance.ended_at is not None:
        return min(now, instance.ended_at)
    seen = _last_seen(now, run, limits, instance.instance_id, instance.launched_at, heartbeat)
    # The watchdog ends what is silent for longer, and EC2 names the time of that. If EC2 does not, nobody has looked,
    # or somebody has kept it on hold.
    silence = limits.grace if _ended_by_agent(run) else limits.dead_agent_bound
    return now if instance.hold or now - seen <= silence else seen


def _last_seen(
    now: datetime, run: Run, limits: Limits, instance_id: str, began: datetime, heartbeat: HeartbeatRead
) -> datetime:
    """About when an instance has ended whose end nobody names: soon after its agent's last sign of life.

    Without an agent it powers itself off when the time for booting is over. If an agent's heartbeat cannot be read, the
    instance counts until now: rather too much than too little.
    """
    signs = [moment for moment in (last_heard(heartbeat, instance_id),) if moment]
    if instance_id == run.instance_id:
        phases = [moment for _, moment in run.phases if moment > run.attempt_started_at]
        signs += phases if run.verdict is None or _ended_by_agent(run) else phases[:-1]
        if run.stop and run.stop.cause in (Cause.OVER_DEADLINE, Cause.OVER_BUDGET):
            signs.append(run.stop.requested_at)  # the watchdog asks only instances that EC2 lists as alive
    if not signs:
        return min(now, began + limits.boot)
    if isinstance(heartbeat, ReadFailed):
        return now
    return min(now, max(signs) + _POWER_OFF)


def _ended_by_agent(run: Run) -> bool:
    return run.verdict is not None and run.verdict.decided_by is DecidedBy.AGENT
