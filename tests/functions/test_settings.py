"""The environment variables of the functions."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.limits import Limits, StackBounds
from chronos_ec2.settings import LauncherSettings, StackSettings, WatchdogSettings

STACK = {
    "ENVIRONMENT": "dev",
    "BUCKET": "a-bucket",
    "PROJECT": "Chronos-Training",
    "COST_CENTER": "train",
    "DEADLINE_GROUP": "chronos-ec2-dev-deadlines",
    "DEADLINE_ROLE_ARN": "arn:aws:iam::123456789012:role/deadlines",
    "INSTANCE_PROFILE_ARN": "arn:aws:iam::123456789012:instance-profile/p",
    "MAX_RUN_HOURS": "48",
}
WATCHDOG = STACK | {"TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:t", "LAUNCHER_FUNCTION": "launcher"}
LAUNCHER = STACK | {
    "SUBNET_IDS": "subnet-a,subnet-b,subnet-c",
    "LAUNCH_TEMPLATE_ID": "lt-1",
    "ALLOWED_INSTANCE_TYPES": "g5.*,g4dn.2xlarge",
    "MAX_TYPES_PER_RUN": "4",
    "TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:t",
    "STACK_ID": "arn:aws:cloudformation:us-east-1:123456789012:stack/chronos-ec2-dev/1",
}
READ_STACK = StackSettings(
    "dev",
    "a-bucket",
    "Chronos-Training",
    "train",
    "chronos-ec2-dev-deadlines",
    STACK["DEADLINE_ROLE_ARN"],
    STACK["INSTANCE_PROFILE_ARN"],
    timedelta(hours=48),
)


def test_the_watchdog_has_the_limits_of_its_stack() -> None:
    settings = WatchdogSettings.read(WATCHDOG | {"LIMIT_OVERRIDES": '{"grace": 60}'})
    assert settings.stack == READ_STACK
    assert settings.topic_arn == WATCHDOG["TOPIC_ARN"]
    assert settings.launcher_function == "launcher"
    assert settings.limits.grace == timedelta(seconds=60)


def test_without_overrides_the_limits_are_the_defaults() -> None:
    assert WatchdogSettings.read(WATCHDOG).limits == Limits()


def test_the_launcher_has_every_subnet() -> None:
    settings = LauncherSettings.read(LAUNCHER)
    assert settings.stack == READ_STACK
    assert settings.subnet_ids == ("subnet-a", "subnet-b", "subnet-c")
    assert settings.launch_template_id == "lt-1"


def test_the_launcher_has_what_its_stack_allows() -> None:
    assert LauncherSettings.read(LAUNCHER).bounds == StackBounds(("g5.*", "g4dn.2xlarge"), 4, timedelta(hours=48))


@pytest.mark.parametrize("value", ["-1", "1.5", "many", "\u0661"])
@pytest.mark.parametrize("name", ["MAX_TYPES_PER_RUN", "MAX_RUN_HOURS"])
def test_a_bound_that_is_no_whole_number_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        LauncherSettings.read(LAUNCHER | {name: value})


@pytest.mark.parametrize("missing", sorted({*WATCHDOG, *LAUNCHER}))
@pytest.mark.parametrize("empty", [True, False])
def test_a_variable_that_is_missing_or_empty_is_named(missing: str, empty: bool) -> None:
    reader, variables = (WatchdogSettings, WATCHDOG) if missing in WATCHDOG else (LauncherSettings, LAUNCHER)
    left = {name: value for name, value in variables.items() if name != missing} | ({missing: ""} if empty else {})
    with pytest.raises(InvalidInput, match=missing):
        reader.read(left)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [("{", "not JSON"), ("[1]", "not a JSON object"), ('{"graze": 1}', "graze"), ('{"grace": -1}', "grace")],
)
def test_overrides_that_are_no_limits_are_refused(overrides: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        WatchdogSettings.read(WATCHDOG | {"LIMIT_OVERRIDES": overrides})


def test_an_environment_has_a_valid_name() -> None:
    with pytest.raises(InvalidInput, match="ENVIRONMENT"):
        StackSettings.read(STACK | {"ENVIRONMENT": "Dev/../prod"})
