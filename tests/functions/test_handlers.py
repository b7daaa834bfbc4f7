"""Each handler with each golden event, on AWS as moto plays it: what must be reconciled is, and nothing else."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aws_lambda_powertools import Logger

from chronos_ec2.aws.clients import client
from chronos_ec2.bootstrap.watchdog import watchdog
from chronos_ec2.domain.decision import Decision, Terminate
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.facts import Absent
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Verdict
from chronos_ec2.observability import log_report
from chronos_ec2.services.watchdog.reconcile import Report
from chronos_ec2.testing import Environment
from chronos_ec2.testing.aws_server import start_instance, store
from chronos_ec2.testing.builders import RUN_ID, a_run
from tests.functions.conftest import CONTEXT, watchdog_that_cannot_notify
from tests.template.calls import Recorder

EVENTS = Path(__file__).parents[2] / "events"
ALL_EVENTS = sorted(path.name for path in EVENTS.glob("*.json"))
FOR_NOBODY = [name for name in ALL_EVENTS if name.startswith(("malformed-", "sweep-", "dlq-failed-sweep"))]
FOR_NOBODY += [name for name in ALL_EVENTS if name.endswith("-foreign.json")]
EC2_EVENTS = [name for name in ALL_EVENTS if name.startswith(("ec2-", "spot-", "rebalance"))]
EC2_EVENTS += ["dlq-failed-instance-changed.json", "dlq-failed-instance-changed-twice.json"]
REPORTS = [f"s3-object-created-{report}.json" for report in ("status", "claim", "outcome")]
ENDED = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "trained", DecidedBy.AGENT)
Handle = Callable[[str], None]
NOTHING_FAILED = {"batchItemFailures": []}


@pytest.fixture
def handle(function_variables: None, calls: Recorder) -> Callable[[str, str, str | None], None]:
    """Call a handler with a golden event, as Lambda would, in its role; an instance id replaces the event's."""

    def handle(function: str, event: str, instance_id: str | None = None) -> None:
        module = importlib.import_module(f"functions.{function}")
        module.reconciler.cache_clear()
        document: Any = json.loads((EVENTS / event).read_text())
        original = document
        while instance_id and "requestPayload" in original:
            original = original["requestPayload"]
        if instance_id:
            original["detail"]["instance-id"] = instance_id
        with calls.acting("WatchdogRole"):
            answer = module.handler(document, CONTEXT)
        assert answer in (None, NOTHING_FAILED)

    return handle


def a_finished_run(lane: Lane = Lane("dev"), run_id: str = RUN_ID) -> str:
    """A run with its agent's verdict and a terminated instance: one reconcile releases its lock."""
    run = a_run(lane=lane, run_id=run_id, status=Status.CLEANUP, verdict=ENDED)
    instance_id = start_instance(run)
    client("ec2").terminate_instances(InstanceIds=[instance_id])
    store().create_lock(replace(run, instance_id=instance_id))
    return instance_id


def released(lane: Lane = Lane("dev")) -> bool:
    return store().read_lock(lane) == Absent()


@pytest.mark.parametrize(
    "event",
    [
        "s3-object-created-state.json",
        "s3-object-deleted-state.json",
        "s3-object-created-state-unversioned.json",
        "s3-object-deleted-state-unversioned.json",
        "s3-object-deleted-state-lifecycle.json",
        "dlq-undelivered-state.json",
        "sqs-state-event.json",
        "sqs-state-events.json",
    ],
)
def test_a_write_of_the_lock_reconciles_its_lane(handle: Any, event: str) -> None:
    a_finished_run()
    handle("state_written", event)
    assert released()


def test_a_write_of_another_lanes_lock_reconciles_that_lane_alone(handle: Any) -> None:
    event = json.loads((EVENTS / "s3-object-created-lane.json").read_text())
    lane = Lane.from_state_key(event["detail"]["object"]["key"])
    assert lane is not None
    a_finished_run()
    a_finished_run(lane)
    handle("state_written", "s3-object-created-lane.json")
    assert (released(lane), released()) == (True, False)


@pytest.mark.parametrize("event", REPORTS)
def test_a_report_of_an_instance_reconciles_the_lane_that_its_tags_name(handle: Any, event: str) -> None:
    nightly, run_id = Lane("dev", "nightly"), "20261123T115900Z-1a2b3c"
    a_finished_run()
    handle("state_written", event)
    assert not released()
    a_finished_run(nightly, run_id)
    handle("state_written", event)
    assert (released(nightly), released()) == (True, False)


class TestABatch:
    """One lane of it cannot be reconciled, because nobody can be told of its run's end."""

    @pytest.fixture
    def take(self, function_variables: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
        """Call the handler with a message for each lane."""
        module = importlib.import_module("functions.state_written")
        refusing = cache(lambda: watchdog_that_cannot_notify(RuntimeError("a defect"), "broken"))
        monkeypatch.setattr(module, "reconciler", refusing)
        event = json.loads((EVENTS / "s3-object-created-state.json").read_text())

        def take(*lanes: Lane) -> Any:
            records = []
            for number, lane in enumerate(lanes):
                event["detail"]["object"]["key"] = lane.state_key
                records.append({"messageId": f"m{number}", "body": json.dumps(event)})
            return module.handler({"Records": records}, CONTEXT)

        return take

    def test_only_the_messages_of_the_failed_lane_come_again(self, take: Callable[..., Any]) -> None:
        broken, main = Lane("dev", "broken"), Lane("dev")
        a_finished_run(broken)
        a_finished_run(main)
        failed = [{"itemIdentifier": "m0"}, {"itemIdentifier": "m2"}]
        assert take(broken, main, broken) == {"batchItemFailures": failed}
        assert released(main)

    def test_a_batch_of_which_nothing_succeeds_is_an_error_that_the_alarm_sees(self, take: Callable[..., Any]) -> None:
        broken = Lane("dev", "broken")
        a_finished_run(broken)
        with pytest.raises(RuntimeError, match="a defect"):
            take(broken, broken)


@pytest.mark.parametrize("event", EC2_EVENTS)
def test_an_event_of_our_instance_reconciles_its_lane(handle: Any, event: str) -> None:
    handle("instance_changed", event, a_finished_run())
    assert released()


def test_an_event_of_a_foreign_instance_changes_nothing(handle: Any) -> None:
    a_finished_run()
    for event in EC2_EVENTS:
        handle("instance_changed", event)
        assert not released(), event


@pytest.mark.parametrize("function", ["state_written", "instance_changed"])
def test_an_event_for_nobody_is_ignored(handle: Any, function: str) -> None:
    a_finished_run()
    for event in FOR_NOBODY:
        handle(function, event)
        assert not released(), event


def test_the_sweep_releases_the_lock_of_a_finished_run(handle: Any) -> None:
    a_finished_run()
    handle("sweep", "sweep-tick.json")
    assert released()


def test_the_sweep_reconciles_whatever_its_event_says(monkeypatch: pytest.MonkeyPatch) -> None:
    env, sweep = Environment(), importlib.import_module("functions.sweep")
    monkeypatch.setattr(sweep, "reconciler", lambda: env.watchdog)
    for event in ALL_EVENTS:
        launched = env.launch()
        env.claim(launched)
        env.end(Outcome.SUCCEEDED, Cause.COMPLETED)
        env.power_off(launched)
        sweep.handler(json.loads((EVENTS / event).read_text()), CONTEXT)
        assert env.settled, event


def test_a_sweep_with_a_failed_lane_reconciles_the_others_and_fails(
    handle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_finished_run()
    broken = Lane("dev", "aaa")
    store().objects.write(broken.state_key, b"not json")
    refusing = cache(lambda: watchdog_that_cannot_notify(RuntimeError("a defect"), broken.name))
    monkeypatch.setattr(importlib.import_module("functions.sweep"), "reconciler", refusing)
    with pytest.raises(ServiceUnavailable, match=r"1 of 2 lanes failed.*a defect"):
        handle("sweep", "sweep-tick.json")
    assert released()


def test_the_watchdog_uses_the_clients_that_give_up_in_time(function_variables: None) -> None:
    reconciler = watchdog()
    assert reconciler.fleet._ec2 is client("ec2", brief=True)  # type: ignore[attr-defined]
    assert reconciler.store.objects._s3 is client("s3", brief=True)  # type: ignore[attr-defined]


def test_each_decision_is_one_json_line_with_reason_evidence_and_actions() -> None:
    stream = io.StringIO()
    logger = Logger(service="test-observability", stream=stream)
    decision = Decision("no heartbeat", (Terminate("i-1", Cause.INFRA),), {"run_id": "r"})
    log_report(logger, Report(Lane("dev"), decision, run=a_run(), instances=("i-1",)))
    (line,) = stream.getvalue().splitlines()
    logged = json.loads(line)
    assert (logged["message"], logged["level"], logged["actions"]) == ("no heartbeat", "INFO", ["Terminate"])
    assert (logged["lane"], logged["evidence"]) == ("main", {"run_id": "r"})
    assert (logged["terminations"], logged["leaks"]) == (1, 0)
    assert (logged["run_id"], logged["attempt"], logged["instances"]) == (RUN_ID, 1, ["i-1"])


@pytest.mark.parametrize("function", ["state_written", "instance_changed", "sweep", "launcher"])
def test_a_handler_imports_nothing_heavy(function: str) -> None:
    code = (
        f"import sys, functions.{function}; "
        "data_classes = 'aws_lambda_powertools.utilities.data_classes'; "
        "heavy = {data_classes, 'torch', 'pyarrow', 'pandas', 'numpy', 'pydantic', 'typer', 'rich', 'yaml'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
