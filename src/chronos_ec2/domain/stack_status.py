"""What the status of a CloudFormation stack means for its environment."""

from __future__ import annotations

from chronos_ec2.domain.errors import NotDeployed, StackNotReady

_READY = frozenset(
    {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}
)
_ONLY_TO_DELETE = frozenset({"CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"})
DELETING = "DELETE_IN_PROGRESS"
"""Soon the stack will be gone, outputs and all."""


def stack_name(environment: str) -> str:
    """The name of an environment's stack, as in samconfig.toml."""
    return f"chronos-ec2-{environment}"


def deploy_command(environment: str) -> str:
    """The command that deploys an environment's stack."""
    return f"`sam build && sam deploy --config-env {'default' if environment == 'dev' else environment}`"


def check_status(stack: str, status: str, environment: str) -> None:
    """Raise StackNotReady for a stack in which nothing may be launched: it is changing, or a change has failed."""
    if status not in _READY:
        raise StackNotReady(f"stack {stack} is {status}", _remedy(stack, status, environment))


def without_outputs(stack: str, status: str, environment: str, missing: str) -> NotDeployed:
    """The error of a stack that does not have the outputs of ours."""
    if status in _READY:
        hint = f"{deploy_command(environment)} deploys it"
        return NotDeployed(f"stack {stack} ({status}) has no output {missing}", hint)
    return NotDeployed(f"stack {stack} is {status}", _remedy(stack, status, environment))


def _remedy(stack: str, status: str, environment: str) -> str:
    deploy, aws = deploy_command(environment), "aws cloudformation"
    if status == "REVIEW_IN_PROGRESS":
        return f"its change set was never executed: {deploy} deploys it"
    if status == DELETING:
        return f"wait for `{aws} wait stack-delete-complete --stack-name {stack}`, then {deploy} deploys it again"
    if status.endswith("_IN_PROGRESS"):
        return f"wait, then try again; `{aws} describe-stacks --stack-name {stack}` shows its status"
    if status in _ONLY_TO_DELETE:
        delete = f"`chronos-ec2 teardown --environment {environment}`"
        return f"it cannot be updated: delete it first with {delete}, then {deploy} deploys it again"
    if status == "UPDATE_FAILED":
        return f"`{aws} rollback-stack --stack-name {stack}` takes it back to its last state that worked"
    return f"`{aws} continue-update-rollback --stack-name {stack}` takes it back to its last state that worked"
