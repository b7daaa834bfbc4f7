"""Histories of groups with random deaths go wrong nowhere, and what is wrong is seen."""

from __future__ import annotations

from chronos_ec2.domain.groups.order import Purpose
from chronos_ec2.domain.instance import owner_tags
from chronos_ec2.testing import Environment
from chronos_ec2.testing.builders import a_group
from verification.lifecycle.groups import MEMBERS, group_histories, judged, shard_figures


def test_no_history_starts_a_member_twice_loses_one_or_costs_more_than_it_may() -> None:
    found = group_histories(20)
    assert found == {"histories": 20} | dict.fromkeys(MEMBERS, 0)


def test_each_series_is_in_one_shard() -> None:
    assert shard_figures(300) == {"items_in_no_or_two_shards": 0}


def test_a_lost_member_a_second_instance_and_too_high_a_cost_are_seen() -> None:
    env, group = Environment(), a_group(members=2, parallel=1, purpose=Purpose.SWEEP, max_cost_usd=0.5)
    env.groups.orders.create(group)
    env.groups.go_on(group.name)
    assert judged(env, group, 0.5)["lost"] > 0
    while not env.settled:
        env.tick()
    assert sum(judged(env, group, 0.5).values()) == 0
    assert judged(env, group, -9.0)["over_cap"] == 1
    tags = owner_tags(env.fleet.project, env.name) | {"Lane": group.lanes[0].name, "RunId": group.run_ids[0]}
    env.fleet.add(tags)
    assert judged(env, group, 0.5)["started_twice"] == 1
