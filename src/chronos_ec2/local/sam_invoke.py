"""Run a Lambda function of this checkout in a container against the embedded AWS: `sam build`, `sam local invoke`."""

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
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.stack_status import stack_name
from chronos_ec2.input_files import read_input, shown
from chronos_ec2.local import sam_cli
from chronos_ec2.local.docker_relay import relay
from chronos_ec2.local.lifecycle import LocalAws
from chronos_ec2.local.state_dir import NEEDS_DOCKER, LocalAwsFailed, StateDir

_FUNCTION = "AWS::Serverless::Function"
_MAX_EVENT_BYTES = 6 << 20
"""What Lambda takes."""
_IMAGE = Path(__file__).with_name("lambda-image.sh")


@dataclass(frozen=True, slots=True)
class Invocation:
    """The result of an invocation: the answer (any JSON), the error as `Type: message` or None, and the log."""

    answer: Any
    error: str | None
    log: str

    @property
    def lines(self) -> tuple[dict[str, Any], ...]:
        """The structured log lines, parsed."""
        return tuple(json.loads(line) for line in self.log.splitlines() if line.startswith('{"level"'))


@dataclass(frozen=True, slots=True)
class BuiltFunctions:
    """Built functions, ready to be invoked. `variables` are those of the deployed functions, by logical id."""

    aws: LocalAws
    template: Path
    variables: Mapping[str, Mapping[str, str]]

    def invoke(self, function: str, event: Path, **variables: str) -> Invocation:
        """Run a function once, in a new container. `variables` override those of the deployed function.

        Raises:
            LocalAwsFailed: `sam local invoke` itself failed, or the deployed stack lacks the function.
        """
        if function not in self.variables:
            problem = f"the deployed stack has no {function} yet"
            raise LocalAwsFailed(problem, "`chronos-ec2 local down`, then try again")
        overrides = self.template.with_name(f"{function}.variables.json")
        overrides.write_text(json.dumps({function: {**self.variables[function], **variables}}))
        command = [str(sam_cli.sam()), "local", "invoke", function, "--template-file", str(self.template)]
        command += ["--event", str(event), "--env-vars", str(overrides), "--skip-pull-image"]
        environ = self.aws.environ() | {"SAM_CLI_TELEMETRY": "0"}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode or not done.stdout.strip():
            reason = done.stderr.strip()[-1000:]
            raise LocalAwsFailed(f"`sam local invoke {function}` failed: {reason}", NEEDS_DOCKER)
        answer = json.loads(done.stdout)
        failed = isinstance(answer, dict) and "errorType" in answer
        return Invocation(answer, f"{answer['errorType']}: {answer['errorMessage']}" if failed else None, done.stderr)


@contextmanager
def built_functions(aws: LocalAws) -> Iterator[BuiltFunctions]:
    """Prepare what an invocation needs: the image, the bundles, the variables, a relay to the embedded AWS.

    Raises:
        LocalAwsFailed: there is no Docker, the image cannot be pulled or built, or `sam build` failed.
    """
    ensure_image()
    state = StateDir(aws.state_dir)
    record = state.read()
    if record is None:
        raise LocalAwsFailed(f"no embedded AWS is running in {state.root}", "start one with `chronos-ec2 local up`")
    sam_cli.build(state, record)
    with relay(aws.endpoint) as endpoint:
        template = state.sam / ".aws-sam" / "build" / "template.yaml"
        yield BuiltFunctions(aws, _with_endpoint(template), _deployed_variables(aws, {"AWS_ENDPOINT_URL": endpoint}))


def ensure_image() -> None:
    """Pull Lambda's image, or build a substitute, unless Docker has one. Raises LocalAwsFailed with the reason."""
    done = subprocess.run([str(_IMAGE), sys.executable], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise LocalAwsFailed(done.stderr.strip().splitlines()[-1], NEEDS_DOCKER)


def check_request(function: str, event: Path) -> None:
    """Raise InvalidInput unless the function and the event file exist."""
    if function not in (known := functions()):
        raise InvalidInput("FUNCTION", f"no function named {function!r}", f"one of {', '.join(known)}")
    remedy = "events/ has one of each kind"
    try:
        json.loads(read_input(event, _MAX_EVENT_BYTES, option="EVENT", remedy=remedy))
    except (ValueError, RecursionError) as error:
        raise InvalidInput("EVENT", f"{shown(event)} is not JSON: {error}", remedy) from error


def functions() -> tuple[str, ...]:
    """The logical ids of the template's functions."""
    document = yaml_parse((sam_cli.project_root() / "template.yaml").read_text())
    return tuple(name for name, resource in document["Resources"].items() if resource["Type"] == _FUNCTION)


def _with_endpoint(template: Path) -> Path:
    """Add AWS_ENDPOINT_URL to the functions' variables: SAM passes only those that the template names."""
    document = yaml_parse(template.read_text())
    for resource in document["Resources"].values():
        if resource["Type"] == _FUNCTION:
            environment = resource["Properties"].setdefault("Environment", {})
            environment.setdefault("Variables", {})["AWS_ENDPOINT_URL"] = ""
    changed = template.with_name("invoke.yaml")
    changed.write_text(yaml.safe_dump(document, sort_keys=False))
    return changed


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
