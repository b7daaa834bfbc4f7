"""Messages are bounded, and whoever writes into the bucket can neither silence nor multiply them."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from chronos_ec2.domain.limits import MAX_MESSAGES_PER_HOUR, MAX_NOTIFICATION_DELAY, Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import incident_key, run_key
from chronos_ec2.domain.records.status import Cause, Outcome
from chronos_ec2.testing import Environment
from chronos_ec2.testing.builders import LIMITS, seconds

HOUR = seconds(3600)
GARBAGE = MAX_MESSAGES_PER_HOUR + 15


def garbage(env: Environment, lane: Lane, text: str = "not a lock") -> None:
    env.objects.write(lane.state_key, text.encode())


def garbage_lanes(env: Environment, count: int = GARBAGE) -> list[Lane]:
    lanes = [Lane("dev", f"a{number:05}") for number in range(count)]
    for lane in lanes:
        garbage(env, lane)
    return lanes


def test_a_lock_that_changes_each_minute_makes_one_message_an_hour(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    for minute in range(120):
        garbage(env, env.lane, f"not a lock, {minute}")
        env.heartbeat(launched, counter=minute)
        env.watchdog.sweep()
        env.clock.advance(LIMITS.sweep)
    assert env.kinds() == ["stuck", "stuck"]


def test_the_same_garbage_in_two_lanes_is_published_for_both(env: Environment) -> None:
    garbage_lanes(env, 2)
    env.watchdog.sweep()
    assert sorted(message.attributes["lane"] for message in env.notifier.messages) == ["a00000", "a00001"]


def test_messages_about_garbage_are_limited_and_the_limit_is_published_once_an_hour(env: Environment) -> None:
    garbage_lanes(env)
    env.sweeps(seconds(600))
    assert Counter(env.kinds()) == {"stuck": MAX_MESSAGES_PER_HOUR, "limit": 1}
    (told,) = (message for message in env.notifier.messages if message.attributes["kind"] == "limit")
    assert f"{GARBAGE - MAX_MESSAGES_PER_HOUR} stuck" in told.document["text"]


def test_what_was_withheld_is_published_in_the_next_hour() -> None:
    env = Environment(limits=Limits.from_overrides({"progress": 7200}))
    garbage_lanes(env)
    env.watchdog.sweep()
    env.launch(Lane("dev", "z"))
    env.agent.claim()
    withheld_for = 0
    while "started" not in env.kinds() and withheld_for < 70:
        env.pass_time(LIMITS.sweep)
        env.watchdog.sweep()
        withheld_for += 1
    assert "started" in env.kinds()
    assert withheld_for > 1


@pytest.mark.parametrize("kind", [Kind.COMPLETED, Kind.FAILED, Kind.STUCK, Kind.OVER_BUDGET])
def test_the_end_of_a_run_is_never_withheld(env: Environment, kind: Kind) -> None:
    launched = env.launch()
    env.claim(launched)
    garbage_lanes(env)
    env.clock.advance(LIMITS.sweep)
    env.heartbeat(launched)
    env.watchdog.sweep()
    outcome, cause = {
        Kind.COMPLETED: (Outcome.SUCCEEDED, Cause.COMPLETED),
        Kind.FAILED: (Outcome.FAILED, Cause.USER_CODE),
        Kind.STUCK: (Outcome.FAILED, Cause.HUNG),
        Kind.OVER_BUDGET: (Outcome.FAILED, Cause.OVER_BUDGET),
    }[kind]
    env.end(outcome, cause)
    env.power_off(launched)
    env.watchdog.sweep()
    about_the_run = [message for message in env.notifier.messages if message.document["run_id"] == launched.run_id]
    assert about_the_run[-1].attributes["kind"] == kind
    assert env.run is None


def test_markers_that_an_instance_wrote_silence_nothing(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    for kind in Kind:
        env.objects.write(run_key("dev", launched.run_id, f"notified/{kind}-1"), b'{"message": "sent"}')
    env.watchdog.sweep()
    env.end(Outcome.SUCCEEDED, Cause.COMPLETED)
    env.power_off(launched)
    env.watchdog.sweep()
    assert env.kinds() == ["started", "completed"]


def test_a_marker_that_is_kept_pending_holds_the_lane_for_a_while_and_silences_nothing(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    env.end(Outcome.SUCCEEDED, Cause.COMPLETED)
    env.power_off(launched)
    marker = incident_key("dev", launched.run_id, Kind.COMPLETED, 1)
    ended = env.clock.now()
    while env.run and env.clock.now() - ended <= 6 * HOUR:
        env.objects.write(marker, json.dumps({"message": "pending", "nonce": str(env.clock.now())}).encode())
        env.watchdog.sweep()
        env.clock.advance(LIMITS.sweep)
    assert env.clock.now() - ended <= MAX_NOTIFICATION_DELAY + 2 * LIMITS.sweep
    assert env.kinds() == ["completed"]
