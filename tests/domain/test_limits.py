"""The thresholds of the protocol, and the promises that follow from them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from chronos_ec2.domain import limits
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.limits import Limits, StackBounds
from chronos_ec2.testing.builders import seconds

LIMITS = Limits()
DEFAULTS = {
    "heartbeat": 15,
    "heartbeat_retry": 5,
    "lease": 135,
    "progress": 900,
    "boot": 900,
    "sweep": 60,
    "grace": 120,
    "confirmation": 30,
    "absence": 60,
    "self_fence": 600,
    "force": 600,
    "alarm": 720,
    "max_runtime": 12 * 3600,
}


def test_the_defaults_are_those_of_the_protocol() -> None:
    assert LIMITS.to_seconds() == DEFAULTS


@pytest.mark.parametrize(
    ("bound", "minutes"),
    [("dead_agent_bound", 5), ("orphan_bound", 5), ("hung_bound", 18), ("boot_bound", 17), ("deadline_bound", 2)],
)
def test_the_defaults_keep_what_people_are_promised(bound: str, minutes: int) -> None:
    assert getattr(LIMITS, bound) <= timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("bound", "parts"),
    [
        ("dead_agent_bound", 15 + 135 + 60 + 60 + 30),
        ("orphan_bound", 120 + 60 + 60 + 30),
        ("hung_bound", 15 + 900 + 60 + 60 + 30),
        ("vanished_bound", 135 + 60 + 30),
        ("boot_bound", 900 + 60 + 30),
        ("ended_bound", 120 + 60 + 30),
        ("deadline_bound", 60 + 30),
    ],
)
def test_a_bound_is_the_sum_of_its_thresholds_and_of_what_the_calls_take(bound: str, parts: int) -> None:
    assert getattr(LIMITS, bound) == seconds(parts)


@pytest.mark.parametrize(
    ("bound", "parts"),
    [("dead_agent_bound", 210 + 90 + 30), ("orphan_bound", 120 + 60 + 90 + 30), ("hung_bound", 975 + 90 + 30)],
)
def test_a_second_look_longer_than_a_sweep_lengthens_the_bounds_of_two_looks(bound: str, parts: int) -> None:
    assert getattr(replace(LIMITS, confirmation=seconds(90)), bound) == seconds(parts)


def test_an_absence_that_is_longer_than_the_lease_lengthens_the_bound_of_a_vanished_instance() -> None:
    assert replace(LIMITS, absence=seconds(300)).vanished_bound == seconds(60 + 300 + 60 + 30)


def test_a_first_look_expires_only_after_the_second_and_after_failures_that_people_are_told_of() -> None:
    assert LIMITS.suspicion == seconds(135 + 720 + 120)
    assert replace(LIMITS, confirmation=seconds(3600)).suspicion == seconds(3600 + 720 + 120)
    assert replace(LIMITS, alarm=seconds(60)).suspicion == seconds(135 + 10 * 60 + 120)


def test_an_agent_outlives_an_outage_that_also_blinds_the_watchdog() -> None:
    assert LIMITS.self_fence > LIMITS.lease


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_NOTIFICATION_DELAY", timedelta(hours=2)),
        ("HOLD_NOTICE", timedelta(hours=4)),
        ("MAX_RECEIPT_DELAY", timedelta(minutes=30)),
        ("MAX_IDLE_LANES", 500),
        ("MAX_SWEEP", timedelta(seconds=40)),
        ("MAX_MESSAGES_PER_HOUR", 60),
        ("REPEAT_AFTER", timedelta(hours=1)),
        ("LAUNCHER_TIMEOUT", timedelta(minutes=5)),
        ("LAUNCH_SLOT", timedelta(minutes=5)),
        ("TAKE_OVER_AFTER", timedelta(minutes=6)),
    ],
)
def test_the_thresholds_that_no_request_overrides_are_those_of_the_protocol(name: str, value: object) -> None:
    assert getattr(limits, name) == value


def test_force_comes_before_the_alarm() -> None:
    assert LIMITS.force < LIMITS.alarm


@pytest.mark.parametrize("name", DEFAULTS)
def test_each_threshold_can_be_overridden_in_seconds(name: str) -> None:
    value = {"heartbeat": 7}.get(name, 70)
    assert Limits.from_overrides({name: value}) == replace(LIMITS, **{name: seconds(value)})


def test_overrides_are_read_back_from_what_is_written() -> None:
    limits = Limits.from_overrides({"lease": 65.5, "grace": 3})
    assert Limits.from_overrides(limits.to_seconds()) == limits


@pytest.mark.parametrize("value", [0.001, 1, 366 * 86400])
def test_a_threshold_is_above_zero_and_at_most_a_year(value: float) -> None:
    assert Limits.from_overrides({"grace": value}).grace == seconds(value)


@pytest.mark.parametrize("value", [0, -1, 366 * 86400 + 1, True, "60", None, float("nan"), float("inf")])
def test_any_other_threshold_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Limits.from_overrides({"lease": value})
    assert refusal.value.problem == f"limits: lease must be a number of seconds above zero, not {value!r}"
    assert refusal.value.hint == "at most 31622400, such as lease: 900"


def test_an_unknown_threshold_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(InvalidInput) as refusal:
        Limits.from_overrides({"patience": 1})
    assert str(refusal.value) == f"limits: unknown limit 'patience' (one of {', '.join(sorted(DEFAULTS))})"


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"lease": 64.9}, "lease is shorter than 65 s, four heartbeats and a retry"),
        ({"lease": 0.001}, "lease is shorter than 65 s, four heartbeats and a retry"),
        ({"heartbeat": 37}, "lease is shorter than 153 s, four heartbeats and a retry"),
        ({"heartbeat_retry": 91}, "lease is shorter than 151 s, four heartbeats and a retry"),
        ({"self_fence": 64.9}, "self_fence is shorter than 65 s, four heartbeats and a retry"),
        ({"progress": 29.9}, "progress is shorter than 30 s, two heartbeats"),
    ],
)
def test_thresholds_that_would_end_healthy_runs_are_refused(overrides: dict[str, float], problem: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Limits.from_overrides(overrides)
    assert refusal.value.problem == f"limits: {problem}: it would end healthy runs"
    assert refusal.value.hint == f"at least {problem.split()[4]} s, or a shorter heartbeat"


def test_thresholds_that_just_do_are_taken() -> None:
    overrides = {"lease": 65, "self_fence": 65, "progress": 30}
    assert Limits.from_overrides(overrides).to_seconds() == DEFAULTS | overrides


ALLOWED = StackBounds(("g5.*", "g4dn.2xlarge"), 2, timedelta(hours=48))


def test_a_stack_allows_what_its_patterns_describe() -> None:
    ALLOWED.check(("g5.xlarge", "g5.48xlarge"), timedelta(hours=48))
    ALLOWED.check(("g4dn.2xlarge",), timedelta(hours=1))


@pytest.mark.parametrize(
    ("types", "hours", "where", "text"),
    [
        (
            ("p5.48xlarge",),
            1,
            "--instance-type",
            "the stack does not allow p5.48xlarge "
            "(one of g5.*, g4dn.2xlarge, or deploy the stack with it in AllowedInstanceTypes)",
        ),
        (("g5.xlarge", "g4dn.xlarge"), 1, "--instance-type", "does not allow g4dn.xlarge ("),
        (
            ("g5.xlarge", "g5.2xlarge", "g5.4xlarge"),
            1,
            "--instance-type",
            "3 instance types are more than the 2 that the stack allows a run "
            "(name fewer, or deploy the stack with a larger MaxTypesPerRun)",
        ),
        (("g5*xlarge",), 1, "--instance-type", "does not allow g5*xlarge ("),
        (("G5.xlarge",), 1, "--instance-type", "does not allow G5.xlarge ("),
        (("p5\x1b[2J",), 1, "--instance-type", "does not allow p5 [2J ("),
        (("x" * 300,), 1, "--instance-type", f"does not allow {'x' * 79}… ("),
        (
            ("g5.xlarge",),
            48.5,
            "--max-hours",
            "48.50 is longer than the stack allows (at most 48, or deploy the stack with a larger MaxRunHours)",
        ),
    ],
)
def test_a_stack_refuses_what_exceeds_it_and_says_what_it_allows(
    types: tuple[str, ...], hours: float, where: str, text: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        ALLOWED.check(types, timedelta(hours=hours))
    assert refused.value.where == where
    assert text in str(refused.value)
