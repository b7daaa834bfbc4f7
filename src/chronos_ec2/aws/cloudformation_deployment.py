"""CloudFormation as Deployment."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import WaiterError

from chronos_ec2.aws.errors import translated
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.parsing.names import one_line

_POLL = {"Delay": 10, "MaxAttempts": 90}
"""A quarter of an hour; the network of a function or an endpoint can take minutes."""


class CloudFormationDeployment:
    """One stack."""

    def __init__(self, client: Any, name: str) -> None:
        self._cloudformation = client
        self._name = name

    def delete(self) -> None:
        """Delete all that the stack made but the bucket, and wait for it."""
        with translated(f"delete stack {self._name}"):
            # Its id, because a deleted stack is not found by its name.
            stack_id = self._cloudformation.describe_stacks(StackName=self._name)["Stacks"][0]["StackId"]
            self._cloudformation.delete_stack(StackName=stack_id)
            try:
                self._cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack_id, WaiterConfig=_POLL)
            except WaiterError as error:
                raise ServiceUnavailable(
                    f"stack {self._name} is not deleted: {_reason(error)}; its events say why, and what is attached to "
                    "somebody, as OperatorPolicy may be, has to be detached first; then tear down again"
                ) from error


def _reason(error: WaiterError) -> str:
    """What CloudFormation says of a stack that it could not delete; what the waiter says, if it does not."""
    stacks: Any = error.last_response.get("Stacks") or [{}]
    return one_line(stacks[0].get("StackStatusReason") or str(error), 200)
