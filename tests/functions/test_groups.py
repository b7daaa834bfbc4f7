"""The launcher function and groups, on AWS as moto plays it, with the rights of its role."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chronos_ec2.bootstrap.operator import operator_world
from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.groups.order import Group
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import followed_key, run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Verdict
from chronos_ec2.services.groups.store import GroupStore
from chronos_ec2.testing.aws_server import store
from chronos_ec2.testing.builders import a_group, a_run
from tests.functions.conftest import CONTEXT
from tests.functions.test_launcher import running
from tests.template.calls import Recorder


@pytest.fixture
def advance(function_variables: None, calls: Recorder) -> Any:
    """The launcher function, asked to go on with a group after a run, with the rights of its role."""
    module = importlib.import_module("functions.launcher")
    module.schedules.cache_clear()

    def advance(run_id: str, group: str = "sales") -> None:
        with calls.acting("LauncherRole"):
            module.handler({"group": group, "after": run_id}, CONTEXT)

    return advance


@pytest.fixture
def group(deployed: str) -> Group:
    """A group that is ordered, of which nobody has started a run."""
    now = importlib.import_module("functions.launcher").schedules().clock.now()
    made = a_group(members=2, parallel=1)
    budget = replace(made.budget, deadline=now + timedelta(days=2))
    made = replace(made, created_at=now, request=replace(made.request, budget=budget))
    GroupStore("dev", store().objects).create(made)
    return made


def end(group: Group, index: int) -> None:
    """The run of a member has made its forecast, and its lane is free."""
    run_id, lane = group.run_ids[index], group.lanes[index]
    held = store().read_lock(lane)
    assert isinstance(held, LockHeld)
    verdict = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "done", DecidedBy.AGENT)
    final = replace(held.run.end(verdict, held.run.created_at), ended_at=held.run.created_at, spent_usd=0.25)
    objects = store().objects
    objects.write(run_key("dev", run_id, "state.json"), final.to_json())
    part = {"key": run_key("dev", run_id, "forecasts/part-00000.parquet"), "bytes": 4, "sha256": "0" * 64}
    manifest = {"parts": [part | {"rows": 28, "items": 1}]}
    objects.write(run_key("dev", run_id, "forecasts/manifest.json"), json.dumps(manifest).encode())
    objects.remove(lane.state_key, held.etag)


@pytest.fixture(autouse=True)
def _settings(function_variables: None) -> None:
    """The variables come before the group."""


def test_one_member_after_the_other_is_started_once_and_the_last_ends_the_group(
    advance: Any, group: Group, calls: Recorder
) -> None:
    first, second = group.run_ids
    with calls.acting("OperatorPolicy"):
        operator_world("dev").groups.go_on("sales")
    assert len(running()) == 1
    assert isinstance(store().read_lock(Lane("dev", "sales-0")), LockHeld)
    advance(first)
    assert store().objects.read(followed_key("dev", first)) is None  # it has not ended
    end(group, 0)
    for _ in range(2):
        advance(first)
    assert len(running()) == 2
    assert isinstance(store().read_lock(Lane("dev", "sales-1")), LockHeld)
    end(group, 1)
    for _ in range(2):
        advance(second)
    result = GroupStore("dev", store().objects).result("sales")
    assert result
    assert (result.sentence, result.whole) == ("2 of 2 runs have succeeded, for $0.50", True)
    assert len(GroupStore("dev", store().objects).forecasts("sales")) == 2
    assert [key for key, _ in store().objects.keys("dev/incidents/")] == ["dev/incidents/group-sales/ended"]
    assert store().objects.read(followed_key("dev", second))


def test_a_group_that_is_not_there_keeps_no_lane_and_what_is_no_request_is_ignored(advance: Any, group: Group) -> None:
    final = a_run(run_id=group.run_ids[0], lane=Lane("dev"))
    store().objects.write(run_key("dev", group.run_ids[0], "state.json"), final.to_json())
    advance(group.run_ids[0], "others")
    assert store().objects.read(followed_key("dev", group.run_ids[0]))
    advance("no-run")
    advance(group.run_ids[1], "No Name")
    assert running() == []
