"""The documents of a group: what is written is read again, and what is not one of ours is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chronos_ec2.domain.errors import InvalidDocument, InvalidInput
from chronos_ec2.domain.groups.order import MAX_MEMBERS, Group, Purpose, check_group_name, may_be_of_a_group
from chronos_ec2.domain.groups.result import Result, result_of
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import Request
from chronos_ec2.domain.schedules.ledger import Ledger
from chronos_ec2.testing.builders import LIMITS, NOW, a_group


@pytest.mark.parametrize("purpose", Purpose)
def test_an_order_that_is_written_is_read_again(purpose: Purpose) -> None:
    group = a_group(purpose=purpose)
    assert Group.from_json(group.to_json(), "sales") == group


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"schema_version": 2}, "schema_version 2"),
        ({"name": "others"}, "the order of another group"),
        ({"purpose": "lottery"}, "lottery"),
        ({"parallel": 0}, "3 members, 0 at a time"),
        ({"members": []}, "0 members"),
        ({"members": [{"config": {}, "models": [], "differs_in": {}}] * (MAX_MEMBERS + 1)}, "101 members"),
        ({"request": {}}, "is missing"),
    ],
)
def test_what_is_no_order_is_refused(changes: dict[str, Any], problem: str) -> None:
    document = json.loads(a_group().to_json()) | changes
    with pytest.raises(InvalidDocument, match=problem):
        Group.from_json(json.dumps(document).encode(), "sales")


def test_an_order_without_a_budget_is_refused() -> None:
    group = a_group()
    unlimited = replace(group, request=replace(group.request, budget=None))
    with pytest.raises(InvalidDocument, match="no budget"):
        Group.from_json(unlimited.to_json(), "sales")


@pytest.mark.parametrize("name", ["", "Sales", "a" * 21, "a/b", "1st"])
def test_a_name_from_which_no_lane_can_be_named_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_group_name(name)


def test_each_member_has_one_run_and_one_lane_whoever_starts_it() -> None:
    group = a_group(members=MAX_MEMBERS)
    assert len(set(group.run_ids)) == MAX_MEMBERS
    assert group.run_ids == a_group(members=MAX_MEMBERS).run_ids
    assert group.lanes[99] == Lane("dev", "sales-99")
    assert not set(group.run_ids) & set(a_group("others", members=MAX_MEMBERS).run_ids)


def test_the_request_of_a_member_follows_from_its_entry() -> None:
    group = a_group()
    entry = group.entry(1, 2.5, NOW)
    request = group.request_of(entry)
    assert (request.run_id, request.lane, request.group) == (group.run_ids[1], group.lanes[1], "sales")
    assert request.config["number"] == 1
    assert request.budget
    assert (request.budget.max_cost_usd, request.budget.deadline) == (2.5, NOW + LIMITS.max_runtime)
    assert Request.from_json(request.to_json()) == request
    late = group.request_of(group.entry(1, 2.5, group.budget.deadline - timedelta(hours=1)))
    assert late.budget
    assert late.budget.deadline == group.budget.deadline


def test_a_ledger_may_be_stopped() -> None:
    ledger = Ledger((a_group().entry(0, None, NOW),), 3, "killed: by hand")
    assert Ledger.from_json(ledger.to_json()) == ledger
    assert ledger.with_entry(a_group().entry(1, 1.0, NOW)).stopped == "killed: by hand"


def test_a_result_that_is_written_is_read_again_and_says_what_is_missing() -> None:
    group = a_group()
    ended = replace(group.entry(0, 3.0, NOW), spent_usd=1.25, succeeded=True)
    result = result_of(group, Ledger((ended, group.entry(1, 3.0, NOW))), "killed: by hand", NOW)
    assert Result.from_json(result.to_json(), "sales") == result
    assert result.sentence == "1 of 3 runs have succeeded, for $1.25: killed: by hand"
    assert not result.whole
    for changes in ({"schema_version": 0}, {"name": "others"}, {"spent_usd": -1}):
        with pytest.raises(InvalidDocument):
            Result.from_json(json.dumps(json.loads(result.to_json()) | changes).encode(), "sales")


def test_the_lanes_of_members_are_known_by_their_names() -> None:
    assert all(map(may_be_of_a_group, a_group().lanes))
    assert not any(may_be_of_a_group(Lane("dev", name)) for name in ("main", "sales", "a-b", "a1"))
