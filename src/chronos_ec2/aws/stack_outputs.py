"""The outputs of a deployed stack."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from botocore.exceptions import ClientError

from chronos_ec2.aws.errors import code_of, translated
from chronos_ec2.domain.errors import NotDeployed
from chronos_ec2.domain.limits import StackBounds
from chronos_ec2.domain.stack_status import DELETING, deploy_command, stack_name, without_outputs
from chronos_ec2.ports import Stack


def read_stack(client: Any, environment: str) -> Stack:
    """The outputs of an environment's stack.

    Raises:
        NotDeployed: there is no such stack, it is being created or deleted, or it is not one of ours.
    """
    name = stack_name(environment)
    with translated(f"read stack {name}"):
        try:
            stack = client.describe_stacks(StackName=name)["Stacks"][0]
            status = stack["StackStatus"]
        except ClientError as error:
            if code_of(error) == "ValidationError":
                region = client.meta.region_name
                hint = f"{deploy_command(environment)} deploys it; AWS_REGION or --region names another region"
                raise NotDeployed(f"environment {environment}: no stack {name} in {region}", hint) from error
            raise
    if status == DELETING:
        raise without_outputs(name, status, environment, "any more")
    try:
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", ())}
        parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", ())}
        return Stack(
            name=name,
            status=status,
            stack_id=stack["StackId"],
            region=client.meta.region_name,
            environment=outputs["Environment"],
            bucket=outputs["Bucket"],
            project=outputs["Project"],
            cost_center=outputs["CostCenter"],
            instance_type=outputs["InstanceType"],
            volume_gib=int(outputs["VolumeSize"]),
            bounds=StackBounds(
                instance_types=tuple(outputs["InstanceTypes"].split(",")),
                max_types=int(outputs["MaxTypesPerRun"]),
                max_runtime=timedelta(hours=int(outputs["MaxRunHours"])),
            ),
            packages_in_image=outputs["AgentPackages"] == "image",
            agent_log_group=outputs.get("AgentLogGroup"),
            subnet_ids=tuple(outputs["SubnetIds"].split(",")),
            launch_template_id=outputs["LaunchTemplateId"],
            instance_profile_arn=outputs["InstanceProfileArn"],
            topic_arn=outputs["TopicArn"],
            alarm_topic_arn=outputs["AlarmTopicArn"],
            deadline_group=outputs["DeadlineGroup"],
            deadline_role_arn=outputs["DeadlineRoleArn"],
            schedule_group=outputs["RunScheduleGroup"],
            schedule_role_arn=outputs["RunScheduleRoleArn"],
            launcher_function_arn=outputs["LauncherFunctionArn"],
            limit_overrides=json.loads(outputs["LimitOverrides"]),
            version=outputs["Version"],
            notification_email=parameters.get("NotificationEmail", ""),
        )
    except ValueError as error:
        hint = f"{deploy_command(environment)} deploys it again"
        raise NotDeployed(f"output LimitOverrides of stack {name} is not JSON: {error}", hint) from error
    except KeyError as error:
        raise without_outputs(name, status, environment, str(error)) from error
