"""What a group does next: which member starts, with which budget, and when it is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chronos_ec2.domain.groups.decide import Over, Situation, Start, Wait, decide
from chronos_ec2.domain.groups.order import Group, Purpose
from chronos_ec2.domain.schedules.ledger import Entry, Ledger
from chronos_ec2.testing.builders import LIMITS, NOW, a_group


def entries(group: Group, *ends: tuple[float, bool] | float) -> tuple[Entry, ...]:
    """The first members: their costs and whether they have succeeded, or the caps of those that have not ended."""
    found = []
    for index, end in enumerate(ends):
        if isinstance(end, tuple):
            found.append(replace(group.entry(index, 3.0, NOW), spent_usd=end[0], succeeded=end[1]))
        else:
            found.append(group.entry(index, end, NOW))
    return tuple(found)


def decided(group: Group, *ends: Any, held: tuple[int, ...] | None = None, **changes: Any) -> Any:
    known = entries(group, *ends)
    working = [index for index, one in enumerate(known) if one.succeeded is None] if held is None else held
    ledger = Ledger(known, stopped=changes.pop("stopped", None))
    situation = Situation(group, ledger, {group.run_ids[index] for index in working}, NOW)
    return decide(replace(situation, **changes))


def caps(group: Group, *ends: tuple[float, bool] | float) -> list[float | None]:
    """The caps of those that start one after the other from here."""
    given = list(ends)
    found: list[float | None] = []
    while isinstance(decision := decided(group, *given), Start):
        assert decision.enter
        assert decision.entry.run_id == group.run_ids[len(given)]
        found.append(decision.entry.cap_usd)
        given.append(decision.entry.cap_usd or 0.0)
    return found


def test_as_many_start_as_run_at_a_time_and_share_the_money() -> None:
    assert caps(a_group()) == [4.5, 4.5]
    assert caps(a_group(parallel=9)) == [3.0, 3.0, 3.0]
    assert caps(a_group(members=7, parallel=3, max_cost_usd=10.0)) == [3.33, 3.33, 3.34]


def test_fewer_start_at_a_time_if_there_is_no_money_for_as_many() -> None:
    assert caps(a_group(members=6, parallel=3, max_cost_usd=0.5)) == [0.25, 0.25]
    assert caps(a_group(members=6, parallel=3, max_cost_usd=0.3)) == [0.3]


def test_without_a_cap_none_is_reserved() -> None:
    assert caps(a_group(max_cost_usd=None)) == [None, None]


def test_the_next_one_gets_what_is_left() -> None:
    assert caps(a_group(), (1.0, True), 4.5) == [3.5]
    assert decided(a_group(), 4.5, 4.5) == Wait("2 at work (2 at a time)")


@pytest.mark.parametrize("spent", [8.9, 9.0, 9.5])
def test_nothing_starts_once_the_money_is_spent(spent: float) -> None:
    found = decided(a_group(), (spent, True))
    assert isinstance(found, Over)
    assert found.reason.endswith("of $9.00 are left, too little for another run")


def test_what_a_member_at_work_has_saved_may_start_another() -> None:
    assert isinstance(decided(a_group(), (6.0, True), 3.0), Wait)
    assert isinstance(decided(a_group(), (6.0, True), (0.5, True)), Start)


def test_reservations_and_costs_never_exceed_the_cap() -> None:
    group = a_group(members=30, parallel=4, max_cost_usd=20.0)
    ends: list[Any] = []
    costs = [0.1, 5.0, 0.0, 2.5, 0.7]
    while not isinstance(decision := decided(group, *ends), Over):
        if isinstance(decision, Start):
            ends.append(decision.entry.cap_usd)
        else:
            first = next(index for index, one in enumerate(ends) if not isinstance(one, tuple))
            ends[first] = (min(ends[first], costs[first % len(costs)]), True)
        assert sum(one[0] if isinstance(one, tuple) else one for one in ends) <= 20.0
    assert len(ends) > 10


def test_a_member_that_is_entered_and_holds_no_lane_is_started_again_with_its_own_cap() -> None:
    group = a_group()
    found = decided(group, 2.0, 4.5, held=(1,))
    assert found == Start(entries(group, 2.0)[0], enter=False)


def test_when_all_have_ended_the_group_is_over() -> None:
    ends = ((1.0, True), (1.0, True), (1.0, True))
    assert decided(a_group(), *ends) == Over("3 of 3 have succeeded")
    assert decided(a_group(), *ends[:2], 1.0) == Wait("1 at work (2 of 3 have succeeded)")


def test_after_a_failure_a_sweep_goes_on_and_a_forecast_that_cannot_be_whole_does_not() -> None:
    assert isinstance(decided(a_group(purpose=Purpose.SWEEP), (1.0, False)), Start)
    found = decided(a_group(), (1.0, False))
    assert isinstance(found, Over)
    assert "the forecast will not be whole" in found.reason
    assert isinstance(decided(a_group(), (1.0, False), 2.0), Wait)


def test_a_stopped_group_starts_nothing_and_is_over_once_no_member_holds_a_lane() -> None:
    assert decided(a_group(), stopped="killed: by hand") == Over("killed: by hand")
    assert decided(a_group(), 3.0, 3.0, held=(0,), stopped="killed") == Wait("1 at work (killed)")
    assert decided(a_group(), 3.0, 3.0, held=(), stopped="killed") == Over("killed")


def test_nothing_starts_that_could_not_boot_before_the_deadline() -> None:
    group = a_group()
    last = group.budget.deadline - LIMITS.boot - 2 * LIMITS.grace
    assert isinstance(decided(group, now=last), Start)
    found = decided(group, now=last + timedelta(seconds=1))
    assert found == Over(f"its deadline is {group.budget.deadline:%Y-%m-%d %H:%MZ}")
