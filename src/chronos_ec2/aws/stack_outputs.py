"""The outputs of a deployed stack."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

from chronos_ec2.aws.errors import code_of, translated
from chronos_ec2.domain.errors import NotDeployed
from chronos_ec2.ports import Stack


def stack_name(environment: str) -> str:
    """The name of an environment's stack, as in samconfig.toml."""
    return f"chronos-ec2-{environment}"


def read_stack(client: Any, environment: str) -> Stack:
    """The outputs of an environment's stack.

    Raises:
        NotDeployed: there is no such stack, it is being created or deleted, or it is not one of ours.
    """
    name = stack_name(environment)
    remedy = f"`sam build && sam deploy --config-env {'default' if environment == 'dev' else environment}` deploys it"
    with translated(f"read stack {name}"):
        try:
            stack = client.describe_stacks(StackName=name)["Stacks"][0]
            status = stack["StackStatus"]
        except ClientError as error:
            if code_of(error) == "ValidationError":
                region = client.meta.region_name
                raise NotDeployed(f"environment {environment}: no stack {name} in {region}; {remedy}") from error
            raise
    if status == "DELETE_IN_PROGRESS":
        raise NotDeployed(f"stack {name} is being deleted; {remedy} again")
    try:
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", ())}
        parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", ())}
        return Stack(
            name=name,
            stack_id=stack["StackId"],
            region=client.meta.region_name,
            environment=outputs["Environment"],
            bucket=outputs["Bucket"],
            project=outputs["Project"],
            cost_center=outputs["CostCenter"],
            instance_type=outputs["InstanceType"],
            volume_gib=int(outputs["VolumeSize"]),
            packages_in_image=outputs["AgentPackages"] == "image",
            agent_log_group=outputs.get("AgentLogGroup"),
            subnet_ids=tuple(outputs["SubnetIds"].split(",")),
            launch_template_id=outputs["LaunchTemplateId"],
            instance_profile_arn=outputs["InstanceProfileArn"],
            topic_arn=outputs["TopicArn"],
            alarm_topic_arn=outputs["AlarmTopicArn"],
            deadline_group=outputs["DeadlineGroup"],
            deadline_role_arn=outputs["DeadlineRoleArn"],
            limit_overrides=json.loads(outputs["LimitOverrides"]),
            notification_email=parameters.get("NotificationEmail", ""),
        )
    except ValueError as error:
        raise NotDeployed(f"output LimitOverrides of stack {name} is not JSON: {error}; {remedy}") from error
    except KeyError as error:
        raise NotDeployed(f"stack {name} ({status}) has no output {error}; {remedy}") from error
