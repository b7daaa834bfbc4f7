"""Every parser and every way to the watchdog, with what it is fed and what it may raise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from chronos_ec2.aws.setup_checks import StackSetupChecks
from chronos_ec2.domain.errors import InvalidDocument, InvalidInput
from chronos_ec2.domain.events import parse_batch, parse_event, parse_relaunch
from chronos_ec2.domain.instance import read_tags
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.parsing.codec import dump_json
from chronos_ec2.domain.records.checkpoint import Manifest, Part
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.reports import Claim, CleanedUp, CleanupReport, OutcomeReport, StatusReport
from chronos_ec2.domain.records.request import DataObject, Request
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import incident_key, outcome_key, run_key, status_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Stop, Suspect, Verdict
from chronos_ec2.run_store import HEARTBEAT
from chronos_ec2.services.watchdog.cleanup_receipt import RECEIPT
from chronos_ec2.testing import Environment
from chronos_ec2.testing.agent import COMPLETED
from chronos_ec2.testing.builders import INSTANCE_ID, LANE, LIMITS, NOW, RUN_ID, a_heartbeat, a_run, seconds
from chronos_ec2.testing.environment import BUCKET
from verification.checkout import ROOT
from verification.fuzz.inputs import JSON, changed_bytes, changed_json, documents_like

EVENTS = ROOT / "events"


@dataclass(frozen=True, slots=True)
class Target:
    """What is fed, with what, and what it may raise."""

    name: str
    inputs: st.SearchStrategy[Any]
    feed: Callable[[Any], object]
    allowed: tuple[type[Exception], ...] = ()


def targets() -> list[Target]:
    """Every parser, and every way to the watchdog."""
    texts = st.text(max_size=40)
    tags = st.dictionaries(
        st.sampled_from(["Environment", "Lane", "RunId", "Attempt", "Deadline", "Hold"]) | texts,
        texts | st.sampled_from(["dev", "main", RUN_ID, "1", "2026-01-31T12:00:00Z", "9" * 30, "True"]),
    )
    lock_keys = changed_bytes(b"dev/lanes/second/system-state.json").map(lambda raw: raw.decode(errors="replace"))
    keys = st.text(max_size=60) | lock_keys
    limits = st.dictionaries(st.sampled_from(sorted(LIMITS.to_seconds())) | texts, JSON, max_size=3)
    fields = dict.fromkeys(
        ("Protocol", "Endpoint", "TopicArn", "SubscriptionArn"), st.text(max_size=20) | st.just("PendingConfirmation")
    )
    run, heartbeat, request, claim, status, outcome, manifest = (documents_like(raw.to_json()) for raw in _written())
    events = st.one_of(JSON, *(changed_json(json.loads(path.read_text())) for path in sorted(EVENTS.glob("*.json"))))
    relaunch = JSON | changed_json({"lane": "main", "run_id": RUN_ID})
    markers = documents_like(b'{"message": "pending"}', b'{"message": "sent"}')
    receipt = documents_like(dump_json({"schema_version": 1, "resources": [], "agent": {"uploads": {"objects": 3}}}))
    invalid = (InvalidDocument,)
    return [
        Target("claim", claim, lambda raw: Claim.from_json(raw, RUN_ID, 1), invalid),
        Target("status", status, lambda raw: StatusReport.from_json(raw, RUN_ID, 1), invalid),
        Target("outcome", outcome, lambda raw: OutcomeReport.from_json(raw, RUN_ID, 1), invalid),
        Target("manifest", manifest, lambda raw: Manifest.from_json(raw, 10), invalid),
        Target("conclusion", st.one_of(receipt, heartbeat, claim, status, outcome), _is_concluded),
        Target("state", run, lambda raw: Run.from_json(raw, LANE), invalid),
        Target("heartbeat", heartbeat, Heartbeat.from_json, invalid),
        Target("request", request, Request.from_json, invalid),
        Target("event", events, parse_event),
        Target("batch of events", events, parse_batch),
        Target("order to relaunch", relaunch, lambda raw: parse_relaunch(raw, "dev")),
        Target("tags", tags, read_tags),
        Target("limits", limits, Limits.from_overrides, (InvalidInput,)),
        Target("key of a lock", keys, Lane.from_state_key),
        Target("names of lanes", keys, lambda raw: Lane("dev", raw), (InvalidInput,)),
        Target("subscriptions", st.lists(st.fixed_dictionaries(fields), max_size=3), _unconfirmed),
        Target("watchdog beside a lock", run, _beside_a_healthy_run(_unreadable_lock, 2)),
        Target("watchdog and a heartbeat", heartbeat, _beside_a_healthy_run(_heartbeat, 1)),
        Target("watchdog and an event", events, _beside_a_healthy_run(lambda env, _, raw: env.handle(raw), 0)),
        Target("watchdog and a marker", markers, _beside_a_healthy_run(_marker, 2)),
    ]


def _written() -> tuple[Run, Heartbeat, Request, Claim, StatusReport, OutcomeReport, Manifest]:
    """What we really write, with every field."""
    verdict = Verdict(Outcome.FAILED, Cause.HUNG, "stood still", DecidedBy.WATCHDOG)
    stop, suspect = Stop(Cause.REQUESTED, "by hand", NOW), Suspect(Cause.HUNG, "stands still", NOW)
    files = (DataObject("cached-datasets/a.parquet", 3, "e"),)
    return (
        a_run(max_cost_usd=10.0, verdict=verdict, stop=stop, suspect=suspect),
        a_heartbeat(
            loss=0.5, trainer_pid=7, checkpoint_age=seconds(9), gpu_utilisation=97.0, sent_at="2026-01-31T12:00:00Z"
        ),
        Request(RUN_ID, LANE, {"model": {}}, ("g4dn.2xlarge",), "0" * 64, files, LIMITS),
        Claim(RUN_ID, 1, INSTANCE_ID, "boot", "c1a1"),
        StatusReport(RUN_ID, 1, ((Status.INITIALIZATION, NOW), (Status.DATA_SYNC, NOW)), "syncing"),
        OutcomeReport(
            RUN_ID, 1, "e4d5", COMPLETED,
            CleanupReport((CleanedUp("process", "trainer", "ended"),), 3, 1000, 2, complete=True),
            (("models/model.safetensors", "0" * 64),),
        ),
        Manifest(10, (Part("weights", 7, "ab" * 32),)),
    )  # fmt: skip


def _unconfirmed(subscriptions: list[dict[str, str]]) -> None:
    pages = SimpleNamespace(paginate=lambda **_: [{"Subscriptions": subscriptions}])
    sns = SimpleNamespace(get_paginator=lambda _operation: pages)
    StackSetupChecks(lambda _service: sns, BUCKET, ["arn:aws:sns:us-east-1:1:topic"]).subscriptions()


def _beside_a_healthy_run(disturb: Callable[[Environment, str, Any], object], sweeps: int) -> Callable[[Any], None]:
    """A run was launched and claimed, and its agent has just sent a heartbeat: nothing may be terminated."""

    def feed(raw: Any) -> None:
        env = Environment()
        run_id = env.launch().run_id
        env.agent.claim()
        env.agent.heartbeat()
        disturb(env, run_id, raw)
        errors = []
        for _ in range(sweeps):
            errors += [report.error for report in env.watchdog.sweep() if report.error]
            env.clock.advance(LIMITS.sweep)
        if errors or env.fleet.terminate_calls:
            raise AssertionError(f"terminated {env.fleet.terminate_calls}; {errors}")

    return feed


def _is_concluded(raw: bytes) -> None:
    """A run has ended, its instance is gone, and has left this in every document and log of its own."""
    env = Environment()
    launched = env.launch()
    env.claim(launched)
    env.end(Outcome.SUCCEEDED, Cause.COMPLETED)
    env.power_off(launched)
    keys = [run_key("dev", launched.run_id, name) for name in _OF_AN_INSTANCE]
    for key in [*keys, status_key("dev", launched.run_id), outcome_key("dev", launched.run_id, 1)]:
        env.objects.write(key, raw)
    env.objects.begin(run_key("dev", launched.run_id, raw[:60].decode("latin-1")))
    errors = [report.error for report in env.watchdog.sweep() if report.error]
    if errors or env.run or env.kinds() != ["completed"]:
        raise AssertionError(f"{errors}; {env.kinds()}; {env.run}")


_OF_AN_INSTANCE = (RECEIPT, HEARTBEAT, "run.json", "training.json", "logs/trainer.log", "logs/exit-report-1.txt")


def _unreadable_lock(env: Environment, _run_id: str, raw: bytes) -> None:
    """Only an unreadable lock: a readable one is the truth about its run."""
    try:
        Run.from_json(raw, LANE)
    except InvalidDocument:
        env.objects.write(LANE.state_key, raw)


def _heartbeat(env: Environment, run_id: str, raw: bytes) -> None:
    env.objects.write(run_key("dev", run_id, HEARTBEAT), raw)


def _marker(env: Environment, run_id: str, raw: bytes) -> None:
    env.objects.write(incident_key("dev", run_id, Kind.STARTED, 1), raw)
