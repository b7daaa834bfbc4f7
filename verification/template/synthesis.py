"""The stack as CloudFormation creates it: transformed by SAM, with all intrinsic functions resolved."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"
Template = dict[str, Any]

# AWS's example account.
PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::StackName": "chronos-ec2-dev",
    "AWS::StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/chronos-ec2-dev/1",
}
_REGIONAL = "arn:aws:{service}:us-east-1:123456789012:{rest}"
_ARNS = {
    "AWS::CloudWatch::Alarm": _REGIONAL.format(service="cloudwatch", rest="alarm:{name}"),
    "AWS::Events::Rule": _REGIONAL.format(service="events", rest="rule/{name}"),
    "AWS::IAM::InstanceProfile": "arn:aws:iam::123456789012:instance-profile/{name}",
    "AWS::IAM::ManagedPolicy": "arn:aws:iam::123456789012:policy/{name}",
    "AWS::IAM::Role": "arn:aws:iam::123456789012:role/{name}",
    "AWS::Lambda::Function": _REGIONAL.format(service="lambda", rest="function:{name}"),
    "AWS::Logs::LogGroup": _REGIONAL.format(service="logs", rest="log-group:{name}:*"),
    "AWS::S3::Bucket": "arn:aws:s3:::{name}",
    "AWS::SNS::Topic": _REGIONAL.format(service="sns", rest="{name}"),
    "AWS::SQS::Queue": _REGIONAL.format(service="sqs", rest="{name}"),
    "AWS::Scheduler::ScheduleGroup": _REGIONAL.format(service="scheduler", rest="schedule-group/{name}"),
}
_REF_IS_ARN = frozenset({"AWS::IAM::ManagedPolicy", "AWS::SNS::Topic"})
_NAMES = ("FunctionName", "LogGroupName", "TopicName", "Name", "AlarmName")
_IDS = {
    "AWS::EC2::LaunchTemplate": "lt-0123456789abcdef0",
    "AWS::EC2::SecurityGroup": "sg-0123456789abcdef0",
    "AWS::EC2::Subnet": "subnet-{name}",
    "AWS::EC2::VPC": "vpc-0123456789abcdef0",
}
_SUBSTITUTED = re.compile(r"\$\{([^!}][^}]*)\}")
_ABSENT = object()


def transformed(path: Path = TEMPLATE) -> Template:
    """The template after the SAM transform, with its intrinsic functions."""
    template = copy.deepcopy(yaml_parse(path.read_text()))
    # The transform accepts only code in S3, where `sam package` would upload it.
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    # Without managed policies to look up, it needs a region and no AWS.
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=PSEUDO["AWS::Region"]))
    plain: Template = json.loads(json.dumps(translator.translate(template, {})))
    translator.metrics.publish()  # to no receiver; without this call it warns
    return plain


def synthesised(
    path: Path = TEMPLATE, parameters: Mapping[str, str] | None = None, zones: Sequence[str] = "abc"
) -> Template:
    """The resources to create: {logical id: {"Type": …, "Properties": …, …}}.

    `parameters` override the template's defaults; `zones` are the letters of the account's availability zones. Ids and
    ARNs chosen by AWS are replaced by ones of the same shape.
    """
    template = transformed(path)
    chosen = {name: body.get("Default", "") for name, body in template["Parameters"].items()} | dict(parameters or {})
    lists = [name for name, body in template["Parameters"].items() if body["Type"] == "CommaDelimitedList"]
    chosen |= {name: chosen[name].split(",") for name in lists}
    resolver = _Resolver(template, chosen, zones)
    return {
        name: resolver.resolve(body)
        for name, body in template["Resources"].items()
        if "Condition" not in body or resolver.holds(body["Condition"])
    }


@dataclass(frozen=True)
class _Resolver:
    template: Template
    parameters: Mapping[str, Any]
    zones: Sequence[str]
    conditions: dict[str, bool] = field(default_factory=dict)

    def holds(self, name: str) -> bool:
        if name not in self.conditions:
            self.conditions[name] = bool(self.resolve(self.template["Conditions"][name]))
        return self.conditions[name]

    def resolve(self, value: Any) -> Any:
        """The value without intrinsic functions and without AWS::NoValue."""
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not _ABSENT]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((key, argument),) = value.items()
            if key == "Ref":
                return self._ref(argument)
            if key.startswith("Fn::"):
                return self._function(key.removeprefix("Fn::"), argument)
        items = ((key, self.resolve(item)) for key, item in value.items())
        return {key: item for key, item in items if item is not _ABSENT}

    def _function(self, name: str, argument: Any) -> Any:
        match name, argument:
            case "GetAtt", [resource, attribute]:
                return self._attribute(resource, attribute)
            case "Sub", [text, names]:
                return self._sub(text, self.resolve(names))
            case "Sub", str(text):
                return self._sub(text, {})
            case "If", [condition, then, otherwise]:
                return self.resolve(then if self.holds(condition) else otherwise)
            case "Equals" | "Not" | "Or", operands:
                return self._condition(name, self.resolve(operands))
            case "Join", [separator, parts]:
                return separator.join(self.resolve(parts))
            case "GetAZs", _:
                return [f"us-east-1{letter}" for letter in self.zones]
            case "Select", [index, choices]:
                return self.resolve(choices)[int(index)]
        raise NotImplementedError(f"Fn::{name}: {argument}")

    @staticmethod
    def _condition(name: str, operands: list[Any]) -> bool:
        match name:
            case "Equals":
                return bool(operands[0] == operands[1])
            case "Not":
                return not operands[0]
        return any(operands)

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _ABSENT
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.parameters:
            return self.parameters[name]
        kind = self.template["Resources"][name]["Type"]
        if kind in _REF_IS_ARN:
            return self._attribute(name, "Arn")
        return _IDS.get(kind, "{name}").format(name=self._name(name))

    def _attribute(self, resource: str, attribute: str) -> str:
        if attribute.endswith("Name"):
            return self._name(resource)
        kind = self.template["Resources"][resource]["Type"]
        return _ARNS[kind].format(name=self._name(resource))

    def _name(self, resource: str) -> str:
        properties = self.template["Resources"][resource].get("Properties", {})
        given = next((properties[name] for name in _NAMES if name in properties), None)
        return str(self.resolve(given)) if given else f"{PSEUDO['AWS::StackName']}-{resource}".lower()

    def _sub(self, text: str, names: Mapping[str, str]) -> str:
        def replacement(match: re.Match[str]) -> str:
            name = match[1]
            if name in names:
                return str(names[name])
            resource, dot, attribute = name.partition(".")
            return str(self._attribute(resource, attribute) if dot else self._ref(name))

        return _SUBSTITUTED.sub(replacement, text).replace("${!", "${")
