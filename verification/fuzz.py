"""Everything that comes from outside, made up or changed: it is read, or refused with an error of ours, and no more.

Every parser is fed with what Hypothesis makes up and with what AWS or we really write, changed in some bytes or fields.
None may raise anything but its own error. Then the same is put before the watchdog, as lock, heartbeat, message marker
or event beside a run that is healthy: nothing may be terminated.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from chronos_ec2.testing.watchdog import BUCKET, watchdog_over
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chronos_ec2.aws.setup_checks import StackSetupChecks
from chronos_ec2.domain.errors import InvalidDocument, InvalidInput
from chronos_ec2.domain.events import (
    parse_event,
    parse_relaunch,
)
from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.instance import read_tags
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.domain.records.lane import CACHED, Lane
from chronos_ec2.domain.records.request import Request
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import incident_key, run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Stop, Suspect, Verdict
from chronos_ec2.run_store import HEARTBEAT, RunStore
from chronos_ec2.services.launch import Launched, Launcher, LaunchSpec, launch
from chronos_ec2.testing import MemoryAws
from chronos_ec2.worker.run_lock import Identity, RunLock
from verification.simulation.campaign import without_log

ROOT = Path(__file__).resolve().parents[1]
LANE, LIMITS = Lane("dev"), Limits()
_RUN_ID, _INSTANCE_ID, _NOW = "20260131T110000Z-1a2b3c", "i-0123456789abcdef0", datetime(2026, 1, 31, 12, tzinfo=UTC)


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


def fuzz(examples: int) -> FuzzResult:
    """Feed every target with so many inputs."""
    result = FuzzResult()
    with without_log():
        for target in targets():
            fed, failure = _fed(target, examples)
            result.by_target[target.name] = fed
            result.inputs += fed
            result.failures += [failure] if failure else []
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

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


_FRAGMENTS = st.sampled_from([b"", b"NaN", b"\xef\xbb\xbf", b"}", b"[" * 9])


def _changed_bytes(golden: bytes) -> st.SearchStrategy[bytes]:
    """Cut out, put in, cut off: at any place, so much of anything."""
    at = st.integers(0, len(golden))
    return st.builds(
        lambda start, length, new: golden[:start] + new + golden[start + length :],
        at, st.integers(0, 40) | at, st.binary(max_size=12) | _FRAGMENTS,
    )  # fmt: skip


def _changed_json(golden: Any) -> st.SearchStrategy[Any]:
    """Another value at any place, however deep, or one that is left out."""
    return st.sampled_from(_places(golden)).flatmap(
        lambda place: st.one_of(
            _JSON.map(lambda value: _with(golden, place, value)), st.just(_with(golden, place, _LEFT_OUT))
        )
    )


_LEFT_OUT = object()


def _places(golden: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = golden.items() if isinstance(golden, dict) else enumerate(golden) if isinstance(golden, list) else ()
    return [place, *(found for key, value in inner for found in _places(value, (*place, key)))]


def _with(golden: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return None if value is _LEFT_OUT else value
    key, *rest = place
    pairs = list(golden.items() if isinstance(golden, dict) else enumerate(golden))
    changed = [(name, _with(old, tuple(rest), value) if name == key else old) for name, old in pairs]
    if not rest and value is _LEFT_OUT:
        changed = [(name, old) for name, old in changed if name != key]
    return dict(changed) if isinstance(golden, dict) else [old for _, old in changed]


def _documents(*golden: bytes) -> st.SearchStrategy[bytes]:
    made_up = st.binary(max_size=300) | _JSON.map(lambda value: json.dumps(value).encode())
    changed = [_changed_json(json.loads(one)).map(lambda value: json.dumps(value).encode()) for one in golden]
    return st.one_of(made_up, *map(_changed_bytes, golden), *changed)


def _events() -> st.SearchStrategy[Any]:
    golden = [json.loads(path.read_text()) for path in sorted((ROOT / "events").glob("*.json"))]
    return st.one_of(_JSON, *map(_changed_json, golden))


def _a_run() -> Run:
    run = Run(
        _RUN_ID, LANE, Status.TRAINING, "training", 2, 7, "00ff", "g4dn.2xlarge", _NOW, _NOW,
        _NOW + timedelta(hours=11), _INSTANCE_ID, 0.752, 10.0,
        phases=((Status.INITIALIZATION, _NOW), (Status.TRAINING, _NOW)),
    )  # fmt: skip
    return replace(
        run,
        verdict=Verdict(Outcome.FAILED, Cause.HUNG, "stood still", DecidedBy.WATCHDOG),
        stop=Stop(Cause.REQUESTED, "by hand", _NOW),
        suspect=Suspect(Cause.HUNG, "stands still", _NOW),
    )


def _a_beat() -> Heartbeat:
    return Heartbeat(
        _RUN_ID, 2, _INSTANCE_ID, "boot", Status.TRAINING, 3, timedelta(seconds=2), loss=0.5, trainer_pid=7,
        checkpoint_age=timedelta(seconds=9), gpu_utilisation=97.0, sent_at="2026-01-31T12:00:00Z",
    )  # fmt: skip


def _a_request() -> Request:
    return Request(
        _RUN_ID, LANE, {"model": {}}, ("g4dn.2xlarge",), "0" * 64, (("cached-datasets/a.parquet", 3),), LIMITS
    )


# --- parsers -------------------------------------------------------------------------------------------------------


def targets() -> list[Target]:
    """Every parser, and every way to the watchdog."""
    texts = st.text(max_size=40)
    tags = st.dictionaries(
        st.sampled_from(["Environment", "Lane", "RunId", "Attempt", "Deadline", "Hold"]) | texts,
        texts | st.sampled_from(["dev", "main", _RUN_ID, "1", "2026-01-31T12:00:00Z", "9" * 30, "True"]),
    )
    keys = st.text(max_size=60) | _changed_bytes(b"dev/lanes/second/system-state.json").map(_text)
    limits = st.dictionaries(st.sampled_from(sorted(LIMITS.to_seconds())) | texts, _JSON, max_size=3)
    run, beat, request = (
        _documents(_a_run().to_json()),
        _documents(_a_beat().to_json()),
        _documents(_a_request().to_json()),
    )
    relaunch = _JSON | _changed_json({"lane": "main", "run_id": _RUN_ID})
    return [
        Target("state", run, lambda raw: Run.from_json(raw, LANE), (InvalidDocument,)),
        Target("heartbeat", beat, Heartbeat.from_json, (InvalidDocument,)),
        Target("request", request, Request.from_json, (InvalidDocument,)),
        Target("event", _events(), parse_event),
        Target("order to relaunch", relaunch, lambda raw: parse_relaunch(raw, "dev")),
        Target("tags", tags, read_tags),
        Target("limits", limits, Limits.from_overrides, (InvalidInput,)),
        Target("key of a lock", keys, Lane.from_state_key),
        Target("names of lanes", keys, lambda raw: Lane("dev", raw), (InvalidInput,)),
        Target("subscriptions", st.lists(_subscriptions(), max_size=3), _unconfirmed),
        Target("watchdog beside a lock", run, _beside_a_lock),
        Target("watchdog and a heartbeat", beat, _and_a_beat),
        Target("watchdog and an event", _events(), _and_an_event),
        Target("watchdog and a marker", _documents(b'{"message": "pending"}', b'{"message": "sent"}'), _and_a_marker),
    ]  # fmt: skip


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _subscriptions() -> st.SearchStrategy[dict[str, str]]:
    names = ("Protocol", "Endpoint", "TopicArn", "SubscriptionArn")
    text = st.text(max_size=20) | st.just("PendingConfirmation")
    return st.fixed_dictionaries(dict.fromkeys(names, text))


class _Topics:
    """What boto3's client of SNS is asked for."""

    def __init__(self, subscriptions: list[dict[str, str]]) -> None:
        self._subscriptions = subscriptions

    def get_paginator(self, _operation: str) -> _Topics:
        return self

    def paginate(self, **_arguments: str) -> list[dict[str, Any]]:
        return [{"Subscriptions": self._subscriptions}]


def _unconfirmed(subscriptions: list[dict[str, str]]) -> None:
    StackSetupChecks(
        None, _Topics(subscriptions), BUCKET, ["arn:aws:sns:us-east-1:1:topic"]
    ).unconfirmed_subscriptions()


# --- the watchdog --------------------------------------------------------------------------------------------------


class _Stage:
    """A run that is healthy: it was launched and claimed, and has just beaten."""

    def __init__(self) -> None:
        self.world = MemoryAws()
        self.store = RunStore(self.world.objects)
        self.watchdog = watchdog_over(self.world, self.store, self, LIMITS)
        self.world.objects.write(f"{CACHED}/training-data/sales/a.parquet", b"PAR1")
        order = LaunchSpec(LANE, {}, "training-data/sales/", ("g4dn.2xlarge",), ("subnet-a",), BUCKET, "0" * 64, LIMITS)
        world = self.world
        self.launched: Launched = launch(order, self.store, world.fleet, world.deadlines, world.clock)
        launched = self.launched
        record = RunLock(
            self.store, world.clock, LANE, Identity("dev", launched.run_id, launched.instance_id, "boot", 1)
        )
        record.claim()
        beat = replace(_a_beat(), run_id=launched.run_id, attempt=1, instance_id=launched.instance_id)
        self.store.write_heartbeat("dev", beat)

    def relaunch(self, run: Run) -> None:
        """The launcher function."""
        Launcher(BUCKET, ("subnet-a",), self.store, self.world.fleet, self.world.deadlines).relaunch(run)

    def nothing_ended(self) -> None:
        """What must hold after each input. Raises AssertionError."""
        if self.world.fleet.terminate_calls:
            raise AssertionError(f"terminated {self.world.fleet.terminate_calls}")


def _beside_a_lock(raw: bytes) -> None:
    """Only what cannot be read: a lock that can be read is the truth about its run."""
    stage = _Stage()
    stage.world.objects.write(LANE.state_key, raw)
    if not isinstance(stage.store.read_lock(LANE), LockHeld):
        _look_twice(stage)


def _and_a_beat(raw: bytes) -> None:
    stage = _Stage()
    stage.world.objects.write(run_key("dev", stage.launched.run_id, HEARTBEAT), raw)
    stage.watchdog.sweep()
    stage.nothing_ended()


def _and_a_marker(raw: bytes) -> None:
    stage = _Stage()
    stage.world.objects.write(incident_key("dev", stage.launched.run_id, Kind.STARTED, 1), raw)
    _look_twice(stage)


def _and_an_event(raw: object) -> None:
    """What the handlers in functions/ do."""
    stage = _Stage()
    stage.watchdog.handle(parse_event(raw))
    stage.nothing_ended()


def _look_twice(stage: _Stage) -> None:
    for _ in range(2):
        for report in stage.watchdog.sweep():
            if report.error:
                raise AssertionError(report.error)
        stage.world.clock.advance(LIMITS.sweep)
    stage.nothing_ended()


def main() -> int:
    """Feed every target with a few thousand inputs; 1 if any of them broke something."""
    result = fuzz(2000)
    lines = [f"{name:28} {fed:8,}" for name, fed in result.by_target.items()]
    lines += [f"FAILED  {failure}" for failure in result.failures]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
