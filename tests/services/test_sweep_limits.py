"""The work of a sweep is bounded, whatever lies below the prefix of the lanes, and no lane is left out for good."""

from __future__ import annotations

from collections import Counter

import pytest

from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.limits import MAX_IDLE_LANES, MAX_MESSAGES_PER_HOUR, MAX_SWEEP
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import lane_turn_key
from chronos_ec2.domain.records.status import Cause, Outcome
from chronos_ec2.testing import Environment
from chronos_ec2.testing.builders import LIMITS, seconds

GARBAGE = 3000
LAST = Lane("dev", "z")


def garbage_lanes(env: Environment, count: int = GARBAGE) -> None:
    for number in range(count):
        env.objects.write(Lane("dev", f"a{number:05}").state_key, b"not a lock")


def calls_of_a_sweep(env: Environment) -> Counter[str]:
    env.faults.calls.clear()
    env.watchdog.sweep()
    return Counter(operation for operation, _ in env.faults.calls)


def read_in_a_sweep(env: Environment) -> list[str]:
    """The keys of the locks that a sweep reads, in order."""
    env.faults.calls.clear()
    env.watchdog.sweep()
    return [key for operation, key in env.faults.calls if operation == "objects.read" and key.endswith("state.json")]


def test_thousands_of_garbage_lanes_cost_a_sweep_no_more_than_its_limit(env: Environment) -> None:
    garbage_lanes(env)
    first = calls_of_a_sweep(env)
    # Each lock, each marker of a message that is sent or just withheld, and the turn.
    assert first["objects.read"] <= MAX_IDLE_LANES + MAX_MESSAGES_PER_HOUR + 10
    assert first["objects.children"] <= 2
    env.clock.advance(LIMITS.sweep)
    watchdog = env.watchdog  # a function that is still warm
    watchdog.sweep()
    env.faults.calls.clear()
    env.clock.advance(LIMITS.sweep)
    watchdog.sweep()
    warm = Counter(operation for operation, _ in env.faults.calls)
    assert warm["objects.read"] <= MAX_IDLE_LANES + 10
    assert sum(warm.values()) <= MAX_IDLE_LANES + 20


def test_lanes_with_living_instances_come_first_and_the_main_lane_before_all(env: Environment) -> None:
    env.launch()
    env.launch(LAST)
    garbage_lanes(env, 10)
    read = read_in_a_sweep(env)
    assert read[:2] == [Lane("dev").state_key, LAST.state_key]
    assert len(read) == 12


def test_a_lane_whose_instance_has_just_ended_comes_before_those_without_any(env: Environment) -> None:
    launched = env.launch(LAST)
    env.power_off(launched)
    garbage_lanes(env)
    assert LAST.state_key in read_in_a_sweep(env)[:3]


def test_each_lane_has_its_turn_also_if_each_sweep_is_another_function(env: Environment) -> None:
    garbage_lanes(env)
    env.objects.write(LAST.state_key, b"not a lock")
    seen: Counter[str] = Counter()
    sweeps = GARBAGE // MAX_IDLE_LANES + 1
    for _ in range(sweeps):
        seen.update(set(read_in_a_sweep(env)))
        env.clock.advance(seconds(1))
    assert len(seen) == GARBAGE + 2
    assert max(count for key, count in seen.items() if key != Lane("dev").state_key) <= 2


def test_a_run_behind_thousands_of_garbage_lanes_lives_and_ends_as_ever(env: Environment) -> None:
    launched = env.launch()
    env.claim(launched)
    garbage_lanes(env)
    env.heartbeat(launched)
    env.watchdog.sweep()
    env.end(Outcome.SUCCEEDED, Cause.COMPLETED)
    env.power_off(launched)
    env.watchdog.sweep()
    assert (env.run, env.kinds()[-1]) == (None, "completed")


def test_that_there_are_more_lanes_than_a_sweep_looks_at_is_published_once_an_hour(env: Environment) -> None:
    garbage_lanes(env, MAX_IDLE_LANES + 1)
    reports = [report for _ in range(3) for report in env.watchdog.sweep()]
    told = [message for message in env.notifier.messages if message.document["incident"] == "sweep-limit"]
    assert len(told) == 1
    assert "Move what is no lock of yours below dev/lanes/" in told[0].document["text"]
    assert len([report for report in reports if "a sweep looks at" in report.decision.reason]) == 3


def test_prefixes_that_name_no_lane_are_limited_too(env: Environment) -> None:
    for number in range(GARBAGE):
        env.objects.write(f"dev/lanes/A{number:05}/x", b"")
    env.objects.write(LAST.state_key, b"not a lock")
    sweeps = 0
    while LAST.state_key not in read_in_a_sweep(env):
        sweeps += 1
    assert sweeps == GARBAGE // MAX_IDLE_LANES


def test_a_sweep_that_takes_too_long_looks_at_the_living_and_goes_on_with_the_others_later(env: Environment) -> None:
    launched = env.launch(LAST)
    del launched
    garbage_lanes(env, 10)
    watchdog = env.watchdog
    env.faults.hook("objects.read", lambda _key: env.clock.advance(MAX_SWEEP / 5), on="*/system-state.json")
    read = []
    for _ in range(3):
        env.faults.calls.clear()
        watchdog.sweep()
        read.append([key for call, key in env.faults.calls if call == "objects.read" and key.endswith("state.json")])
    assert all(keys[:2] == [Lane("dev").state_key, LAST.state_key] for keys in read)
    assert {key for keys in read for key in keys} >= {Lane("dev", f"a{number:05}").state_key for number in range(9)}
    assert "sweep-limit" in {message.document["incident"] for message in env.notifier.messages}


@pytest.mark.parametrize("body", [b"not json", b'{"after": 7}', b'{"after": "\\ud800"}', b"[" * 60_000])
def test_a_turn_that_cannot_be_read_begins_anew(env: Environment, body: bytes) -> None:
    garbage_lanes(env, MAX_IDLE_LANES + 1)
    env.objects.write(lane_turn_key("dev"), body)
    assert not [report.error for report in env.watchdog.sweep() if report.error]


def test_a_turn_that_cannot_be_written_is_reported_and_stops_nothing(env: Environment) -> None:
    garbage_lanes(env, MAX_IDLE_LANES + 1)
    env.faults.fail("objects.write", ServiceUnavailable("S3 is down"), on=lane_turn_key("dev"))
    assert [report.error for report in env.watchdog.sweep() if report.error] == ["ServiceUnavailable: S3 is down"]
