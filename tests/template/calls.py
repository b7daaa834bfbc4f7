"""The AWS calls that the code makes in tests, asked of the role that makes them.

The calls are seen where botocore takes their parameters. The table says what each operation needs, on just what the
call names; one that is not in it is an error, so that nothing new goes unasked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import boto3
from botocore.exceptions import ClientError

from chronos_ec2.aws.clients import client
from tests.template.iam import Answer, Policies, Request, Right
from tests.template.test_policies import ACCOUNT, AS_WE_CALL, EC2, policies

Parameters = Mapping[str, Any]
Needed = Callable[[Parameters], list[Request]]
_REGIONAL = f"us-east-1:{ACCOUNT}"

THE_DEPLOYERS = frozenset({"cloudformation:DeleteStack"})
"""Who tears a stack down needs the rights of who deployed it: all that CloudFormation does is done with them."""


# --- what a call names, as EC2 and IAM have it -------------------------------------------------------------------


def aside(service: str) -> Any:
    """A client of a session of its own, so that nobody hears of what it is asked."""
    return _aside(service, os.environ.get("AWS_ENDPOINT_URL"))


@cache
def _aside(service: str, _endpoint: str | None) -> Any:
    return boto3.Session().client(service)


def _described(operation: str, kind: str, **which: Any) -> Mapping[str, Any]:
    """The one thing that a `describe` finds, empty if there is none."""
    try:
        found = getattr(aside("ec2"), operation)(**which)[kind]
    except ClientError:
        return {}
    return dict(found[0]) if found else {}


def _tags_of(resource: Mapping[str, Any], key: str = "Tags") -> dict[str, str]:
    return {f"aws:ResourceTag/{tag['Key']}": tag["Value"] for tag in resource.get(key, ())}


def _instance(instance_id: str) -> dict[str, str]:
    """An instance's tags and profile. moto takes a profile from a call alone, EC2 from the launch template too."""
    reservation = _described("describe_instances", "Reservations", InstanceIds=[instance_id])
    instance = reservation["Instances"][0] if reservation else {}
    tags = _tags_of(instance)
    template = tags.get("aws:ResourceTag/aws:ec2launchtemplate:id")
    given = instance.get("IamInstanceProfile") or (_template(template) if template else {}).get("IamInstanceProfile")
    return tags | ({"ec2:InstanceProfile": given["Arn"]} if given else {})


def _volume(volume_id: str) -> dict[str, str]:
    return _tags_of(_described("describe_volumes", "Volumes", VolumeIds=[volume_id]))


def _interface(interface_id: str) -> dict[str, str]:
    which = {"NetworkInterfaceIds": [interface_id]}
    return _tags_of(_described("describe_network_interfaces", "NetworkInterfaces", **which), "TagSet")


def _subnet(subnet_id: str) -> dict[str, str]:
    subnet = _described("describe_subnets", "Subnets", SubnetIds=[subnet_id])
    return {"ec2:Vpc": f"{EC2}:vpc/{subnet['VpcId']}"} if subnet else {}


def _template(template_id: str) -> dict[str, Any]:
    """What a launch template asks for."""
    which = {"LaunchTemplateId": template_id, "Versions": ["$Latest"]}
    found = _described("describe_launch_template_versions", "LaunchTemplateVersions", **which)
    return dict(found.get("LaunchTemplateData", {}))


def _roles(profile_arn: str) -> list[str]:
    profile = aside("iam").get_instance_profile(InstanceProfileName=profile_arn.rpartition("/")[2])["InstanceProfile"]
    return [role["Arn"] for role in profile["Roles"]]


# --- what each operation needs -----------------------------------------------------------------------------------


def _object(action: str) -> Needed:
    def needed(asked: Parameters) -> list[Request]:
        context = dict(AS_WE_CALL)
        for parameter, key in (("IfMatch", "s3:if-match"), ("IfNoneMatch", "s3:if-none-match")):
            if parameter in asked:
                context[key] = asked[parameter]
        bucket = f"arn:aws:s3:::{asked['Bucket']}"
        requests = [Request(action, f"{bucket}/{asked['Key']}", context)]
        if "Tagging" in asked:
            requests.append(Request("s3:PutObjectTagging", f"{bucket}/{asked['Key']}", AS_WE_CALL))
        # Without it S3 answers 403 of a missing key.
        return [*requests, Request("s3:ListBucket", bucket, AS_WE_CALL)] if action == "s3:GetObject" else requests

    return needed


def _list(asked: Parameters) -> list[Request]:
    prefix = {"s3:prefix": asked["Prefix"]} if "Prefix" in asked else {}
    return [Request("s3:ListBucket", f"arn:aws:s3:::{asked['Bucket']}", AS_WE_CALL | prefix)]


def _anywhere(action: str) -> Needed:
    return lambda _asked: [Request(action, "*")]


def _launch(asked: Parameters) -> list[Request]:
    """RunInstances asks for every resource that it touches, CreateTags for all it tags, PassRole for the profile's."""
    named = asked["LaunchTemplate"]["LaunchTemplateId"]
    both = _template(named) | asked
    template = {"ec2:LaunchTemplate": f"{EC2}:launch-template/{named}"}
    tags = {
        entry["ResourceType"]: {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in entry["Tags"]}
        for entry in asked.get("TagSpecifications", ())
    }
    launch = template | {"ec2:InstanceType": both.get("InstanceType", "")}
    # What only the template asks for is not in the request: whether EC2 compares it all the same is not documented.
    if "IamInstanceProfile" in asked:
        launch["ec2:InstanceProfile"] = asked["IamInstanceProfile"]["Arn"]
    if "MetadataOptions" in asked:
        launch["ec2:MetadataHttpTokens"] = asked["MetadataOptions"]["HttpTokens"]
    if tenancy := asked.get("Placement", {}).get("Tenancy"):
        launch["ec2:Tenancy"] = tenancy
    of_template = {"ec2:IsLaunchTemplateResource": str("ImageId" not in asked).lower()}
    subnet = both.get("SubnetId", "of-the-default-vpc")
    roles = _roles(both["IamInstanceProfile"]["Arn"])
    kinds, at_launch = ["instance", "volume", "network-interface"], {"ec2:CreateAction": "RunInstances"}
    if "InstanceMarketOptions" in asked:
        kinds.append("spot-instances-request")
    return [
        *(Request("ec2:RunInstances", f"{EC2}:{kind}/*", tags.get(kind, {}) | launch) for kind in kinds),
        *(Request("ec2:CreateTags", f"{EC2}:{kind}/*", of_kind | at_launch) for kind, of_kind in tags.items()),
        Request("ec2:RunInstances", template["ec2:LaunchTemplate"]),
        Request("ec2:RunInstances", f"{EC2}:subnet/{subnet}", _subnet(subnet)),
        *(Request("ec2:RunInstances", f"{EC2}:security-group/{group}") for group in both["SecurityGroupIds"]),
        Request("ec2:RunInstances", f"arn:aws:ec2:us-east-1::image/{both['ImageId']}", template | of_template),
        *(Request("iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"}) for role in roles),
    ]


def _ended(action: str, kind: str, parameter: str, look: Callable[[str], dict[str, str]]) -> Needed:
    def needed(asked: Parameters) -> list[Request]:
        ids = asked[parameter] if isinstance(asked[parameter], list) else [asked[parameter]]
        return [Request(action, f"{EC2}:{kind}/{each}", look(each)) for each in ids]

    return needed


def _tagged(action: str) -> Needed:
    """Tags of running instances."""

    def needed(asked: Parameters) -> list[Request]:
        keys = {"aws:TagKeys": [tag["Key"] for tag in asked["Tags"]]}
        return [Request(action, f"{EC2}:instance/{each}", _instance(each) | keys) for each in asked["Resources"]]

    return needed


def _schedule(action: str) -> Needed:
    def needed(asked: Parameters) -> list[Request]:
        requests = [Request(action, f"arn:aws:scheduler:{_REGIONAL}:schedule/{asked['GroupName']}/{asked['Name']}")]
        if "Target" not in asked:
            return requests
        service = {"iam:PassedToService": "scheduler.amazonaws.com"}
        return [*requests, Request("iam:PassRole", asked["Target"]["RoleArn"], service)]

    return needed


def _stack(action: str) -> Needed:
    def needed(asked: Parameters) -> list[Request]:
        given = asked["StackName"]
        arn = given if given.startswith("arn:") else f"arn:aws:cloudformation:{_REGIONAL}:stack/{given}/1"
        return [Request(action, arn)]

    return needed


def _stream(action: str) -> Needed:
    def needed(asked: Parameters) -> list[Request]:
        stream = f"{asked['logGroupName']}:log-stream:{asked['logStreamName']}"
        return [Request(action, f"arn:aws:logs:{_REGIONAL}:log-group:{stream}")]

    return needed


NEEDED: dict[str, Needed] = {
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
    "s3.ListMultipartUploads": lambda asked: [
        Request("s3:ListBucketMultipartUploads", f"arn:aws:s3:::{asked['Bucket']}", AS_WE_CALL)
    ],
    "s3.GetBucketNotificationConfiguration": lambda asked: [
        Request("s3:GetBucketNotification", f"arn:aws:s3:::{asked['Bucket']}", AS_WE_CALL)
    ],
    "ec2.DescribeInstances": _anywhere("ec2:DescribeInstances"),
    "ec2.DescribeVolumes": _anywhere("ec2:DescribeVolumes"),
    "ec2.DescribeNetworkInterfaces": _anywhere("ec2:DescribeNetworkInterfaces"),
    "ec2.DescribeSpotInstanceRequests": _anywhere("ec2:DescribeSpotInstanceRequests"),
    "ec2.DescribeInstanceTypes": _anywhere("ec2:DescribeInstanceTypes"),
    "ec2.DescribeImages": _anywhere("ec2:DescribeImages"),
    "ec2.DescribeInstanceTypeOfferings": _anywhere("ec2:DescribeInstanceTypeOfferings"),
    "ec2.DescribeLaunchTemplateVersions": _anywhere("ec2:DescribeLaunchTemplateVersions"),
    "ec2.DescribeSubnets": _anywhere("ec2:DescribeSubnets"),
    "ec2.GetEbsEncryptionByDefault": _anywhere("ec2:GetEbsEncryptionByDefault"),
    "cloudwatch.DescribeAlarms": _anywhere("cloudwatch:DescribeAlarms"),
    "ec2.DescribeSpotPriceHistory": _anywhere("ec2:DescribeSpotPriceHistory"),
    "pricing.GetProducts": _anywhere("pricing:GetProducts"),
    "service-quotas.GetServiceQuota": _anywhere("servicequotas:GetServiceQuota"),
    "ec2.RunInstances": _launch,
    "ec2.TerminateInstances": _ended("ec2:TerminateInstances", "instance", "InstanceIds", _instance),
    "ec2.ModifyInstanceAttribute": lambda asked: [
        Request(
            "ec2:ModifyInstanceAttribute",
            f"{EC2}:instance/{asked['InstanceId']}",
            _instance(asked["InstanceId"]) | {"ec2:Attribute": next(name for name in asked if name != "InstanceId")},
        )
    ],
    "ec2.CreateTags": _tagged("ec2:CreateTags"),
    "ec2.DeleteTags": _tagged("ec2:DeleteTags"),
    "ec2.DeleteVolume": _ended("ec2:DeleteVolume", "volume", "VolumeId", _volume),
    "ec2.DeleteNetworkInterface": _ended(
        "ec2:DeleteNetworkInterface", "network-interface", "NetworkInterfaceId", _interface
    ),
    "sns.Publish": lambda asked: [Request("sns:Publish", asked["TopicArn"])],
    "sns.ListSubscriptionsByTopic": lambda asked: [Request("sns:ListSubscriptionsByTopic", asked["TopicArn"])],
    "scheduler.CreateSchedule": _schedule("scheduler:CreateSchedule"),
    "scheduler.DeleteSchedule": _schedule("scheduler:DeleteSchedule"),
    "scheduler.GetSchedule": _schedule("scheduler:GetSchedule"),
    "scheduler.UpdateSchedule": _schedule("scheduler:UpdateSchedule"),
    "scheduler.ListSchedules": _anywhere("scheduler:ListSchedules"),
    "logs.CreateLogStream": _stream("logs:CreateLogStream"),
    "logs.PutLogEvents": _stream("logs:PutLogEvents"),
    "lambda.Invoke": lambda asked: [
        Request("lambda:InvokeFunction", f"arn:aws:lambda:{_REGIONAL}:function:{asked['FunctionName']}")
    ],
    "cloudformation.DescribeStacks": _stack("cloudformation:DescribeStacks"),
    "cloudformation.DeleteStack": _stack("cloudformation:DeleteStack"),
}


@dataclass
class Recorder:
    """Asks for every call that is made while somebody acts. `denied` names what their policies do not allow."""

    recorded: int = 0
    denied: list[str] = field(default_factory=list)
    heard: set[tuple[str, str]] = field(default_factory=set)
    """Who has called what: (`WatchdogRole`, `lambda.Invoke`)."""
    used: set[Right] = field(default_factory=set)
    """The rights by which the calls were allowed."""
    policies: Policies = field(default_factory=policies)
    """Those of the stack that is deployed, with the ids that AWS chose for it."""
    _who: str | None = None
    _session: boto3.Session | None = None

    def listen(self) -> None:
        """Hear of the calls of every client that is made from now on; those that were made without us are forgotten."""
        if boto3.DEFAULT_SESSION is None:
            boto3.setup_default_session()
        assert boto3.DEFAULT_SESSION is not None
        if boto3.DEFAULT_SESSION is not self._session:
            self._session = boto3.DEFAULT_SESSION
            # Once per session, which may become the default one again.
            self._session.events.register("provide-client-params", self.hear, unique_id="recorder")
            client.cache_clear()

    @contextmanager
    def acting(self, who: str, of: Policies | None = None) -> Iterator[None]:
        """Calls are those of `who`, a role or managed policy by its logical id in the template."""
        deployed, self.policies = self.policies, of or self.policies
        self._who = who
        self.listen()  # moto forgets the session
        try:
            yield
        finally:
            self._who, self.policies = None, deployed

    def hear(self, params: Parameters, model: Any, **_: Any) -> None:
        """What botocore calls before it sends anything, with the parameters of the call."""
        if self._who is None:
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
            if self.policies.ask(self._who, request) is Answer.ALLOWED:
                self.used |= self.policies.rights(self._who, request)
            else:
                self.denied.append(f"{self._who}: {request.action} on {request.resource} {dict(request.context)}")


CALLS = Recorder()
"""What this process has recorded."""
