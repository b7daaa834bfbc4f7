"""`sam build` and `sam local invoke`: a function of this checkout in a container, its AWS the embedded one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from samtranslator.yaml_helper import yaml_parse

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.stack_outputs import stack_name
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.local import sam_cli
from chronos_ec2.local.docker_relay import relay
from chronos_ec2.local.lifecycle import LocalAws
from chronos_ec2.local.state_dir import Layout, LocalAwsFailed

_FUNCTION = "AWS::Serverless::Function"
_IMAGE = Path(__file__).with_name("lambda-image.sh")


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a function did: its answer (any JSON), its error as `Type: message` or None, and its log."""

    answer: Any
    error: str | None
    log: str

    @property
    def lines(self) -> tuple[dict[str, Any], ...]:
        """The structured lines of the log."""
        return tuple(json.loads(line) for line in self.log.splitlines() if line.startswith('{"level"'))


@dataclass(frozen=True, slots=True)
class Bench:
    """Functions that are built and can be invoked. `variables` are those of the deployed functions, by logical id."""

    aws: LocalAws
    template: Path
    variables: Mapping[str, Mapping[str, str]]

    def invoke(self, function: str, event: Path, **variables: str) -> Invocation:
        """Run a function once, in a container of its own; `variables` take the place of what the stack gives it.

        Raises:
            LocalAwsFailed: `sam local invoke` failed, which is not the same as the function; or the stack is older than
                the function.
        """
        if function not in self.variables:
            raise LocalAwsFailed(f"the deployed stack has no {function} yet; `chronos-ec2 local down`, then try again")
        own = self.template.with_name(f"{function}.variables.json")
        own.write_text(json.dumps({function: {**self.variables[function], **variables}}))
        command = [str(sam_cli.sam()), "local", "invoke", function, "--template-file", str(self.template)]
        command += ["--event", str(event), "--env-vars", str(own), "--skip-pull-image"]
        environ = self.aws.environ() | {"SAM_CLI_TELEMETRY": "0"}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode or not done.stdout.strip():
            raise LocalAwsFailed(f"`sam local invoke {function}` failed: {done.stderr.strip()[-1000:]}")
        answer = json.loads(done.stdout)
        failed = isinstance(answer, dict) and "errorType" in answer
        return Invocation(answer, f"{answer['errorType']}: {answer['errorMessage']}" if failed else None, done.stderr)


@contextmanager
def bench(aws: LocalAws) -> Iterator[Bench]:
    """Everything that an invocation needs: the image, the bundles, the variables, a way to the embedded AWS.

    Raises:
        LocalAwsFailed: there is no Docker, the image cannot be had, or `sam build` failed.
    """
    ensure_image()
    layout = Layout(aws.state_dir)
    record = layout.read()
    if record is None:
        raise LocalAwsFailed(f"no embedded AWS is up in {layout.root}; `chronos-ec2 local up` starts one")
    sam_cli.build(layout, record.endpoint, record.token)
    with relay(aws.endpoint) as endpoint:
        template = layout.sam / ".aws-sam" / "build" / "template.yaml"
        yield Bench(aws, _with_endpoint(template), _deployed_variables(aws, {"AWS_ENDPOINT_URL": endpoint}))


def ensure_image() -> None:
    """Have Lambda's image, or a stand-in for it, in Docker. Raises LocalAwsFailed with the reason."""
    done = subprocess.run([str(_IMAGE), sys.executable], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise LocalAwsFailed(done.stderr.strip().splitlines()[-1])


def check_request(function: str, event: Path) -> None:
    """Whether there is such a function and such an event. Raises InvalidInput."""
    if function not in (known := functions()):
        raise InvalidInput("FUNCTION", f"there is no {function or 'name'}", f"one of {', '.join(known)}")
    try:
        json.loads(event.read_bytes())
    except OSError as error:
        raise InvalidInput("EVENT", f"{event}: {error.strerror}", "golden events lie in events/") from error
    except ValueError as error:
        raise InvalidInput("EVENT", f"{event} is not JSON: {error}") from error


def functions() -> tuple[str, ...]:
    """The logical ids of the template's functions."""
    document = yaml_parse((sam_cli.project_root() / "template.yaml").read_text())
    return tuple(name for name, resource in document["Resources"].items() if resource["Type"] == _FUNCTION)


def _with_endpoint(template: Path) -> Path:
    """The built template with AWS_ENDPOINT_URL among the functions' variables: SAM hands over none that it lacks."""
    document = yaml_parse(template.read_text())
    for resource in document["Resources"].values():
        if resource["Type"] == _FUNCTION:
            environment = resource["Properties"].setdefault("Environment", {})
            environment.setdefault("Variables", {})["AWS_ENDPOINT_URL"] = ""
    ours = template.with_name("invoke.yaml")
    ours.write_text(yaml.safe_dump(document, sort_keys=False))
    return ours


def _deployed_variables(aws: LocalAws, more: Mapping[str, str]) -> dict[str, dict[str, str]]:
    with aws.exported():
        pages = client("cloudformation").get_paginator("list_stack_resources")
        resources = [
            resource
            for page in pages.paginate(StackName=stack_name(aws.environment))
            for resource in page["StackResourceSummaries"]
            if resource["ResourceType"] == "AWS::Lambda::Function"
        ]
        found = {}
        for resource in resources:
            name = resource["PhysicalResourceId"]
            configuration = client("lambda").get_function_configuration(FunctionName=name)
            found[resource["LogicalResourceId"]] = {**configuration["Environment"]["Variables"], **more}
    return found
