"""CloudFormation as Deployment."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError, WaiterError

from chronos_ec2.aws.errors import code_of, translated
from chronos_ec2.domain.errors import NotAllowed, ServiceUnavailable, UserError
from chronos_ec2.domain.parsing.names import one_line

_POLL = {"Delay": 10, "MaxAttempts": 90}
"""A quarter of an hour: deleting network interfaces and endpoints can take minutes."""


_UNFINISHED = frozenset(
    {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "REVIEW_IN_PROGRESS", "DELETE_FAILED"}
)
"""AWS accepts nothing but a deletion for a stack in one of these. Except the last, it never had outputs, nor runs."""


class CloudFormationDeployment:
    """One stack."""

    def __init__(self, client: Any, name: str) -> None:
        self._cloudformation = client
        self._name = name

    def delete(self) -> None:
        """Delete the stack, except its bucket, and wait for the end."""
        with translated(f"delete stack {self._name}"):
            # By id, because a deleted stack is not found by name.
            stack_id = self._stack()["StackId"]
            try:
                self._cloudformation.delete_stack(StackName=stack_id)
            except ClientError as error:
                if code_of(error) == "ValidationError":  # such as termination protection
                    problem = f"could not delete stack {self._name}: {one_line(str(error), 300)}"
                    raise NotAllowed(problem, "switch off its termination protection if it is meant") from error
                raise
        try:
            self._wait(stack_id)
        except (NotAllowed, UserError) as error:
            raise ServiceUnavailable(
                f"stack {self._name} is being deleted; {error}", "tear down again to see it end"
            ) from error

    def _wait(self, stack_id: str) -> None:
        with translated(f"follow the deletion of stack {self._name}"):
            try:
                self._cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack_id, WaiterConfig=_POLL)
            except WaiterError as error:
                raise ServiceUnavailable(
                    f"stack {self._name} is not deleted: {_reason(error)}",
                    "its events say why; an attached policy, such as OperatorPolicy, must be detached first; then tear "
                    "down again",
                ) from error

    def unfinished(self) -> str | None:
        """The status of a stack that has no outputs and can only be deleted; None for any other, or none."""
        with translated(f"read stack {self._name}"):
            try:
                stack = self._stack()
            except ClientError as error:
                if code_of(error) == "ValidationError":
                    return None
                raise
        return str(stack["StackStatus"]) if stack["StackStatus"] in _UNFINISHED and not stack.get("Outputs") else None

    def _stack(self) -> Any:
        return self._cloudformation.describe_stacks(StackName=self._name)["Stacks"][0]


def _reason(error: WaiterError) -> str:
    """CloudFormation's reason for a failed deletion, or else the waiter's."""
    stacks: Any = error.last_response.get("Stacks") or [{}]
    return one_line(stacks[0].get("StackStatusReason") or str(error), 200)
