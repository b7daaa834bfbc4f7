"""The functions as Lambda runs them, on AWS as moto plays it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.stack_outputs import read_stack
from chronos_ec2.bootstrap.watchdog import watchdog
from chronos_ec2.domain.messages import Message
from chronos_ec2.ports import Notifier
from chronos_ec2.services.watchdog.reconcile import Reconciler
from chronos_ec2.testing.aws_server import LAUNCHER
from tests.template.calls import Recorder

CONTEXT = SimpleNamespace(
    function_name="f", memory_limit_in_mb=256, invoked_function_arn="arn:aws:lambda:::f", aws_request_id="id"
)


class RefusingNotifier:
    """A notifier that refuses the messages of one lane, or all, with an error."""

    def __init__(self, notifier: Notifier, error: Exception, lane: str | None = None) -> None:
        self._notifier = notifier
        self._error = error
        self._lane = lane

    def publish(self, message: Message) -> None:
        if self._lane in (None, message.attributes["lane"]):
            raise self._error
        self._notifier.publish(message)


def watchdog_that_cannot_notify(error: Exception, lane: str | None = None) -> Reconciler:
    reconciler = watchdog()
    return replace(reconciler, notifier=RefusingNotifier(reconciler.notifier, error, lane))


@pytest.fixture
def run_launcher(function_variables: None, calls: Recorder) -> Callable[[Any], None]:
    """Invokes the launcher function, with its stack's settings and the rights of its role."""
    module = importlib.import_module("functions.launcher")
    module.schedules.cache_clear()

    def invoke(event: Any) -> None:
        with calls.acting("LauncherRole"):
            module.handler(event, CONTEXT)

    return invoke


@pytest.fixture
def function_variables(deployed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment variables that the stack gives its functions."""
    stack = read_stack(client("cloudformation"), "dev")
    variables = {
        "ENVIRONMENT": stack.environment,
        "BUCKET": stack.bucket,
        "PROJECT": stack.project,
        "COST_CENTER": stack.cost_center,
        "TOPIC_ARN": stack.topic_arn,
        "DEADLINE_GROUP": stack.deadline_group,
        "DEADLINE_ROLE_ARN": stack.deadline_role_arn,
        "LAUNCHER_FUNCTION": LAUNCHER,
        "SUBNET_IDS": ",".join(stack.subnet_ids),
        "LAUNCH_TEMPLATE_ID": stack.launch_template_id,
        "INSTANCE_PROFILE_ARN": stack.instance_profile_arn,
        "ALLOWED_INSTANCE_TYPES": ",".join(stack.bounds.instance_types),
        "STACK_ID": stack.stack_id,
        "MAX_TYPES_PER_RUN": str(stack.bounds.max_types),
        "MAX_RUN_HOURS": f"{stack.bounds.max_runtime.total_seconds() / 3600:.0f}",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
