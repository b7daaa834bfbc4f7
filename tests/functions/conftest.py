"""The functions as Lambda runs them, on AWS as moto plays it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.stack_outputs import read_stack
from chronos_ec2.testing.aws_server import LAUNCHER

CONTEXT = SimpleNamespace(
    function_name="f", memory_limit_in_mb=256, invoked_function_arn="arn:aws:lambda:::f", aws_request_id="id"
)


@pytest.fixture
def told(deployed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the stack tells its functions, as environment variables."""
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
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
