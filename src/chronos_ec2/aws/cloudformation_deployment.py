"""CloudFormation as Deployment."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import WaiterError

from chronos_ec2.aws.errors import translated
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.parsing.names import one_line

_POLL = {"Delay": 10, "MaxAttempts": 90}
"""A quarter of an hour: deleting network interfaces and endpoints can take minutes."""


class CloudFormationDeployment:
    """One stack."""

    def __init__(self, client: Any, name: str) -> None:
        self._cloudformation = client
        self._name = name

    def delete(self) -> None:
        """Delete the stack, except its bucket, and wait for the end."""
        with translated(f"delete stack {self._name}"):
            # By id, because a deleted stack is not found by name.
            stack_id = self._cloudformation.describe_stacks(StackName=self._name)["Stacks"][0]["StackId"]
            self._cloudformation.delete_stack(StackName=stack_id)
            try:
                self._cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack_id, WaiterConfig=_POLL)
            except WaiterError as error:
                raise ServiceUnavailable(
                    f"stack {self._name} is not deleted: {_reason(error)}; see its events. An attached policy, "
                    "such as OperatorPolicy, must be detached first. Then tear down again"
                ) from error


def _reason(error: WaiterError) -> str:
    """CloudFormation's reason for a failed deletion, or else the waiter's."""
    stacks: Any = error.last_response.get("Stacks") or [{}]
    return one_line(stacks[0].get("StackStatusReason") or str(error), 200)
