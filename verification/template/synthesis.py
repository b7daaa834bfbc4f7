"""The stack as CloudFormation creates it: transformed by SAM, with all intrinsic functions resolved."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
_ARNS = {
    "AWS::CloudWatch::Alarm": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:{name}",
    "AWS::Events::Rule": "arn:aws:events:us-east-1:123456789012:rule/{name}",
    "AWS::IAM::InstanceProfile": "arn:aws:iam::123456789012:instance-profile/{name}",
    "AWS::IAM::ManagedPolicy": "arn:aws:iam::123456789012:policy/{name}",
    "AWS::IAM::Role": "arn:aws:iam::123456789012:role/{name}",
    "AWS::Lambda::Function": "arn:aws:lambda:us-east-1:123456789012:function:{name}",
    "AWS::Logs::LogGroup": "arn:aws:logs:us-east-1:123456789012:log-group:{name}:*",
    "AWS::S3::Bucket": "arn:aws:s3:::{name}",
    "AWS::SNS::Topic": "arn:aws:sns:us-east-1:123456789012:{name}",
    "AWS::SQS::Queue": "arn:aws:sqs:us-east-1:123456789012:{name}",
    "AWS::Scheduler::ScheduleGroup": "arn:aws:scheduler:us-east-1:123456789012:schedule-group/{name}",
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
    resolver = _Resolver(template, PSEUDO | {"AWS::NoValue": _ABSENT} | chosen, zones)
    return {
        name: resolver.resolve(body)
        for name, body in template["Resources"].items()
        if "Condition" not in body or resolver.holds(body["Condition"])
    }


@dataclass(frozen=True)
class _Resolver:
    template: Template
    values: Mapping[str, Any]
    """Of pseudo parameters and parameters."""
    zones: Sequence[str]

    def holds(self, condition: str) -> bool:
        return bool(self.resolve(self.template["Conditions"][condition]))

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
            case "Sub", _:
                return self._sub(argument) if isinstance(argument, str) else self._sub(*self.resolve(argument))
            case "If", [condition, then, otherwise]:
                return self.resolve(then if self.holds(condition) else otherwise)
            case "Equals", [left, right]:
                return self.resolve(left) == self.resolve(right)
            case "Not", [operand]:
                return not self.resolve(operand)
            case "Or", operands:
                return any(self.resolve(operands))
            case "Join", [separator, parts]:
                return separator.join(self.resolve(parts))
            case "GetAZs", _:
                return [f"us-east-1{letter}" for letter in self.zones]
            case "Select", [index, choices]:
                return self.resolve(choices)[int(index)]
        raise NotImplementedError(f"Fn::{name}: {argument}")

    def _ref(self, name: str) -> Any:
        if name in self.values:
            return self.values[name]
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

    def _sub(self, text: str, names: Mapping[str, Any] = {}) -> str:
        def replacement(match: re.Match[str]) -> str:
            resource, dot, attribute = match[1].partition(".")
            if match[1] in names:
                return str(names[match[1]])
            return str(self._attribute(resource, attribute) if dot else self._ref(resource))

        return _SUBSTITUTED.sub(replacement, text).replace("${!", "${")
