"""The AWS calls that the code makes in tests, asked of the role that makes them.

The calls are seen where botocore takes their parameters. The table says what each operation needs; one that is not in
it is an error, so that nothing new goes unasked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3

from tests.template.iam import Answer, Policies, Request
from tests.template.test_policies import (
    ACCOUNT,
    BUCKET,
    DEADLINE_ROLE,
    EC2,
    INSTANCE_ROLE,
    OUR_PROFILE,
    TEMPLATE,
    TLS,
    policies,
)

Parameters = Mapping[str, Any]
_STACK = f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/chronos-ec2-dev/1"
_SCHEDULES = f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule"

THE_DEPLOYERS = frozenset({"cloudformation:DeleteStack"})
"""Who tears a stack down needs the rights of who deployed it: all that CloudFormation does is done with them."""


def _object(action: str) -> Callable[[Parameters], list[Request]]:
    def needed(asked: Parameters) -> list[Request]:
        context = dict(TLS)
        for parameter, key in (("IfMatch", "s3:if-match"), ("IfNoneMatch", "s3:if-none-match")):
            if parameter in asked:
                context[key] = asked[parameter]
        requests = [Request(action, f"{BUCKET}/{asked['Key']}", context)]
        # Without it S3 answers 403 of a missing key.
        return [*requests, Request("s3:ListBucket", BUCKET, TLS)] if action == "s3:GetObject" else requests

    return needed


def _list(asked: Parameters) -> list[Request]:
    return [Request("s3:ListBucket", BUCKET, TLS | ({"s3:prefix": asked["Prefix"]} if "Prefix" in asked else {}))]


def _anywhere(action: str) -> Callable[[Parameters], list[Request]]:
    return lambda _asked: [Request(action, "*")]


def _launch(asked: Parameters) -> list[Request]:
    """RunInstances asks for every resource that it touches, CreateTags for all it tags, PassRole for the profile's."""
    tags = {
        entry["ResourceType"]: {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in entry["Tags"]}
        for entry in asked["TagSpecifications"]
    }
    template = TEMPLATE | {"ec2:MetadataHttpTokens": asked["MetadataOptions"]["HttpTokens"]}
    of_template, at_launch = TEMPLATE | {"ec2:IsLaunchTemplateResource": "true"}, {"ec2:CreateAction": "RunInstances"}
    kinds = ("instance", "volume", "network-interface")
    return [
        *(Request("ec2:RunInstances", f"{EC2}:{kind}/*", tags[kind] | template | OUR_PROFILE) for kind in kinds),
        *(Request("ec2:CreateTags", f"{EC2}:{kind}/*", tags[kind] | at_launch) for kind in kinds),
        # moto chooses these ids; that the stack's are the ones is asked by the table of cases.
        Request("ec2:RunInstances", TEMPLATE["ec2:LaunchTemplate"]),
        Request("ec2:RunInstances", f"{EC2}:subnet/subnet-chronos-ec2-dev-subneta"),
        Request("ec2:RunInstances", f"{EC2}:security-group/sg-0123456789abcdef0"),
        Request("ec2:RunInstances", "arn:aws:ec2:us-east-1::image/ami-1", of_template),
        Request("iam:PassRole", INSTANCE_ROLE, {"iam:PassedToService": "ec2.amazonaws.com"}),
    ]  # fmt: skip


def _tagged(action: str, kind: str, parameter: str) -> Callable[[Parameters], list[Request]]:
    """What is found by our tags has them; an instance that our template launched has our profile."""
    ours = {f"aws:ResourceTag/{key}": value for key, value in
            {"Project": "Chronos-Training", "Environment": "dev", "ManagedBy": "chronos-ec2"}.items()}  # fmt: skip

    def needed(asked: Parameters) -> list[Request]:
        ids = asked[parameter] if isinstance(asked[parameter], list) else [asked[parameter]]
        return [Request(action, f"{EC2}:{kind}/{each}", ours | OUR_PROFILE) for each in ids]

    return needed


def _create_schedule(asked: Parameters) -> list[Request]:
    return [
        Request("scheduler:CreateSchedule", f"{_SCHEDULES}/{asked['GroupName']}/{asked['Name']}"),
        Request("iam:PassRole", DEADLINE_ROLE, {"iam:PassedToService": "scheduler.amazonaws.com"}),
    ]


NEEDED: dict[str, Callable[[Parameters], list[Request]]] = {
    "s3.GetObject": _object("s3:GetObject"),
    "s3.HeadObject": _object("s3:GetObject"),
    "s3.PutObject": _object("s3:PutObject"),
    "s3.CreateMultipartUpload": _object("s3:PutObject"),
    "s3.UploadPart": _object("s3:PutObject"),
    "s3.CompleteMultipartUpload": _object("s3:PutObject"),
    "s3.AbortMultipartUpload": _object("s3:AbortMultipartUpload"),
    "s3.DeleteObject": _object("s3:DeleteObject"),
    "s3.ListObjectsV2": _list,
    "s3.HeadBucket": _list,
    "ec2.DescribeInstances": _anywhere("ec2:DescribeInstances"),
    "ec2.DescribeVolumes": _anywhere("ec2:DescribeVolumes"),
    "ec2.DescribeNetworkInterfaces": _anywhere("ec2:DescribeNetworkInterfaces"),
    "ec2.RunInstances": _launch,
    "ec2.TerminateInstances": _tagged("ec2:TerminateInstances", "instance", "InstanceIds"),
    "ec2.DeleteVolume": _tagged("ec2:DeleteVolume", "volume", "VolumeId"),
    "ec2.DeleteNetworkInterface": _tagged("ec2:DeleteNetworkInterface", "network-interface", "NetworkInterfaceId"),
    "sns.Publish": lambda _asked: [Request("sns:Publish", f"arn:aws:sns:us-east-1:{ACCOUNT}:chronos-ec2-dev")],
    "scheduler.CreateSchedule": _create_schedule,
    "scheduler.DeleteSchedule": lambda asked: [
        Request("scheduler:DeleteSchedule", f"{_SCHEDULES}/{asked['GroupName']}/{asked['Name']}")
    ],
    "scheduler.ListSchedules": _anywhere("scheduler:ListSchedules"),
    "lambda.Invoke": lambda asked: [
        Request("lambda:InvokeFunction", f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{asked['FunctionName']}")
    ],
    "cloudformation.DescribeStacks": lambda _asked: [Request("cloudformation:DescribeStacks", _STACK)],
    "cloudformation.DeleteStack": lambda _asked: [Request("cloudformation:DeleteStack", _STACK)],
}


@dataclass
class Recorder:
    """Asks for every call that is made while somebody acts. `denied` names what their policies do not allow."""

    recorded: int = 0
    denied: list[str] = field(default_factory=list)
    heard: set[tuple[str, str]] = field(default_factory=set)
    """Who has called what: (`WatchdogRole`, `lambda.Invoke`)."""
    _who: str | None = None
    _policies: Policies | None = None

    def listen(self) -> None:
        """Hear of the calls of every client that is made from now on."""
        if boto3.DEFAULT_SESSION is None:
            boto3.setup_default_session()
        # Under one id, so that a session that somebody else made is heard too, and none twice.
        assert boto3.DEFAULT_SESSION is not None
        boto3.DEFAULT_SESSION.events.register("provide-client-params", self.hear, unique_id="recorder")

    @contextmanager
    def acting(self, who: str, of: Policies | None = None) -> Iterator[None]:
        """Calls are those of `who`, a role or managed policy by its logical id in the template."""
        self._who, self._policies = who, of or policies()
        self.listen()  # moto forgets the session
        try:
            yield
        finally:
            self._who = None

    def hear(self, params: Parameters, model: Any, **_: Any) -> None:
        """What botocore calls before it sends anything, with the parameters of the call."""
        if self._who is None or self._policies is None:
            return
        operation = f"{model.service_model.service_name}.{model.name}"
        self.recorded += 1
        self.heard.add((self._who, operation))
        if operation not in NEEDED:
            # Not raised: the code under test may catch what a call raises.
            self.denied.append(f"{self._who}: {operation} is not in the table")
            return
        for request in NEEDED[operation](params):
            if request.action in THE_DEPLOYERS and self._who == "OperatorPolicy":
                continue
            if self._policies.ask(self._who, request) is not Answer.ALLOWED:
                self.denied.append(f"{self._who}: {request.action} on {request.resource} {dict(request.context)}")
