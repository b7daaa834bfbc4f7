"""The watchdog, with the rights of its role, in every situation in which it acts: a path without its right is found."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.champion import Promote, Promotion
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.reports import Comparison, OutcomeReport
from chronos_ec2.domain.records.request import Request
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import outcome_key, run_key
from chronos_ec2.domain.records.status import Status
from chronos_ec2.model_registry import Registry
from chronos_ec2.testing.agent import COMPLETED
from chronos_ec2.testing.aws_server import DEADLINE_GROUP, leave_behind, left_behind, start_instance, store
from chronos_ec2.testing.builders import a_run, launching
from tests.functions.conftest import CONTEXT, watchdog_that_cannot_notify
from tests.template.calls import NEEDED, Recorder
from tests.template.iam import Answer, Policies
from tests.template.test_policies import DEADLINE, DEADLINE_ROLE, policies

AT_ONCE = dict.fromkeys(("lease", "boot", "grace", "confirmation", "absence"), 0.001)
AT_ONCE |= {"heartbeat": 0.0001, "heartbeat_retry": 0.0001}
NOW = datetime.now(UTC)
Sweep = Callable[..., None]


@pytest.fixture
def sweep(function_variables: None, monkeypatch: pytest.MonkeyPatch, calls: Recorder) -> Sweep:
    """Run the sweep several times with limits of a millisecond, in the watchdog's role."""
    monkeypatch.setenv("LIMIT_OVERRIDES", json.dumps(AT_ONCE))
    module = importlib.import_module("functions.sweep")
    module.reconciler.cache_clear()

    def sweep(times: int = 4, of: Policies | None = None) -> None:
        for _ in range(times):
            with calls.acting("WatchdogRole", of), suppress(ServiceUnavailable):
                module.handler({}, CONTEXT)
            time.sleep(0.01)  # for S3, EC2 and the limits to tell before from after

    return sweep


def state_of(instance_id: str) -> str:
    found: Mapping[str, Any] = client("ec2").describe_instances(InstanceIds=[instance_id])
    return str(found["Reservations"][0]["Instances"][0]["State"]["Name"])


def later(run: Run) -> Run:
    return replace(run, created_at=NOW, updated_at=NOW, deadline=NOW + timedelta(hours=9))


def a_dead_run() -> str:
    """A run whose agent has not been heard of; it left a volume, a network interface and an upload."""
    run = later(a_run(instance_id=None))
    instance_id = start_instance(run)
    store().create_lock(replace(run, instance_id=instance_id))
    leave_behind(run)
    return instance_id


def test_a_dead_run_is_ended_and_cleaned_up(sweep: Sweep) -> None:
    instance_id = a_dead_run()
    sweep()
    assert state_of(instance_id) == "terminated"
    assert left_behind() == []
    assert store().objects.read("dev/system-state.json") is None


def test_an_orphan_is_ended(sweep: Sweep) -> None:
    instance_id = start_instance(later(a_run(lane=Lane("dev", "second"))))
    sweep()
    assert state_of(instance_id) == "terminated"


def test_a_protected_instance_is_ended(sweep: Sweep) -> None:
    instance_id = a_dead_run()
    client("ec2").modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": True})
    sweep()
    assert state_of(instance_id) == "terminated"


def a_trained_run(run_id: str, compared_with: int) -> None:
    """A run that has trained a better model and whose instance is gone."""
    run = later(a_run(run_id=run_id)).end(COMPLETED, NOW)
    promotion = Promotion("default", Promote.BETTER, compared_with)
    request = Request(run_id, run.lane, {}, ("g4dn.2xlarge",), "0" * 64, (), Limits(), promotion=promotion)
    store().objects.create(run_key("dev", run_id, "request.json"), request.to_json())
    comparison = Comparison("trained", ("base", "champion"), ("base", "champion"))
    report = OutcomeReport(run_id, 1, "ff", COMPLETED, models=(("config.json", "0" * 64),), comparison=comparison)
    store().objects.create(outcome_key("dev", run_id, 1), report.to_json())
    store().create_lock(run)


def test_better_models_become_champions(sweep: Sweep) -> None:
    runs = ("20260131T110000Z-00000a", "20260131T120000Z-00000b")
    for compared_with, run_id in enumerate(runs):
        a_trained_run(run_id, compared_with)
        sweep()
    assert [one.run_id for one in Registry("dev", store().objects).history("default")] == [*reversed(runs)]


def test_an_unreadable_lock_is_set_aside(sweep: Sweep) -> None:
    store().objects.create("dev/system-state.json", b"not json")
    sweep()
    assert store().objects.read("dev/system-state.json") is None
    assert list(store().objects.keys("dev/unreadable/"))


def test_another_attempt_is_asked_for(sweep: Sweep, calls: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT_OVERRIDES", "{}")
    store().create_lock(later(replace(launching(), attempt=2, phases=((Status.INITIALIZATION, NOW),))))
    calls.heard.clear()
    with suppress(Exception):  # moto has no function to invoke
        sweep(1)
    assert ("WatchdogRole", "lambda.Invoke") in calls.heard


def test_a_marker_is_withdrawn_when_its_message_does_not_go_out(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = cache(lambda: watchdog_that_cannot_notify(ServiceUnavailable("SNS does not answer")))
    monkeypatch.setattr(importlib.import_module("functions.sweep"), "reconciler", refusing)
    a_dead_run()
    start_instance(later(a_run(lane=Lane("dev", "second"))))
    sweep()
    keys = [key for key, _ in store().objects.keys("dev/")]
    markers = [key for key in keys if "/notified/" in key or "/incidents/" in key]
    assert [key for key in markers if "/notified/hours/" not in key] == []


def test_a_schedule_that_the_sweep_made_may_do_what_it_is_for(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMIT_OVERRIDES", "{}")
    run = later(a_run(instance_id=None))
    instance_id = start_instance(run)
    store().create_lock(replace(run, instance_id=instance_id))
    sweep(1)
    made = client("scheduler").get_schedule(GroupName=DEADLINE_GROUP, Name=instance_id)
    assert made["Target"]["RoleArn"] == DEADLINE_ROLE
    order = json.loads(made["Target"]["Input"])
    for request in NEEDED["ec2.TerminateInstances"](order):
        assert policies().ask(DEADLINE, request) is Answer.ALLOWED
    assert order == {"InstanceIds": [instance_id]}


def test_a_kill_path_without_its_right_is_found(sweep: Sweep, calls: Recorder) -> None:
    start_instance(later(a_run(lane=Lane("dev", "second"))))
    roles = json.loads(json.dumps(dict(policies().resources)))
    statements = roles["WatchdogRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    kept = [statement for statement in statements if "ec2:TerminateInstances" not in statement["Action"]]
    assert len(kept) == len(statements) - 1
    roles["WatchdogRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"] = kept
    sweep(of=Policies(roles))
    assert "WatchdogRole: ec2:TerminateInstances" in calls.denied[0]
    calls.denied.clear()
