"""Who may do what: what is forbidden first. Each case is asked of the policies of the synthesised stack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import pytest

from tests.template.iam import Answer, Policies, Request, answer
from verification.template.synthesis import synthesised

ACCOUNT = "123456789012"
EC2 = f"arn:aws:ec2:us-east-1:{ACCOUNT}"
BUCKET = "arn:aws:s3:::chronos-ec2-dev-bucket"
LOGS = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:"
RUN = "20260131T110000Z-1a2b3c"
OURS = {"aws:ResourceTag/Project": "Chronos-Training", "aws:ResourceTag/Environment": "dev",
        "aws:ResourceTag/ManagedBy": "chronos-ec2"}  # fmt: skip
OUR_PROFILE = {"ec2:InstanceProfile": f"arn:aws:iam::{ACCOUNT}:instance-profile/chronos-ec2-dev-instanceprofile"}
OTHER_PROFILE = {"ec2:InstanceProfile": f"arn:aws:iam::{ACCOUNT}:instance-profile/web-servers"}
ASKED = {"aws:RequestTag/Project": "Chronos-Training", "aws:RequestTag/Environment": "dev",
         "aws:RequestTag/ManagedBy": "chronos-ec2"}  # fmt: skip
DEADLINE_TAG = {"aws:RequestTag/Deadline": "2026-01-31T23:00:00.000Z"}
TEMPLATE = {"ec2:LaunchTemplate": f"{EC2}:launch-template/lt-0123456789abcdef0"}
KIND = {"ec2:InstanceType": "g4dn.2xlarge"}
KEPT = {"aws:TagKeys": "Hold"}
UNPROTECT = {"ec2:Attribute": "DisableApiTermination"}
LAUNCH = ASKED | DEADLINE_TAG | OUR_PROFILE | TEMPLATE | KIND | {"ec2:MetadataHttpTokens": "required"}
VOLUME = ASKED | {"ec2:VolumeSize": "100", "ec2:VolumeType": "gp3"}
AS_WE_CALL = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.2", "aws:PrincipalAccount": ACCOUNT}
INSTANCE = f"{EC2}:instance/i-0123456789abcdef0"
REPLACED, CREATED = {"s3:if-match": "e"}, {"s3:if-none-match": "*"}
OTHER_RUN = "20260131T110000Z-ffffff"
LOCK, LANE_LOCK = f"{BUCKET}/dev/system-state.json", f"{BUCKET}/dev/lanes/second/system-state.json"
SCHEDULE = f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule/chronos-ec2-dev-deadlines/i-0123456789abcdef0"
INSTANCE_ROLE = f"arn:aws:iam::{ACCOUNT}:role/chronos-ec2-dev-instancerole"
DEADLINE_ROLE = f"arn:aws:iam::{ACCOUNT}:role/chronos-ec2-dev-deadlinerole"
ADMIN = f"arn:aws:iam::{ACCOUNT}:role/admin"
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:chronos-ec2-dev"
UNDELIVERED, FAILED, STATE_EVENTS = (
    f"arn:aws:sqs:us-east-1:{ACCOUNT}:chronos-ec2-dev-{queue}"
    for queue in ("undeliveredevents", "failedinvocations", "stateevents")
)
LAUNCHER = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:chronos-ec2-dev-launcher"
AGENT, WATCHDOG, STARTER, DEADLINE, OPERATOR, TIMER = (
    "InstanceRole", "WatchdogRole", "LauncherRole", "DeadlineRole", "OperatorPolicy", "RunScheduleRole",
)  # fmt: skip
TIMES = f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule/chronos-ec2-dev-runs/nightly"
TIMER_ROLE = f"arn:aws:iam::{ACCOUNT}:role/chronos-ec2-dev-runschedulerole"
GROUP = tuple(f"groups/sales/{name}.json" for name in ("order", "ledger", "result", "manifest"))
ORDERS = ("schedules/nightly/order.json", "schedules/nightly/ledger.json", f"followed/{RUN}.json")
EVERYBODY = (AGENT, WATCHDOG, STARTER, DEADLINE, OPERATOR)


@dataclass(frozen=True)
class Case:
    """Somebody asks for something, over TLS unless the context says otherwise."""

    who: str
    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)
    why: str = ""

    def __str__(self) -> str:
        return f"{self.who} {self.action} {self.resource.rpartition(':')[2]} {self.why}".strip()

    @property
    def answer(self) -> Answer:
        """What the stack's policies say."""
        return policies().ask(self.who, Request(self.action, self.resource, AS_WE_CALL | self.context))


@cache
def policies() -> Policies:
    """Of a stack whose agents may do as much as a parameter can let them."""
    return Policies(synthesised(parameters={"AgentLogs": "cloudwatch"}))


def policies_of(vpc: str, security_group: str, launch_template: str) -> Policies:
    """The policies of a stack for which AWS has chosen these ids."""
    resources = json.dumps(dict(policies().resources))
    chosen = {"vpc-0123456789abcdef0": vpc, "sg-0123456789abcdef0": security_group}
    chosen |= {"lt-0123456789abcdef0": launch_template}
    for made_up, real in chosen.items():
        resources = resources.replace(made_up, real)
    return Policies(json.loads(resources))


def without(context: Mapping[str, str], key: str) -> dict[str, str]:
    """A request's context that says nothing about a key."""
    return {name: value for name, value in context.items() if name != key}


def every(action: str, resource: str, context: Mapping[str, str], why: str) -> list[Case]:
    """What nobody of ours may do."""
    return [Case(who, action, resource, context, why) for who in EVERYBODY]


UNREADABLE = {
    "with a key of its own": {"s3:x-amz-server-side-encryption-customer-algorithm": "AES256"},
    "with a key of KMS": {
        "s3:x-amz-server-side-encryption": "aws:kms",
        "s3:x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:us-east-1:210987654321:key/0",
    },
    "with two layers of KMS": {"s3:x-amz-server-side-encryption": "aws:kms:dsse"},
    "in the archive": {"s3:x-amz-storage-class": "GLACIER"},
    "in the deep archive": {"s3:x-amz-storage-class": "DEEP_ARCHIVE"},
}

NOT_ALLOWED = [
    # The agent: nothing of EC2, nothing of SNS, no delete, no other environment.
    Case(AGENT, "ec2:TerminateInstances", INSTANCE, OURS | OUR_PROFILE, "even its own"),
    Case(AGENT, "ec2:DescribeInstances", "*"),
    Case(AGENT, "ec2:RunInstances", INSTANCE, LAUNCH),
    Case(AGENT, "sns:Publish", TOPIC),
    Case(AGENT, "scheduler:DeleteSchedule", SCHEDULE, why="its own deadline"),
    Case(AGENT, "scheduler:CreateSchedule", SCHEDULE),
    Case(AGENT, "lambda:InvokeFunction", LAUNCHER),
    Case(AGENT, "s3:PutObject", f"{BUCKET}/prod/{RUN}/training.json", why="another environment"),
    Case(AGENT, "s3:GetObject", f"{BUCKET}/prod/{RUN}/request.json", why="another environment"),
    Case(AGENT, "s3:PutObject", f"{BUCKET}/prod/system-state.json", {"s3:if-match": "e"}, "another environment"),
    Case(AGENT, "s3:DeleteObject", LOCK, {"s3:if-match": "e"}),
    Case(AGENT, "s3:DeleteObject", f"{BUCKET}/dev/{RUN}/training.json"),
    Case(AGENT, "s3:PutObjectTagging", f"{BUCKET}/dev/{RUN}/models/model.safetensors", why="what is tagged expires"),
    Case(AGENT, "s3:PutObject", f"{BUCKET}/cached-datasets/agent/0.tar.gz", why="the code of others"),
    Case(AGENT, "s3:PutObject", f"{BUCKET}/cached-datasets/models/0/model.safetensors", why="the models of others"),
    Case(AGENT, "s3:PutObject", f"{BUCKET}/cached-datasets/dev/models/a/b/0.json", why="which model it is"),
    Case(AGENT, "s3:PutObject", f"{BUCKET}/cached-datasets/dev/training-data/a.parquet", why="the data of others"),
    Case(AGENT, "s3:PutObject", f"{BUCKET}/cached-datasets/dev/configs/train.yaml", why="the configuration of others"),
    *[
        Case(who, action, f"{BUCKET}/cached-datasets/prod/{name}", why="of another environment")
        for who in (AGENT, OPERATOR)
        for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")
        for name in ("training-data/sales/a.parquet", "configs/train.yaml", "models/amazon/chronos-2/0.json")
    ],
    *[
        Case(OPERATOR, "s3:DeleteObject", f"{BUCKET}/cached-datasets/{name}")
        for name in ("agent/0.tar.gz", "python-env/0.tar", "code/0.zip", "models/0/x.json", "dev/configs/train.yaml")
    ],
    Case(OPERATOR, "s3:PutObject", f"{BUCKET}/cached-datasets/system-state.json", {"s3:if-none-match": "*"}),
    Case(AGENT, "s3:PutObject", f"{BUCKET}/dev/suspects/i-0123456789abcdef0.json", why="the watchdog's notes"),
    Case(AGENT, "s3:PutObject", f"{BUCKET}/dev/incidents/x/orphan", why="the watchdog's notes"),
    # It is not trusted: it writes no lock, neither an old nor a new one, nothing that decides and nothing that is told.
    *[
        Case(AGENT, "s3:PutObject", LOCK, context, how)
        for how, context in (("replaced", REPLACED), ("created", CREATED))
    ],
    *[
        Case(AGENT, "s3:PutObject", f"{BUCKET}/dev/{name}", context)
        for context in (REPLACED, CREATED)
        for name in (
            f"{RUN}/state.json", f"{RUN}/cleanup_status.json", f"{OTHER_RUN}/state.json",
            f"{RUN}/notified/failed-1", f"{RUN}/control.json", f"{RUN}/x", f"notified/{RUN}/failed-1",
            "notified/hours/20260131T12/0", f"incidents/{RUN}/leak", "unreadable/main-0", "teardown.json",
            "control.json", "suspects/main-0.json",
        )
    ],
    *[
        Case(AGENT, "s3:PutObject", f"{BUCKET}/prod/{RUN}/{name}", CREATED, "another environment")
        for name in ("claims/1.json", "outcomes/1.json", "heartbeat.json", "status.json", "models/model.safetensors")
    ],
    Case(AGENT, "s3:PutObjectTagging", f"{BUCKET}/dev/{RUN}/request.json", why="what is tagged expires"),
    # Headers that need a right of their own.
    *[
        Case(AGENT, action, f"{BUCKET}/dev/{RUN}/{name}")
        for action in ("s3:PutObjectAcl", "s3:PutObjectRetention", "s3:PutObjectLegalHold")
        for name in ("claims/1.json", "outcomes/1.json", "models/model.safetensors")
    ],
    *[
        Case(AGENT, "s3:PutObjectTagging", f"{BUCKET}/dev/{RUN}/{name}", why="what is tagged expires")
        for name in ("claims/1.json", "outcomes/1.json", "heartbeat.json", "logs/trainer.log")
    ],
    Case(AGENT, "s3:DeleteObject", f"{BUCKET}/dev/{RUN}/claims/1.json"),
    Case(AGENT, "s3:DeleteObject", f"{BUCKET}/dev/notified/{RUN}/failed-1"),
    Case(AGENT, "s3:GetObject", "arn:aws:s3:::another-bucket/dev/x"),
    Case(AGENT, "logs:PutLogEvents", f"{LOGS}/aws/lambda/chronos-ec2-dev-sweep:log-stream:a", why="the watchdog's log"),
    Case(AGENT, "logs:CreateLogGroup", f"{LOGS}/chronos-ec2-dev/agent"),
    Case(AGENT, "logs:DeleteLogStream", f"{LOGS}/chronos-ec2-dev/agent:log-stream:{RUN}/1/agent.log"),
    # The watchdog ends what has our tags and our profile, in its environment, and nothing else.
    Case(WATCHDOG, "ec2:TerminateInstances", INSTANCE, OTHER_PROFILE, "foreign"),
    Case(WATCHDOG, "ec2:TerminateInstances", INSTANCE, OURS | OTHER_PROFILE, "our tags, another profile"),
    Case(WATCHDOG, "ec2:TerminateInstances", INSTANCE, OURS, "our tags, no profile"),
    Case(WATCHDOG, "ec2:TerminateInstances", INSTANCE, OUR_PROFILE, "our profile, no tags"),
    Case(WATCHDOG, "ec2:TerminateInstances", INSTANCE, OURS | OUR_PROFILE | {"aws:ResourceTag/Environment": "prod"}),
    Case(WATCHDOG, "ec2:StopInstances", INSTANCE, OURS | OUR_PROFILE),
    Case(WATCHDOG, "ec2:RunInstances", INSTANCE, LAUNCH),
    *[
        Case(WATCHDOG, "ec2:ModifyInstanceAttribute", INSTANCE, OURS | OUR_PROFILE | {"ec2:Attribute": attribute})
        for attribute in ("UserData", "InstanceInitiatedShutdownBehavior", "InstanceType", "GroupSet")
    ],
    Case(WATCHDOG, "ec2:ModifyInstanceAttribute", INSTANCE, OURS | OUR_PROFILE, "no word on the attribute"),
    Case(WATCHDOG, "ec2:ModifyInstanceAttribute", INSTANCE, OTHER_PROFILE | UNPROTECT, "foreign"),
    Case(WATCHDOG, "ec2:ModifyInstanceAttribute", INSTANCE, OURS | OTHER_PROFILE | UNPROTECT, "another profile"),
    Case(WATCHDOG, "ec2:ModifyInstanceAttribute", f"{EC2}:volume/vol-1", OURS | UNPROTECT),
    *[
        Case(who, "ec2:ModifyInstanceAttribute", INSTANCE, OURS | OUR_PROFILE | UNPROTECT)
        for who in (AGENT, STARTER, DEADLINE, OPERATOR)
    ],
    Case(WATCHDOG, "ec2:DeleteVolume", f"{EC2}:volume/vol-1", why="foreign"),
    Case(WATCHDOG, "ec2:DeleteNetworkInterface", f"{EC2}:network-interface/eni-1", why="foreign"),
    Case(WATCHDOG, "s3:DeleteObject", f"{BUCKET}/dev/{RUN}/models/model.safetensors"),
    Case(WATCHDOG, "s3:DeleteObject", f"{BUCKET}/dev/{RUN}/state.json"),
    *[Case(WATCHDOG, "s3:PutObject", f"{BUCKET}/dev/{RUN}/{name}", CREATED, "an instance's") for name in
      ("heartbeat.json", "status.json", "models/model.safetensors", "training.json", "logs/trainer.log")],
    Case(WATCHDOG, "s3:PutObject", f"{BUCKET}/dev/{RUN}/request.json", CREATED, "an order"),
    Case(WATCHDOG, "s3:PutObject", f"{BUCKET}/dev/teardown.json", CREATED),
    Case(WATCHDOG, "s3:PutObject", f"{BUCKET}/cached-datasets/dev/training-data/a.parquet", CREATED),
    *[Case(WATCHDOG, "s3:PutObject", lock, CREATED, "a run of its own") for lock in (LOCK, LANE_LOCK)],
    # Schedules: operators order them, the launcher keeps their ledgers, Scheduler invokes the launcher alone.
    *[Case(who, "s3:PutObject", f"{BUCKET}/dev/{name}", context) for who in (AGENT, WATCHDOG)
      for context in (CREATED, REPLACED) for name in ORDERS if (context, name) != (REPLACED, ORDERS[2])],
    *[Case(AGENT, "s3:PutObject", f"{BUCKET}/cached-datasets/dev/training-data/sales/_SUCCESS", context)
      for context in ({}, CREATED)],
    *[Case(STARTER, "s3:PutObject", f"{BUCKET}/dev/schedules/nightly/order.json", context)
      for context in ({}, CREATED, REPLACED)],
    *[Case(STARTER, "s3:DeleteObject", f"{BUCKET}/dev/{name}") for name in (*ORDERS, *GROUP)],
    *[Case(who, "s3:PutObject", f"{BUCKET}/dev/{GROUP[index]}", context, "a group") for who in (AGENT, WATCHDOG)
      for index, context in ((0, CREATED), (1, CREATED), (1, REPLACED), (2, CREATED), (3, CREATED))],
    *[Case(STARTER, "s3:PutObject", f"{BUCKET}/dev/{name}", CREATED, "whoever orders a group") for name in GROUP[:2]],
    Case(STARTER, "s3:PutObject", f"{BUCKET}/dev/{RUN}/forecasts/manifest.json", CREATED, "an instance's"),
    Case(STARTER, "s3:GetObject", f"{BUCKET}/cached-datasets/dev/training-data/sales/a.parquet", why="the data"),
    *[Case(who, action, TIMES) for who in (AGENT, WATCHDOG, STARTER, DEADLINE, TIMER)
      for action in ("scheduler:CreateSchedule", "scheduler:UpdateSchedule", "scheduler:DeleteSchedule")],
    *[Case(TIMER, "lambda:InvokeFunction", LAUNCHER.replace("launcher", name))
      for name in ("sweep", "state-written", "instance-changed")],
    Case(TIMER, "s3:GetObject", LOCK),
    Case(TIMER, "ec2:TerminateInstances", INSTANCE, OURS | OUR_PROFILE),
    *[Case(who, "iam:PassRole", TIMER_ROLE, {"iam:PassedToService": "scheduler.amazonaws.com"})
      for who in (AGENT, WATCHDOG, STARTER)],
    Case(OPERATOR, "iam:PassRole", TIMER_ROLE, {"iam:PassedToService": "lambda.amazonaws.com"}),
    *[Case(AGENT, "s3:PutObject", f"{BUCKET}/dev/{run}/request.json", CREATED, "an order") for run in (RUN, OTHER_RUN)],
    Case(WATCHDOG, "s3:DeleteObject", f"{BUCKET}/dev/{RUN}/claims/1.json"),
    Case(WATCHDOG, "s3:DeleteObject", f"{BUCKET}/dev/{RUN}/request.json"),
    Case(WATCHDOG, "s3:AbortMultipartUpload", f"{BUCKET}/prod/{RUN}/models/model.safetensors"),
    Case(WATCHDOG, "s3:AbortMultipartUpload", f"{BUCKET}/cached-datasets/dev/training-data/a.parquet", why="an upload"),
    Case(WATCHDOG, "ec2:CancelSpotInstanceRequests", f"{EC2}:spot-instances-request/sir-1", OURS),
    Case(AGENT, "s3:ListBucketMultipartUploads", BUCKET),
    Case(WATCHDOG, "s3:PutObject", f"{BUCKET}/prod/system-state.json", {"s3:if-match": "e"}),
    Case(WATCHDOG, "s3:PutObject", f"{BUCKET}/cached-datasets/agent/0.tar.gz"),
    Case(WATCHDOG, "sns:Publish", f"{TOPIC}-alarms"),
    Case(WATCHDOG, "scheduler:DeleteSchedule", SCHEDULE.replace("-deadlines/", "/"), why="another group: the sweep"),
    Case(WATCHDOG, "lambda:InvokeFunction", LAUNCHER.replace("launcher", "sweep")),
    Case(WATCHDOG, "iam:PassRole", INSTANCE_ROLE, {"iam:PassedToService": "ec2.amazonaws.com"}),
    Case(WATCHDOG, "iam:PassRole", DEADLINE_ROLE, {"iam:PassedToService": "lambda.amazonaws.com"}),
    # Whoever launches asks for our tags, our profile, our template, our subnets and IMDSv2.
    *[
        case
        for who in (STARTER, OPERATOR)
        for case in (
            Case(who, "ec2:RunInstances", INSTANCE, LAUNCH | {"aws:RequestTag/Project": "Other"}, "another project"),
            Case(who, "ec2:RunInstances", INSTANCE, OUR_PROFILE | TEMPLATE | KIND, "no tags"),
            *[
                Case(who, "ec2:RunInstances", INSTANCE, LAUNCH | {"ec2:InstanceType": kind}, kind)
                for kind in ("p5.48xlarge", "p4d.24xlarge", "u-24tb1.metal", "g5", "xg5.xlarge", "g55.xlarge")
            ],
            Case(who, "ec2:RunInstances", INSTANCE, without(LAUNCH, "ec2:InstanceType"), "no word on its type"),
            *[
                Case(who, "ec2:RunInstances", INSTANCE, LAUNCH | {"ec2:Tenancy": tenancy}, tenancy)
                for tenancy in ("dedicated", "host")
            ],
            Case(who, "ec2:RunInstances", INSTANCE, without(LAUNCH, "aws:RequestTag/Deadline"), "no deadline"),
            Case(who, "ec2:RunInstances", f"{EC2}:volume/*", VOLUME | {"ec2:VolumeSize": "101"}, "a larger volume"),
            Case(who, "ec2:RunInstances", f"{EC2}:volume/*", VOLUME | {"ec2:VolumeType": "io2"}, "a dearer volume"),
            Case(who, "ec2:RunInstances", f"{EC2}:volume/*", VOLUME | {"ec2:VolumeIops": "16000"}, "a faster volume"),
            Case(who, "ec2:RunInstances", f"{EC2}:volume/*", VOLUME | {"ec2:VolumeThroughput": "1000"}, "a wider one"),
            Case(who, "ec2:RunInstances", f"arn:aws:ec2:us-east-1:{ACCOUNT}:elastic-gpu/*", ASKED),
            Case(who, "ec2:RunInstances", f"{EC2}:capacity-reservation/cr-1", ASKED),
            Case(who, "ec2:RunInstances", f"{EC2}:key-pair/mine", ASKED),
            Case(who, "ec2:RunInstances", f"{EC2}:placement-group/mine", ASKED),
            Case(who, "ec2:RunInstances", INSTANCE, LAUNCH | {"ec2:MetadataHttpTokens": "optional"}, "IMDSv1"),
            Case(who, "ec2:RunInstances", INSTANCE, LAUNCH | OTHER_PROFILE, "another profile"),
            Case(who, "ec2:RunInstances", INSTANCE, without(LAUNCH, "ec2:InstanceProfile"), "no profile"),
            Case(who, "ec2:RunInstances", f"{EC2}:subnet/subnet-of-others", {"ec2:Vpc": f"{EC2}:vpc/vpc-of-others"}),
            Case(who, "ec2:RunInstances", f"{EC2}:subnet/subnet-without-a-word-on-its-vpc"),
            Case(who, "ec2:RunInstances", f"{EC2}:security-group/sg-open"),
            Case(who, "ec2:RunInstances", f"{EC2}:launch-template/lt-of-others"),
            Case(who, "ec2:RunInstances", "arn:aws:ec2:us-east-1::image/ami-1",
                 TEMPLATE | {"ec2:IsLaunchTemplateResource": "false"}, "an image of one's own"),
            Case(who, "ec2:RunInstances", INSTANCE, without(LAUNCH, "ec2:LaunchTemplate"), "no launch template"),
            Case(who, "ec2:RunInstances", "arn:aws:ec2:us-east-1::image/ami-1",
                 {"ec2:IsLaunchTemplateResource": "true", "ec2:LaunchTemplate": f"{EC2}:launch-template/lt-of-others"},
                 "the image of another template"),
            Case(who, "ec2:RunInstances", f"{EC2}:volume/*", why="no tags"),
            Case(who, "iam:PassRole", ADMIN, {"iam:PassedToService": "ec2.amazonaws.com"}),
            Case(who, "iam:PassRole", INSTANCE_ROLE, {"iam:PassedToService": "lambda.amazonaws.com"}),
        )
    ],
    Case(STARTER, "ec2:TerminateInstances", INSTANCE, OURS | OUR_PROFILE),
    Case(STARTER, "s3:DeleteObject", LOCK, {"s3:if-match": "e"}),
    Case(STARTER, "sns:Publish", f"{TOPIC}-alarms"),
    Case(STARTER, "scheduler:DeleteSchedule", SCHEDULE, why="the deadline of another"),
    Case(STARTER, "scheduler:ListSchedules", "*"),
    *[Case(STARTER, "s3:PutObject", f"{BUCKET}/dev/{name}", CREATED) for name in
      (f"{RUN}/outcomes/1.json", f"{RUN}/state.json", f"notified/{RUN}/failed-1", "incidents/i-1/orphan")],
    *[Case(STARTER, "s3:GetObject", f"{BUCKET}/dev/{RUN}/{name}", why="an instance's word") for name in
      ("heartbeat.json", "status.json", "outcomes/1.json")],
    # The schedules end our profile's instances and do nothing else.
    Case(DEADLINE, "ec2:TerminateInstances", INSTANCE, OURS | OTHER_PROFILE, "another profile"),
    Case(DEADLINE, "ec2:TerminateInstances", INSTANCE, OURS, "no profile"),
    Case(DEADLINE, "ec2:DescribeInstances", "*"),
    # Operators.
    Case(OPERATOR, "ec2:TerminateInstances", INSTANCE, OTHER_PROFILE, "foreign"),
    Case(OPERATOR, "ec2:TerminateInstances", INSTANCE, OURS | OTHER_PROFILE, "another profile"),
    Case(OPERATOR, "s3:DeleteObject", f"{BUCKET}/dev/{RUN}/models/model.safetensors"),
    Case(OPERATOR, "s3:PutObject", f"{BUCKET}/prod/system-state.json", CREATED),
    *[Case(OPERATOR, "s3:PutObject", f"{BUCKET}/dev/{RUN}/{name}", CREATED, "an instance's") for name in
      ("heartbeat.json", "status.json", "models/model.safetensors", "checkpoints/1/manifest.json")],
    Case(OPERATOR, "cloudformation:DeleteStack", f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/chronos-ec2-dev/1"),
    Case(OPERATOR, "iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/x"),
    Case(OPERATOR, "ec2:TerminateInstances", INSTANCE, OURS | OUR_PROFILE | {"aws:ResourceTag/Environment": "prod"}),
    Case(OPERATOR, "ec2:TerminateInstances", INSTANCE, OUR_PROFILE, "our profile, no tags"),
    *[
        Case(OPERATOR, action, INSTANCE, context, why)
        for action in ("ec2:CreateTags", "ec2:DeleteTags")
        for why, context in {
            "of our tags": OURS | OUR_PROFILE | {"aws:TagKeys": "ManagedBy"},
            "without a word on the tags": OURS | OUR_PROFILE,
            "foreign": OTHER_PROFILE | KEPT,
            "another profile": OURS | OTHER_PROFILE | KEPT,
            "our profile, no tags": OUR_PROFILE | KEPT,
            "another environment": OURS | OUR_PROFILE | KEPT | {"aws:ResourceTag/Environment": "prod"},
        }.items()
    ],
    *[Case(OPERATOR, "ec2:CreateTags", f"{EC2}:volume/vol-1", OURS | KEPT)],
    *[
        Case(who, action, INSTANCE, OURS | OUR_PROFILE | KEPT, "whoever holds pays")
        for who in (AGENT, WATCHDOG, STARTER, DEADLINE)
        for action in ("ec2:CreateTags", "ec2:DeleteTags")
    ],
    # Nobody.
    *every("s3:ListBucket", BUCKET, {"s3:prefix": "prod/"}, "another environment"),
    *every("ec2:CreateTags", INSTANCE, OTHER_PROFILE, "a running foreign instance"),
    *every("ec2:CreateTags", INSTANCE, {"ec2:CreateAction": "CreateVolume"}, "not at its launch"),
    *every("ec2:DeleteTags", INSTANCE, OURS, "the tags by which it is found"),
    *every("s3:PutBucketPolicy", BUCKET, {}, ""),
    *every("iam:PassRole", ADMIN, {"iam:PassedToService": "scheduler.amazonaws.com"}, ""),
    # The queues: Lambda puts in, with a function's role, what failed; who looks into them is no role of ours.
    *every("sqs:ReceiveMessage", FAILED, {}, ""),
    *every("sqs:PurgeQueue", UNDELIVERED, {}, ""),
    *every("sqs:SendMessage", UNDELIVERED, {}, "the queue of EventBridge"),
    *[Case(who, "sqs:SendMessage", FAILED) for who in (AGENT, DEADLINE, OPERATOR)],
    *every("sqs:SendMessage", STATE_EVENTS, {}, "the queue of EventBridge"),
    *every("sqs:PurgeQueue", STATE_EVENTS, {}, ""),
    *[
        Case(who, action, STATE_EVENTS)
        for who in (AGENT, STARTER, DEADLINE, OPERATOR)
        for action in ("sqs:ReceiveMessage", "sqs:DeleteMessage")
    ],
    Case(WATCHDOG, "sqs:ChangeMessageVisibility", STATE_EVENTS),
    Case(WATCHDOG, "sqs:DeleteMessage", FAILED, why="what people look into"),
]  # fmt: skip

# Whatever the roles' own policies say, now or after the next change of them.
DENIED = [
    *every("s3:PutObject", LOCK, {}, "without a condition"),
    *every("s3:PutObject", LANE_LOCK, {}, "without a condition"),
    *[
        case
        for name in ("request.json", "claims/1.json", "outcomes/1.json")
        for context in ({}, REPLACED)
        for case in every("s3:PutObject", f"{BUCKET}/dev/{RUN}/{name}", context, "a second time")
    ],
    *every("s3:PutObject", f"{BUCKET}/dev/schedules/nightly/ledger.json", {}, "without a condition"),
    *every("s3:PutObject", f"{BUCKET}/dev/{GROUP[1]}", {}, "without a condition"),
    *[
        case
        for name in (GROUP[0], *GROUP[2:])
        for context in ({}, REPLACED)
        for case in every("s3:PutObject", f"{BUCKET}/dev/{name}", context, "a second time")
    ],
    *[
        case
        for context in ({}, REPLACED)
        for case in every("s3:PutObject", f"{BUCKET}/dev/followed/{RUN}.json", context, "a second time")
    ],
    *every("s3:PutObject", f"{BUCKET}/prod/{RUN}/outcomes/1.json", {"s3:if-match": "e"}, "a second time"),
    *every("s3:DeleteObject", LOCK, {}, "without a condition"),
    *every("s3:DeleteObject", LANE_LOCK, {}, "without a condition"),
    # What the instance writes, everybody who may can read.
    *[
        Case(AGENT, "s3:PutObject", f"{BUCKET}/dev/{RUN}/{name}", context | header, why)
        for name, context in (
            ("claims/1.json", CREATED),
            ("outcomes/1.json", CREATED),
            ("heartbeat.json", {}),
            ("status.json", {}),
            ("models/model.safetensors", {}),
            ("checkpoints/1/manifest.json", {}),
            ("logs/trainer.log", {}),
        )
        for why, header in UNREADABLE.items()
    ],
    # A ? of a policy matches a slash too.
    *[
        Case(AGENT, "s3:PutObject", f"{BUCKET}/dev/lanes/{name}", context, "a lane in the form of a run")
        for name in (
            "x/T123456Z-123456/status.json",
            "abT123456Z-123456/models/x",
            "abT123456Z-123456/claims/1.json",
            "abT123456Z-123456/logs/system-state.json",
        )
        for context in (CREATED, REPLACED)
    ],
    *every("s3:GetObject", LOCK, {"aws:SecureTransport": "false"}, "over plain HTTP"),
    *every("s3:GetObject", LOCK, {"s3:TlsVersion": "1.1"}, "over an old TLS"),
    *every(
        "s3:GetObject", "arn:aws:s3:::chronos-ec2-dev-bucket", {"aws:SecureTransport": "false"}, "the bucket itself"
    ),
    *every("sns:Publish", TOPIC, {"aws:SecureTransport": "false"}, "over plain HTTP"),
    *every("sns:Publish", f"{TOPIC}-alarms", {"aws:SecureTransport": "false"}, "over plain HTTP"),
    *every("sqs:SendMessage", FAILED, {"aws:SecureTransport": "false"}, "over plain HTTP"),
    *every("sqs:ReceiveMessage", UNDELIVERED, {"aws:SecureTransport": "false"}, "over plain HTTP"),
    *every("sqs:ReceiveMessage", STATE_EVENTS, {"aws:SecureTransport": "false"}, "over plain HTTP"),
]

ALLOWED = [
    Case(TIMER, "lambda:InvokeFunction", LAUNCHER),
    *[
        Case(STARTER, "s3:PutObject", f"{BUCKET}/dev/{name}", CREATED)
        for name in (
            "system-state.json",
            f"{RUN}/request.json",
            f"followed/{RUN}.json",
            "schedules/nightly/ledger.json",
            *GROUP[2:],
        )
    ],
    Case(STARTER, "s3:PutObject", f"{BUCKET}/dev/{GROUP[1]}", REPLACED),
    Case(OPERATOR, "s3:PutObject", f"{BUCKET}/dev/{GROUP[1]}", CREATED),
    Case(STARTER, "s3:GetObject", f"{BUCKET}/dev/{RUN}/forecasts/manifest.json"),
    Case(OPERATOR, "s3:PutObject", f"{BUCKET}/dev/{GROUP[0]}", CREATED),
    Case(STARTER, "s3:PutObject", f"{BUCKET}/dev/schedules/nightly/ledger.json", REPLACED),
    Case(STARTER, "s3:GetObject", f"{BUCKET}/cached-datasets/dev/training-data/sales/_SUCCESS"),
    Case(OPERATOR, "scheduler:UpdateSchedule", TIMES),
    Case(AGENT, "s3:GetObject", f"{BUCKET}/cached-datasets/dev/training-data/sales/a.parquet"),
    Case(AGENT, "s3:GetObject", f"{BUCKET}/cached-datasets/models/0/model.safetensors"),
    Case(OPERATOR, "s3:PutObject", f"{BUCKET}/cached-datasets/models/0/model.safetensors"),
    Case(OPERATOR, "s3:PutObject", f"{BUCKET}/cached-datasets/dev/models/amazon/chronos-2/0.json"),
    Case(AGENT, "s3:ListBucket", BUCKET, {"s3:prefix": "cached-datasets/dev/training-data/"}),
    # S3 answers 404 of a missing key only to who may list without a prefix, and who may sees the names of all keys.
    *[
        Case(who, "s3:ListBucket", BUCKET, why="so that a missing key is a 404, at the price of all names")
        for who in (AGENT, WATCHDOG, STARTER, OPERATOR)
    ],
    Case(AGENT, "s3:GetObject", LOCK, why="to learn of a stop"),
    Case(AGENT, "s3:PutObject", f"{BUCKET}/dev/{RUN}/claims/1.json", CREATED),
    Case(AGENT, "s3:PutObject", f"{BUCKET}/dev/{RUN}/outcomes/1.json", CREATED),
    *[
        Case(AGENT, "s3:PutObject", f"{BUCKET}/dev/{RUN}/{name}")
        for name in (
            "heartbeat.json",
            "status.json",
            "run.json",
            "training.json",
            "metrics.jsonl",
            "forecasts.parquet",
            "report.html",
            "models/model.safetensors",
            "forecasts/part-00000.parquet",
            "eval/metrics.json",
            "plots/loss.png",
            "tensorboard/events",
            "logs/trainer.log",
            "checkpoints/1/manifest.json",
        )
    ],
    Case(AGENT, "s3:PutObject", f"{BUCKET}/dev/{RUN}/status.json", {"s3:x-amz-server-side-encryption": "AES256"}),
    Case(AGENT, "s3:PutObject", f"{BUCKET}/dev/{RUN}/status.json", {"s3:x-amz-storage-class": "STANDARD"}),
    Case(AGENT, "s3:AbortMultipartUpload", f"{BUCKET}/dev/{RUN}/checkpoints/100/model.safetensors"),
    Case(AGENT, "s3:PutObjectTagging", f"{BUCKET}/dev/{RUN}/checkpoints/100/model.safetensors"),
    Case(AGENT, "logs:PutLogEvents", f"{LOGS}/chronos-ec2-dev/agent:log-stream:{RUN}/1/agent.log"),
    Case(WATCHDOG, "ec2:DescribeInstances", "*"),
    Case(WATCHDOG, "ec2:TerminateInstances", INSTANCE, OURS | OUR_PROFILE),
    Case(WATCHDOG, "ec2:ModifyInstanceAttribute", INSTANCE, OURS | OUR_PROFILE | UNPROTECT),
    Case(
        WATCHDOG,
        "ec2:ModifyInstanceAttribute",
        INSTANCE,
        OURS | OUR_PROFILE | {"ec2:Attribute": "disableApiTermination"},
    ),
    Case(WATCHDOG, "ec2:DeleteVolume", f"{EC2}:volume/vol-1", OURS),
    Case(WATCHDOG, "s3:PutObject", LOCK, {"s3:if-match": "e"}),
    Case(WATCHDOG, "s3:PutObject", f"{BUCKET}/dev/{RUN}/claims/2.json", CREATED, "void"),
    *[
        Case(WATCHDOG, "s3:PutObject", f"{BUCKET}/dev/{name}")
        for name in (
            f"{RUN}/state.json",
            f"{RUN}/cleanup_status.json",
            f"notified/{RUN}/failed-1",
            "suspects/x.json",
            "unreadable/x",
        )
    ],
    Case(WATCHDOG, "s3:DeleteObject", LOCK, {"s3:if-match": "e"}),
    Case(WATCHDOG, "s3:DeleteObject", LANE_LOCK, {"s3:if-match": "e"}),
    Case(WATCHDOG, "s3:DeleteObject", f"{BUCKET}/dev/notified/{RUN}/failed-1"),
    Case(WATCHDOG, "s3:GetObject", f"{BUCKET}/dev/{RUN}/logs/trainer.log"),
    Case(WATCHDOG, "s3:ListBucketMultipartUploads", BUCKET),
    Case(WATCHDOG, "s3:AbortMultipartUpload", f"{BUCKET}/dev/{RUN}/checkpoints/100/model.safetensors"),
    Case(WATCHDOG, "ec2:DescribeSpotInstanceRequests", "*"),
    Case(OPERATOR, "s3:ListBucketMultipartUploads", BUCKET),
    Case(OPERATOR, "s3:AbortMultipartUpload", f"{BUCKET}/dev/{RUN}/checkpoints/100/model.safetensors"),
    Case(OPERATOR, "ec2:DescribeSpotInstanceRequests", "*"),
    Case(WATCHDOG, "sns:Publish", TOPIC),
    Case(WATCHDOG, "scheduler:CreateSchedule", SCHEDULE),
    Case(WATCHDOG, "scheduler:DeleteSchedule", SCHEDULE),
    Case(WATCHDOG, "iam:PassRole", DEADLINE_ROLE, {"iam:PassedToService": "scheduler.amazonaws.com"}),
    Case(WATCHDOG, "lambda:InvokeFunction", LAUNCHER),
    Case(WATCHDOG, "sqs:SendMessage", FAILED),
    Case(WATCHDOG, "sqs:ReceiveMessage", STATE_EVENTS, why="Lambda, in its role"),
    Case(WATCHDOG, "sqs:DeleteMessage", STATE_EVENTS, why="Lambda, in its role"),
    Case(STARTER, "sqs:SendMessage", FAILED),
    Case(STARTER, "s3:GetObject", f"{BUCKET}/dev/{RUN}/request.json"),
    Case(STARTER, "s3:PutObject", LOCK, {"s3:if-match": "e"}, "the id of the instance"),
    Case(STARTER, "scheduler:CreateSchedule", SCHEDULE),
    Case(STARTER, "ec2:RunInstances", INSTANCE, LAUNCH),
    Case(STARTER, "ec2:RunInstances", INSTANCE, LAUNCH | {"ec2:Tenancy": "default"}),
    Case(STARTER, "ec2:RunInstances", f"{EC2}:volume/*", VOLUME | {"ec2:VolumeIops": "3000"}),
    Case(STARTER, "ec2:RunInstances", f"{EC2}:network-interface/*", ASKED),
    Case(STARTER, "ec2:CreateTags", INSTANCE, {"ec2:CreateAction": "RunInstances"}),
    Case(STARTER, "iam:PassRole", INSTANCE_ROLE, {"iam:PassedToService": "ec2.amazonaws.com"}),
    Case(DEADLINE, "ec2:TerminateInstances", INSTANCE, OURS | OUR_PROFILE),
    Case(DEADLINE, "ec2:TerminateInstances", INSTANCE, OUR_PROFILE, "its tags were taken off"),
    Case(OPERATOR, "ec2:RunInstances", INSTANCE, LAUNCH),
    Case(OPERATOR, "ec2:TerminateInstances", INSTANCE, OURS | OUR_PROFILE),
    Case(OPERATOR, "ec2:CreateTags", INSTANCE, OURS | OUR_PROFILE | KEPT),
    Case(OPERATOR, "ec2:DeleteTags", INSTANCE, OURS | OUR_PROFILE | KEPT),
    Case(OPERATOR, "s3:PutObject", LOCK, CREATED),
    Case(OPERATOR, "s3:PutObject", f"{BUCKET}/dev/{RUN}/request.json", CREATED),
    Case(OPERATOR, "s3:PutObject", f"{BUCKET}/cached-datasets/dev/configs/train.yaml"),
]


CASES = [
    *((Answer.NOT_ALLOWED, case) for case in NOT_ALLOWED),
    *((Answer.DENIED, case) for case in DENIED),
    *((Answer.ALLOWED, case) for case in ALLOWED),
]


def outcomes() -> dict[str, int]:
    """How many cases there are, how many of them are forbidden, and how many the policies decide as they should."""
    return {
        "total": len(CASES),
        "forbidden": sum(expected is not Answer.ALLOWED for expected, _ in CASES),
        "passed": sum(case.answer is expected for expected, case in CASES),
    }


def test_forbidden_cases_are_counted_and_most_of_all() -> None:
    assert outcomes()["forbidden"] == len(NOT_ALLOWED) + len(DENIED) > len(CASES) / 2


@pytest.mark.parametrize(("expected", "case"), CASES, ids=lambda part: getattr(part, "value", str(part)))
def test_each_case_is_decided_as_it_should(expected: Answer, case: Case) -> None:
    assert case.answer is expected


GROUP = f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule-group/chronos-ec2-dev-deadlines"


@pytest.mark.parametrize(
    ("service", "account", "source", "expected"),
    [
        ("scheduler.amazonaws.com", ACCOUNT, GROUP, Answer.ALLOWED),
        ("scheduler.amazonaws.com", "210987654321", GROUP, Answer.NOT_ALLOWED),
        ("scheduler.amazonaws.com", ACCOUNT, GROUP.replace("-deadlines", "-others"), Answer.NOT_ALLOWED),
        ("lambda.amazonaws.com", ACCOUNT, GROUP, Answer.NOT_ALLOWED),
    ],
)
def test_the_deadline_role_is_for_the_schedules_of_its_group(
    service: str, account: str, source: str, expected: Answer
) -> None:
    context = {"aws:SourceAccount": account, "aws:SourceArn": source}
    request = Request("sts:AssumeRole", DEADLINE_ROLE, context, service=service)
    assert answer(request, [], policies().trust(DEADLINE)) is expected


@pytest.mark.parametrize(
    ("role", "service"),
    [(AGENT, "ec2.amazonaws.com"), (WATCHDOG, "lambda.amazonaws.com"), (STARTER, "lambda.amazonaws.com")],
)
def test_a_role_is_for_its_service_alone(role: str, service: str) -> None:
    for asking in ("ec2.amazonaws.com", "lambda.amazonaws.com", "scheduler.amazonaws.com", "events.amazonaws.com"):
        request = Request("sts:AssumeRole", role, service=asking)
        assert (answer(request, [], policies().trust(role)) is Answer.ALLOWED) is (asking == service)


ALARM = f"arn:aws:cloudwatch:us-east-1:{ACCOUNT}:alarm:chronos-ec2-dev-sweep-silent"
OTHERS = "210987654321"
# As CloudFormation names a rule that SAM has left unnamed.
OWN_RULE = f"arn:aws:events:us-east-1:{ACCOUNT}:rule/chronos-ec2-dev-statewrites"
RULE = f"arn:aws:events:us-east-1:{ACCOUNT}:rule/chronos-ec2-dev-StateWrites-1A2B3C4D5E6F"


@pytest.mark.parametrize(
    ("policy", "resource", "service", "changes", "expected"),
    [
        ("AlarmTopicPolicy", f"{TOPIC}-alarms", "cloudwatch", {}, Answer.ALLOWED),
        ("AlarmTopicPolicy", f"{TOPIC}-alarms", "cloudwatch", {"aws:SourceAccount": OTHERS}, Answer.NOT_ALLOWED),
        ("AlarmTopicPolicy", f"{TOPIC}-alarms", "cloudwatch", {"aws:SourceArn": ALARM.replace(ACCOUNT, OTHERS)},
         Answer.NOT_ALLOWED),
        ("AlarmTopicPolicy", f"{TOPIC}-alarms", "cloudwatch", {"aws:SourceArn": ALARM.replace("ec2-dev", "ec2-prod")},
         Answer.NOT_ALLOWED),
        ("AlarmTopicPolicy", f"{TOPIC}-alarms", "cloudwatch", {"aws:SecureTransport": "false"}, Answer.DENIED),
        ("AlarmTopicPolicy", f"{TOPIC}-alarms", "events", {}, Answer.NOT_ALLOWED),
        ("AlarmTopicPolicy", TOPIC, "cloudwatch", {}, Answer.NOT_ALLOWED),
        ("TopicPolicy", TOPIC, "cloudwatch", {}, Answer.NOT_ALLOWED),
        ("TopicPolicy", TOPIC, "cloudwatch", {"aws:SecureTransport": "false"}, Answer.DENIED),
        ("UndeliveredEventsPolicy", UNDELIVERED, "events", {}, Answer.NOT_ALLOWED),
        ("UndeliveredEventsPolicy", UNDELIVERED, "events", {"aws:SourceArn": RULE}, Answer.ALLOWED),
        ("UndeliveredEventsPolicy", UNDELIVERED, "events", {"aws:SourceArn": RULE.replace(ACCOUNT, OTHERS)},
         Answer.NOT_ALLOWED),
        ("UndeliveredEventsPolicy", UNDELIVERED, "events", {"aws:SourceArn": RULE.replace("ec2-dev", "ec2-prod")},
         Answer.NOT_ALLOWED),
        ("UndeliveredEventsPolicy", UNDELIVERED, "events", {"aws:SecureTransport": "false"}, Answer.DENIED),
        ("UndeliveredEventsPolicy", UNDELIVERED, "sns", {}, Answer.NOT_ALLOWED),
        ("UndeliveredEventsPolicy", FAILED, "events", {}, Answer.NOT_ALLOWED),
        ("StateEventsPolicy", STATE_EVENTS, "events", {"aws:SourceArn": OWN_RULE}, Answer.ALLOWED),
        ("StateEventsPolicy", STATE_EVENTS, "events", {"aws:SourceArn": RULE.replace("StateWrites", "Others")},
         Answer.NOT_ALLOWED),
        ("StateEventsPolicy", STATE_EVENTS, "events", {"aws:SourceArn": OWN_RULE.replace(ACCOUNT, OTHERS)},
         Answer.NOT_ALLOWED),
        ("StateEventsPolicy", STATE_EVENTS, "events", {}, Answer.NOT_ALLOWED),
        ("StateEventsPolicy", STATE_EVENTS, "s3", {"aws:SourceArn": OWN_RULE}, Answer.NOT_ALLOWED),
        ("StateEventsPolicy", UNDELIVERED, "events", {"aws:SourceArn": OWN_RULE}, Answer.NOT_ALLOWED),
        ("StateEventsPolicy", STATE_EVENTS, "events", {"aws:SourceArn": OWN_RULE, "aws:SecureTransport": "false"},
         Answer.DENIED),
        ("FailedInvocationsPolicy", FAILED, "events", {}, Answer.NOT_ALLOWED),
        ("FailedInvocationsPolicy", FAILED, "lambda", {}, Answer.NOT_ALLOWED),
        ("FailedInvocationsPolicy", FAILED, "lambda", {"aws:SecureTransport": "false"}, Answer.DENIED),
    ],
)  # fmt: skip
def test_a_topic_and_a_queue_take_messages_of_their_own_service_and_account_alone(
    policy: str, resource: str, service: str, changes: Mapping[str, str], expected: Answer
) -> None:
    action = "sqs:SendMessage" if ":sqs:" in resource else "sns:Publish"
    context = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": ALARM, "aws:SecureTransport": "true"} | changes
    request = Request(action, resource, context, service=f"{service}.amazonaws.com")
    assert answer(request, [], policies().on(policy)) is expected


def test_eventbridge_names_its_rule_to_the_queue_and_need_not_name_its_account() -> None:
    context = {"aws:SourceArn": RULE, "aws:SecureTransport": "true"}
    request = Request("sqs:SendMessage", UNDELIVERED, context, service="events.amazonaws.com")
    assert answer(request, [], policies().on("UndeliveredEventsPolicy")) is Answer.ALLOWED


@pytest.mark.parametrize("action", ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:SetQueueAttributes"])
def test_eventbridge_puts_into_its_queue_and_does_nothing_else_to_it(action: str) -> None:
    context = {"aws:SourceArn": RULE, "aws:SecureTransport": "true"}
    request = Request(action, UNDELIVERED, context, service="events.amazonaws.com")
    assert answer(request, [], policies().on("UndeliveredEventsPolicy")) is Answer.NOT_ALLOWED


@pytest.mark.parametrize(
    ("action", "resource", "account", "expected"),
    [
        ("s3:GetObject", f"{BUCKET}/cached-datasets/dev/training-data/sales/a.parquet", ACCOUNT, Answer.ALLOWED),
        ("s3:PutObject", f"{BUCKET}/dev/{RUN}/heartbeat.json", ACCOUNT, Answer.ALLOWED),
        ("s3:AbortMultipartUpload", f"{BUCKET}/dev/{RUN}/checkpoints/1/model.safetensors", ACCOUNT, Answer.ALLOWED),
        ("s3:ListBucket", BUCKET, ACCOUNT, Answer.ALLOWED),
        ("s3:PutObject", f"{BUCKET}/dev/{RUN}/heartbeat.json", OTHERS, Answer.NOT_ALLOWED),
        ("s3:PutObject", "arn:aws:s3:::a-bucket-of-a-thief/training.parquet", ACCOUNT, Answer.NOT_ALLOWED),
        ("s3:PutObject", f"{BUCKET}-of-a-thief/training.parquet", ACCOUNT, Answer.NOT_ALLOWED),
        ("s3:GetObject", "arn:aws:s3:::a-bucket-of-a-thief/code", ACCOUNT, Answer.NOT_ALLOWED),
        ("s3:ListBucket", f"{BUCKET}-of-a-thief", ACCOUNT, Answer.NOT_ALLOWED),
        ("s3:DeleteObject", LOCK, ACCOUNT, Answer.NOT_ALLOWED),
        ("s3:PutBucketPolicy", BUCKET, ACCOUNT, Answer.NOT_ALLOWED),
        ("s3:CreateBucket", BUCKET, ACCOUNT, Answer.NOT_ALLOWED),
    ],
)
def test_the_endpoint_leads_only_to_our_bucket_with_whatever_credentials(
    action: str, resource: str, account: str, expected: Answer
) -> None:
    request = Request(action, resource, AS_WE_CALL | {"aws:PrincipalAccount": account})
    assert answer(request, [], policies().on("S3Endpoint")) is expected


KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1a2b3c4d-0000-0000-0000-000000000000"
FOR_EC2 = {"kms:ViaService": "ec2.us-east-1.amazonaws.com", "kms:GrantIsForAWSResource": "true"}


@pytest.mark.parametrize("who", [STARTER, OPERATOR])
@pytest.mark.parametrize("action", ["kms:CreateGrant", "kms:GenerateDataKeyWithoutPlaintext", "kms:Decrypt",
                                    "kms:DescribeKey", "kms:ReEncryptFrom", "kms:ReEncryptTo"])  # fmt: skip
def test_who_launches_may_use_the_volumes_key_through_ec2_alone(who: str, action: str) -> None:
    own = Policies(synthesised(parameters={"VolumeKeyArn": KEY}))
    assert own.ask(who, Request(action, KEY, FOR_EC2)) is Answer.ALLOWED
    assert own.ask(who, Request(action, f"{KEY[:-1]}1", FOR_EC2)) is Answer.NOT_ALLOWED
    elsewhere = FOR_EC2 | {"kms:ViaService": "s3.us-east-1.amazonaws.com"}
    # Doctor looks at the key.
    sees = (who, action) == (OPERATOR, "kms:DescribeKey")
    assert own.ask(who, Request(action, KEY, elsewhere)) is (Answer.ALLOWED if sees else Answer.NOT_ALLOWED)
    for role in EVERYBODY:
        assert policies().ask(role, Request(action, KEY, FOR_EC2)) is Answer.NOT_ALLOWED


def test_a_grant_on_the_volumes_key_is_for_ec2_and_for_nobody_else() -> None:
    own = Policies(synthesised(parameters={"VolumeKeyArn": KEY}))
    direct = FOR_EC2 | {"kms:GrantIsForAWSResource": "false"}
    assert own.ask(STARTER, Request("kms:CreateGrant", KEY, direct)) is Answer.NOT_ALLOWED
    for who in (AGENT, WATCHDOG, DEADLINE):
        assert own.ask(who, Request("kms:CreateGrant", KEY, FOR_EC2)) is Answer.NOT_ALLOWED
