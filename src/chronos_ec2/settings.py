"""The environment variables of the functions, read once into frozen values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.limits import Limits, StackBounds
from chronos_ec2.domain.parsing.names import check_name


@dataclass(frozen=True, slots=True)
class StackSettings:
    """The settings of every function."""

    environment: str
    bucket: str
    project: str
    cost_center: str
    deadline_group: str
    deadline_role_arn: str
    instance_profile_arn: str
    max_runtime: timedelta

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> StackSettings:
        """The settings in environment variables. Raises an InvalidInput that names the variable."""
        return cls(
            environment=check_name(_required(variables, "ENVIRONMENT"), "ENVIRONMENT"),
            bucket=_required(variables, "BUCKET"),
            project=_required(variables, "PROJECT"),
            cost_center=_required(variables, "COST_CENTER"),
            deadline_group=_required(variables, "DEADLINE_GROUP"),
            deadline_role_arn=_required(variables, "DEADLINE_ROLE_ARN"),
            instance_profile_arn=_required(variables, "INSTANCE_PROFILE_ARN"),
            max_runtime=timedelta(hours=_whole(variables, "MAX_RUN_HOURS")),
        )


@dataclass(frozen=True, slots=True)
class WatchdogSettings:
    """The settings of the watchdog's functions."""

    stack: StackSettings
    topic_arn: str
    launcher_function: str
    limits: Limits

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> WatchdogSettings:
        """The settings in environment variables. Raises an InvalidInput that names the variable."""
        return cls(
            stack=StackSettings.read(variables),
            topic_arn=_required(variables, "TOPIC_ARN"),
            launcher_function=_required(variables, "LAUNCHER_FUNCTION"),
            limits=parse_limits(variables.get("LIMIT_OVERRIDES", "{}")),
        )


@dataclass(frozen=True, slots=True)
class LauncherSettings:
    """The settings of the launcher function."""

    stack: StackSettings
    subnet_ids: tuple[str, ...]
    launch_template_id: str
    bounds: StackBounds
    topic_arn: str
    stack_id: str

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> LauncherSettings:
        """The settings in environment variables. Raises an InvalidInput that names the variable."""
        stack = StackSettings.read(variables)
        return cls(
            stack=stack,
            subnet_ids=tuple(_required(variables, "SUBNET_IDS").split(",")),
            launch_template_id=_required(variables, "LAUNCH_TEMPLATE_ID"),
            topic_arn=_required(variables, "TOPIC_ARN"),
            stack_id=_required(variables, "STACK_ID"),
            bounds=StackBounds(
                instance_types=tuple(_required(variables, "ALLOWED_INSTANCE_TYPES").split(",")),
                max_types=_whole(variables, "MAX_TYPES_PER_RUN"),
                max_runtime=stack.max_runtime,
            ),
        )


_LIMITS_FORM = """a JSON object with seconds, such as {"lease": 300}"""


def parse_limits(text: str) -> Limits:
    """The limits in the JSON of `LimitOverrides`. Raises InvalidInput."""
    try:
        overrides = json.loads(text)
    except ValueError as error:
        raise InvalidInput("LIMIT_OVERRIDES", f"not JSON: {error}", _LIMITS_FORM) from error
    if not isinstance(overrides, dict):
        raise InvalidInput("LIMIT_OVERRIDES", "not a JSON object", _LIMITS_FORM)
    return Limits.from_overrides(overrides)


def _required(variables: Mapping[str, str], name: str) -> str:
    value = variables.get(name, "")
    if not value:
        raise InvalidInput(name, "this environment variable is not set", "the template sets it: deploy the stack again")
    return value


def _whole(variables: Mapping[str, str], name: str) -> int:
    value = _required(variables, name)
    if not value.isascii() or not value.isdigit():
        raise InvalidInput(name, f"{value!r} is not a whole number", "the template sets it: deploy the stack again")
    return int(value)
