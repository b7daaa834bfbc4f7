"""`python -m verification.fuzz`: whatever comes from outside is read, or refused with an error of ours.

Every parser is fed with what Hypothesis makes up and with what AWS or we really write, changed in some bytes or fields.
None may raise anything but its own error. Then the same input is put before the watchdog, as lock, heartbeat, message
marker or event beside a healthy run: nothing may be terminated.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
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
from chronos_ec2.testing.builders import INSTANCE_ID, LANE, LIMITS, NOW, RUN_ID, a_heartbeat, a_run, seconds
from chronos_ec2.testing.environment import BUCKET
from verification.simulation.campaign import without_log

EVENTS = Path(__file__).resolve().parents[1] / "events"


@dataclass(frozen=True, slots=True)
class Target:
    """What is fed, with what, and what it may raise."""

    name: str
    inputs: st.SearchStrategy[Any]
    feed: Callable[[Any], object]
    allowed: tuple[type[Exception], ...] = ()


@dataclass(slots=True)
class FuzzResult:
    """How many inputs there were, of each target, and what they broke."""

    inputs: int = 0
    failures: list[str] = field(default_factory=list)
    by_target: dict[str, int] = field(default_factory=dict)


@without_log()
def fuzz(examples: int) -> FuzzResult:
    """Feed every target with so many inputs."""
    result = FuzzResult()
    for target in targets():
        result.by_target[target.name], failure = _fed(target, examples)
        result.failures += [failure] if failure else []
    result.inputs = sum(result.by_target.values())
    return result


def _fed(target: Target, examples: int) -> tuple[int, str]:
    fed = 0

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
    )  # fmt: skip
    @given(target.inputs)
    def feed(raw: Any) -> None:
        nonlocal fed
        fed += 1
        try:
            target.feed(raw)
        except target.allowed:
            return

    try:
        feed()
    except Exception as error:  # noqa: BLE001 - whatever escapes is the finding
        return fed, f"{target.name}: {type(error).__name__}: {error}"
    return fed, ""


# --- inputs --------------------------------------------------------------------------------------------------------

_HOSTILE = st.sampled_from(
    ["\ud800", "a\udfff", "\x00\x1b[2J", "\u202e", "x" * 5000, "x" * 70_000, 10**400, -(10**400), float("nan"),
     float("inf"), float("-inf"), 1e308]
)  # fmt: skip
"""What Python writes and reads as JSON, and others do not, or what is longer than any field."""
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | _HOSTILE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_FRAGMENTS = st.sampled_from(
    [b"", b"NaN", b"-Infinity", b"1e999", b"\xef\xbb\xbf", b"}", b"[" * 9, b"\\ud800", b'"\\udfff"', b"9" * 5000,
     b"x" * 5000, b"[" * 60_000, b"[" * 100 + b"]" * 100, b'{"a":' * 20_000 + b"1" + b"}" * 20_000]
)  # fmt: skip
_LEFT_OUT = object()


def _changed_bytes(golden: bytes) -> st.SearchStrategy[bytes]:
    """Cut out, put in, cut off: at any place, so much of anything."""
    at = st.integers(0, len(golden))
    return st.builds(
        lambda start, length, new: golden[:start] + new + golden[start + length :],
        at,
        st.integers(0, 40) | at,
        st.binary(max_size=12) | _FRAGMENTS,
    )  # fmt: skip


def _changed_json(golden: Any) -> st.SearchStrategy[Any]:
    """Another value at any place, however deep, or one that is left out."""
    return st.builds(
        lambda place, value: _with(golden, place, value), st.sampled_from(_places(golden)), _JSON | st.just(_LEFT_OUT)
    )


def _places(golden: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = golden.items() if isinstance(golden, dict) else enumerate(golden) if isinstance(golden, list) else ()
    return [place, *(found for key, value in inner for found in _places(value, (*place, key)))]


def _with(golden: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return None if value is _LEFT_OUT else value
    key, *rest = place
    changed = golden.copy()
    if not rest and value is _LEFT_OUT:
        del changed[key]
    else:
        changed[key] = _with(golden[key], tuple(rest), value)
    return changed


def _documents(*golden: bytes) -> st.SearchStrategy[bytes]:
    values = [_JSON, *(_changed_json(json.loads(one)) for one in golden)]
    written = (one.map(lambda value: json.dumps(value).encode()) for one in values)
    return st.one_of(st.binary(max_size=300), *map(_changed_bytes, golden), *written)


# --- targets -------------------------------------------------------------------------------------------------------


def targets() -> list[Target]:
    """Every parser, and every way to the watchdog."""
    texts = st.text(max_size=40)
    tags = st.dictionaries(
        st.sampled_from(["Environment", "Lane", "RunId", "Attempt", "Deadline", "Hold"]) | texts,
        texts | st.sampled_from(["dev", "main", RUN_ID, "1", "2026-01-31T12:00:00Z", "9" * 30, "True"]),
    )
    lock_keys = _changed_bytes(b"dev/lanes/second/system-state.json").map(lambda raw: raw.decode(errors="replace"))
    keys = st.text(max_size=60) | lock_keys
    limits = st.dictionaries(st.sampled_from(sorted(LIMITS.to_seconds())) | texts, _JSON, max_size=3)
    fields = dict.fromkeys(
        ("Protocol", "Endpoint", "TopicArn", "SubscriptionArn"), st.text(max_size=20) | st.just("PendingConfirmation")
    )
    verdict = Verdict(Outcome.FAILED, Cause.HUNG, "stood still", DecidedBy.WATCHDOG)
    stop, suspect = Stop(Cause.REQUESTED, "by hand", NOW), Suspect(Cause.HUNG, "stands still", NOW)
    run = _documents(a_run(max_cost_usd=10.0, verdict=verdict, stop=stop, suspect=suspect).to_json())
    heartbeat = _documents(
        a_heartbeat(
            loss=0.5, trainer_pid=7, checkpoint_age=seconds(9), gpu_utilisation=97.0, sent_at="2026-01-31T12:00:00Z"
        ).to_json()
    )
    files = (DataObject("cached-datasets/a.parquet", 3, "e"),)
    request = Request(RUN_ID, LANE, {"model": {}}, ("g4dn.2xlarge",), "0" * 64, files, LIMITS)
    events = st.one_of(_JSON, *(_changed_json(json.loads(path.read_text())) for path in sorted(EVENTS.glob("*.json"))))
    relaunch = _JSON | _changed_json({"lane": "main", "run_id": RUN_ID})
    markers = _documents(b'{"message": "pending"}', b'{"message": "sent"}')
    reports: dict[str, Claim | StatusReport | OutcomeReport] = {
        "claim": Claim(RUN_ID, 1, INSTANCE_ID, "boot", "c1a1"),
        "status": StatusReport(RUN_ID, 1, ((Status.INITIALIZATION, NOW), (Status.DATA_SYNC, NOW)), "syncing"),
        "outcome": OutcomeReport(
            RUN_ID, 1, "e4d5", Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "trained", DecidedBy.AGENT),
            CleanupReport((CleanedUp("process", "trainer", "ended"),), 3, 1000, 2, complete=True),
            (("models/model.safetensors", "0" * 64),),
        ),
    }  # fmt: skip
    documents = {name: _documents(report.to_json()) for name, report in reports.items()}
    manifest = _documents(Manifest(10, (Part("weights", 7, "ab" * 32),)).to_json())
    receipt = _documents(dump_json({"schema_version": 1, "resources": [], "agent": {"uploads": {"objects": 3}}}))
    return [
        Target("claim", documents["claim"], lambda raw: Claim.from_json(raw, RUN_ID, 1), (InvalidDocument,)),
        Target("status", documents["status"], lambda raw: StatusReport.from_json(raw, RUN_ID, 1), (InvalidDocument,)),
        Target(
            "outcome", documents["outcome"], lambda raw: OutcomeReport.from_json(raw, RUN_ID, 1), (InvalidDocument,)
        ),
        Target("manifest", manifest, lambda raw: Manifest.from_json(raw, 10), (InvalidDocument,)),
        Target("conclusion", st.one_of(receipt, heartbeat, *documents.values()), _is_concluded),
        Target("state", run, lambda raw: Run.from_json(raw, LANE), (InvalidDocument,)),
        Target("heartbeat", heartbeat, Heartbeat.from_json, (InvalidDocument,)),
        Target("request", _documents(request.to_json()), Request.from_json, (InvalidDocument,)),
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


def _outcome(raw: bytes) -> OutcomeReport:
    return OutcomeReport.from_json(raw, RUN_ID, 1)


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


def main() -> int:
    """Feed every target with a few thousand inputs; 1 if any of them broke something."""
    result = fuzz(2000)
    for name, fed in result.by_target.items():
        print(f"{name:28} {fed:8,}")
    for failure in result.failures:
        print(f"FAILED  {failure}")
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
