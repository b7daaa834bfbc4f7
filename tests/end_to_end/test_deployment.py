"""A stack is created, updated under an active run, and deleted, by the real sam on the embedded AWS."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from chronos_ec2.aws.clients import client
from chronos_ec2.local import LocalAws
from chronos_ec2.local.sam_cli import project_root, sam
from chronos_ec2.local.state_dir import StateDir

pytestmark = [pytest.mark.embedded_aws, pytest.mark.thorough]

ENVIRONMENT = "other"
STACK = f"chronos-ec2-{ENVIRONMENT}"
PARAMETERS = {
    "Environment": ENVIRONMENT,
    "ImageIdParameter": "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
    "RootDeviceName": "/dev/xvda",
    "AgentPackages": "image",
}
CHANGES = {"CostCenterTag": "research", "LogLevel": "DEBUG", "Dashboard": "true", "InstanceType": "g5.xlarge",
           "NotificationEmail": "somebody@example.org", "LimitOverrides": '{\\"progress\\":1800}'}  # fmt: skip


@dataclass
class Operator:
    """A user at a terminal, with an environment beside the one of the other tests."""

    aws: LocalAws

    def sam_deploy(self, **parameters: str) -> dict[str, str]:
        """Deploy the built template. Returns the stack's outputs."""
        overrides = [f'{name}="{value}"' for name, value in (PARAMETERS | parameters).items()]
        self._run(
            [str(sam()), "deploy", "--config-file", str(project_root() / "samconfig.toml"), "--config-env", "local",
             "--stack-name", STACK, "--s3-prefix", STACK, "--parameter-overrides", *overrides],
            cwd=StateDir(self.aws.state_dir).sam, check=True,
        )  # fmt: skip
        stack = client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def sam_deploy_guided(self, folder: Path, answers: list[str]) -> str:
        """Answer each question of `sam deploy --guided`. Returns its output."""
        command = [str(sam()), "deploy", "--guided", "--template-file",
                   str(StateDir(self.aws.state_dir).sam / ".aws-sam" / "build" / "template.yaml")]  # fmt: skip
        done = self._run(command, cwd=folder, input="\n".join([*answers, ""]))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def chronos(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run([sys.executable, "-m", "chronos_ec2.cli", *arguments, "--environment", ENVIRONMENT])

    def _run(self, command: list[str], **words: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, env=self.aws.environ(), **words)  # noqa: PLW1510


@pytest.fixture
def operator(embedded_aws: LocalAws) -> Iterator[Operator]:
    with embedded_aws.exported():
        yield Operator(embedded_aws)
        client("cloudformation").delete_stack(StackName=STACK)


def test_an_update_leaves_an_active_run_alone_and_teardown_leaves_the_bucket(
    operator: Operator, tmp_path: Path
) -> None:
    before = operator.sam_deploy()
    bucket = before["Bucket"]
    (tmp_path / "a.parquet").write_bytes(b"PAR1 rows PAR1")
    config = "data: {path: training-data/sales/}\nprediction_length: 8\nmodel: {from_scratch: {}}\n"
    (tmp_path / "train.yaml").write_text(config)
    assert operator.chronos("upload", "data", str(tmp_path), "sales").returncode == 0
    launched = json.loads(
        operator.chronos("launch", "--config", str(tmp_path / "train.yaml"), "--allow-cpu", "--json").stdout
    )
    lock = read(bucket, f"{ENVIRONMENT}/system-state.json")

    after = operator.sam_deploy(**CHANGES)
    kept = ("Bucket", "SubnetIds", "TopicArn", "DeadlineGroup", "LaunchTemplateId")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert read(bucket, f"{ENVIRONMENT}/system-state.json") == lock
    assert state_of(launched["instance_id"]) == "running"
    assert schedules(after) == [launched["instance_id"]]

    refused = operator.chronos("teardown", "--yes")
    assert (refused.returncode, launched["instance_id"] in refused.stderr) == (2, True)
    assert operator.chronos("kill", "--now").returncode == 0
    assert operator.chronos("cleanup", "--wait", "60").returncode == 0

    gone = operator.chronos("teardown", "--yes")
    assert gone.returncode == 0, gone.stderr
    assert STACK not in {stack["StackName"] for stack in live_stacks()}
    assert read(bucket, f"{ENVIRONMENT}/{launched['run_id']}/state.json")
    assert not [name for name in functions() if name.startswith(STACK)]


def test_a_guided_deployment_asks_for_every_parameter(operator: Operator, tmp_path: Path) -> None:
    template = yaml_parse((project_root() / "template.yaml").read_text())
    chosen = {"Environment": ENVIRONMENT} | {name: PARAMETERS[name] for name in PARAMETERS}
    answers = [STACK, "", *(chosen.get(name, "") for name in template["Parameters"])]
    config = tmp_path / "samconfig.toml"
    # No confirmation of changes; IAM roles allowed; rollback stays enabled; save the answers.
    answers += ["n", "y", "n", "y", str(config), "default"]

    asked = operator.sam_deploy_guided(tmp_path, answers)

    for name in template["Parameters"]:
        assert f"Parameter {name}" in asked
    kept = tomllib.loads(config.read_text())["default"]["deploy"]["parameters"]
    assert kept["stack_name"] == STACK
    assert f'Environment="{ENVIRONMENT}"' in kept["parameter_overrides"]
    assert operator.chronos("verify").returncode == 0


def read(bucket: str, key: str) -> bytes:
    body: bytes = client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def state_of(instance_id: str) -> str:
    found = client("ec2").describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    return str(found["State"]["Name"])


def schedules(outputs: dict[str, str]) -> list[str]:
    found = client("scheduler").list_schedules(GroupName=outputs["DeadlineGroup"])["Schedules"]
    return [schedule["Name"] for schedule in found]


def live_stacks() -> list[Any]:
    found = client("cloudformation").describe_stacks()["Stacks"]
    return [stack for stack in found if stack["StackStatus"] != "DELETE_COMPLETE"]


def functions() -> list[str]:
    return [function["FunctionName"] for function in client("lambda").list_functions()["Functions"]]
