"""Whatever AWS answers and botocore raises, each method of each adapter raises one of our errors."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
import urllib3.exceptions
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.credentials import DeferredRefreshableCredentials
from botocore.httpsession import URLLib3Session
from botocore.model import OperationModel
from moto.core.botocore_stubber import MockRawResponse

import chronos_ec2.aws
from chronos_ec2.aws.clients import client
from chronos_ec2.aws.clocks import S3Clock
from chronos_ec2.aws.cloudformation_deployment import CloudFormationDeployment
from chronos_ec2.aws.cloudwatch_streams import CloudWatchStreams
from chronos_ec2.aws.ec2_fleet import Ec2Fleet
from chronos_ec2.aws.offers.instance_types import Ec2Catalogue
from chronos_ec2.aws.offers.launch_checks import Ec2LaunchChecks
from chronos_ec2.aws.offers.prices import AwsPrices
from chronos_ec2.aws.relauncher import LambdaRelauncher
from chronos_ec2.aws.s3_objects import S3Objects, S3Transfer
from chronos_ec2.aws.scheduler_deadlines import SchedulerDeadlines, SchedulerSweep, SchedulerTimetable
from chronos_ec2.aws.setup_checks import StackSetupChecks
from chronos_ec2.aws.sns_notifier import SnsNotifier
from chronos_ec2.aws.stack_outputs import read_stack
from chronos_ec2.domain.errors import (
    CapacityUnavailable,
    ChronosError,
    InvalidInput,
    LaunchRefused,
    LostRace,
    NoCredentials,
    NotDeployed,
    QuotaExceeded,
    ServiceUnavailable,
)
from chronos_ec2.domain.messages import Message
from chronos_ec2.domain.records.capacity import ON_DEMAND, LaunchOption
from chronos_ec2.ports import Resource, Upload
from chronos_ec2.testing.aws_server import (
    BUCKET,
    DEADLINE_GROUP,
    DEADLINE_ROLE_ARN,
    deploy_outputs,
    forget_everything,
    moto_server,
)
from chronos_ec2.testing.builders import launching
from tests.conftest import MODELS
from tests.contract.aws_errors import (
    BODIES,
    FETCHING,
    GENERIC,
    TRANSPORT,
    Expected,
    Hanging,
    answer_of,
    codes_of,
    raw_answer,
)

AT = datetime(2099, 1, 31, 12, 0, tzinfo=UTC)
GROUP, TOPIC = "a-log-group", "arn:aws:sns:us-east-1:123456789012:chronos-ec2-dev"
Answer = Callable[[str, str], AWSResponse | None]


OF_PARTS = {
    "CreateMultipartUpload": "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>",
    "UploadPart": "",
    "CompleteMultipartUpload": "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>",
    "AbortMultipartUpload": "",
}
"""What S3 answers to an upload in parts, which need not travel to moto for each fault."""


@dataclass
class Wire:
    """AWS, with a fault on the way. Everything else is moto's answer, for which it is asked once."""

    template: str
    subnets: tuple[str, ...]
    folder: Path
    session: Any
    operation: str = ""
    answer: Answer = lambda _operation, _url: None
    fetching: Exception | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    asked: list[tuple[str, OperationModel]] = field(default_factory=list)
    doomed_exists: bool = False
    _clients: dict[str, Any] = field(default_factory=dict)
    _answers: dict[tuple[str, str, object], AWSResponse] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        if service not in self._clients:
            made = self.session.client(
                service, config=Config(retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=5)
            )
            made.meta.events.register("before-call", self._heard)
            made.meta.events.register("before-send", self._sent)
            self._clients[service] = made
        return self._clients[service]

    def _heard(self, model: OperationModel, **_: Any) -> None:
        self.asked.append((model.name, model))

    def _sent(self, request: Any, event_name: str, **_: Any) -> AWSResponse | None:
        operation = event_name.rpartition(".")[2]
        if operation == self.operation:
            return self.answer(operation, request.url)
        if "dev/large" in request.url and operation in OF_PARTS:
            return raw_answer(request.url, OF_PARTS[operation], 200, ETag='"e"')
        if operation == "DeleteStack":
            self.doomed_exists = False
        return None if ".cloudformation." in event_name else self._answered(operation, request)

    def _answered(self, operation: str, request: Any) -> AWSResponse | None:
        if not isinstance(request.body, bytes | str | None):
            return None
        asked = (operation, request.url, request.body)
        if asked not in self._answers:
            self._answers[asked] = URLLib3Session().send(request)
        found = self._answers[asked]
        return AWSResponse(found.url, found.status_code, found.headers, MockRawResponse(found.content))

    def credentials(self) -> dict[str, str]:
        if self.fetching:
            raise self.fetching
        expiry = (self.now + timedelta(hours=1)).isoformat()
        return {"access_key": "a", "secret_key": "b", "token": "c", "expiry_time": expiry}

    def without_credentials(self) -> None:
        """The next call fetches credentials: those that the clients have are over."""
        self.now += timedelta(hours=2)


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with moto_server() as endpoint, pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", endpoint)
        forget_everything(endpoint)  # all servers of a process share what they hold
        client.cache_clear()
        network = deploy_outputs()
        core = botocore.session.Session()
        core.register_component("data_loader", MODELS)
        session, folder = boto3.Session(botocore_session=core), tmp_path_factory.mktemp("files")
        wire = Wire(network.launch_template, network.subnets, folder, session)
        core._credentials = DeferredRefreshableCredentials(wire.credentials, "custom-process", lambda: wire.now)
        wire.client("logs").create_log_group(logGroupName=GROUP)
        wire.client("s3").put_object(Bucket=BUCKET, Key="dev/there", Body=b"there")
        (wire.folder / "file").write_bytes(b"x" * 100)
        (wire.folder / "large").write_bytes(b"x" * 9 * 1024 * 1024)
        yield wire
        forget_everything(endpoint)


def _fleet(wire: Wire) -> Ec2Fleet:
    profile = "arn:aws:iam::123456789012:instance-profile/chronos-ec2-dev-instanceprofile"
    return Ec2Fleet(wire.client("ec2"), "Chronos-Training", "train", wire.template, profile)


def _objects(wire: Wire) -> S3Objects:
    return S3Objects(wire.client("s3"), BUCKET)


def _transfer(wire: Wire) -> S3Transfer:
    return S3Transfer(wire.client("s3"), BUCKET)


def _deadlines(wire: Wire) -> SchedulerDeadlines:
    return SchedulerDeadlines(wire.client("scheduler"), DEADLINE_GROUP, DEADLINE_ROLE_ARN)


def _timetable(wire: Wire) -> SchedulerTimetable:
    launcher = "arn:aws:lambda:us-east-1:123456789012:function:launcher"
    return SchedulerTimetable(wire.client("scheduler"), GROUP, "arn:aws:iam::123456789012:role/runs", launcher)


def _checks(wire: Wire) -> StackSetupChecks:
    return StackSetupChecks(wire.client, BUCKET, (TOPIC,), "team@example.com", "chronos-ec2-dev")


def _launch_checks(wire: Wire) -> Ec2LaunchChecks:
    return Ec2LaunchChecks(wire.client, wire.template, wire.subnets)


def _prices(wire: Wire) -> AwsPrices:
    return AwsPrices(lambda service, _region: wire.client(service))


def _deployment(wire: Wire) -> CloudFormationDeployment:
    if not wire.doomed_exists:
        template = json.dumps({"Resources": {"Q": {"Type": "AWS::SQS::Queue"}}})
        client("cloudformation").create_stack(StackName="doomed", TemplateBody=template)
        wire.doomed_exists = True
    return CloudFormationDeployment(wire.client("cloudformation"), "doomed")


def _ignore(_count: int) -> None:
    """Count nothing."""


_MESSAGE = Message("subject", "body", {"kind": "failed"}, {}, {})
_OPTION = LaunchOption("g4dn.2xlarge", "subnet-a")
METHODS: dict[str, Callable[[Wire], object]] = {
    "S3Clock.now": lambda wire: S3Clock(wire.client("s3"), BUCKET).now(),
    "S3Objects.read": lambda wire: _objects(wire).read("dev/there"),
    "S3Objects.tail": lambda wire: _objects(wire).tail("dev/there", 3),
    "S3Objects.piece": lambda wire: _objects(wire).piece("dev/there", 0, 3),
    "S3Objects.write": lambda wire: _objects(wire).write("dev/w", b"1"),
    "S3Objects.create": lambda wire: _objects(wire).create("dev/new", b"1"),
    "S3Objects.replace": lambda wire: _objects(wire).replace("dev/there", b"1", "etag"),
    "S3Objects.remove": lambda wire: _objects(wire).remove("dev/gone", "etag"),
    "S3Objects.keys": lambda wire: list(_objects(wire).keys("dev/")),
    "S3Objects.listed": lambda wire: list(_objects(wire).listed("dev/")),
    "S3Objects.children": lambda wire: _objects(wire).children("dev/"),
    "S3Objects.uploads": lambda wire: list(_objects(wire).uploads("dev/")),
    "S3Objects.abort": lambda wire: _objects(wire).abort(Upload("dev/k", "upload")),
    "S3Transfer.download": lambda wire: _transfer(wire).download("dev/there", wire.folder / "got", _ignore),
    "S3Transfer.download_piece": lambda wire: _transfer(wire).download_piece(
        "dev/there", wire.folder / "got", range(3), _ignore
    ),
    "S3Transfer.upload": lambda wire: _transfer(wire).upload(wire.folder / "file", "dev/f", _ignore, expires=True),
    "S3Transfer.upload of parts": lambda wire: _transfer(wire).upload(wire.folder / "large", "dev/large", _ignore),
    "Ec2Fleet.instances": lambda wire: _fleet(wire).instances("dev", "main"),
    "Ec2Fleet.find": lambda wire: _fleet(wire).find("dev", "i-0123456789abcdef0"),
    "Ec2Fleet.look_up": lambda wire: _fleet(wire).look_up("dev", ["i-0123456789abcdef0"]),
    "Ec2Fleet.launch": lambda wire: _fleet(wire).launch(launching(), _OPTION, "#cloud-config"),
    "Ec2Fleet.terminate": lambda wire: _fleet(wire).terminate("i-0123456789abcdef0"),
    "Ec2Fleet.hold": lambda wire: _fleet(wire).hold("i-0123456789abcdef0", AT),
    "Ec2Fleet.release": lambda wire: _fleet(wire).release("i-0123456789abcdef0"),
    "Ec2Fleet.lift_protection": lambda wire: _fleet(wire).lift_protection("i-0123456789abcdef0"),
    "Ec2Fleet.leftovers": lambda wire: _fleet(wire).leftovers("dev"),
    "Ec2Fleet.delete": lambda wire: _fleet(wire).delete(Resource("volume", "vol-0123456789abcdef0", "available")),
    "Ec2Fleet.delete of an interface": lambda wire: _fleet(wire).delete(
        Resource("network-interface", "eni-0123456789abcdef0", "available")
    ),
    "SchedulerDeadlines.schedule": lambda wire: _deadlines(wire).schedule("i-0123456789abcdef0", AT),
    "SchedulerDeadlines.scheduled": lambda wire: _deadlines(wire).scheduled(),
    "SchedulerDeadlines.cancel": lambda wire: _deadlines(wire).cancel("i-0123456789abcdef0"),
    "SchedulerSweep.switch": lambda wire: SchedulerSweep(wire.client("scheduler"), "chronos-ec2-dev").switch(on=False),
    "SnsNotifier.publish": lambda wire: SnsNotifier(wire.client("sns"), TOPIC).publish(_MESSAGE),
    "StackSetupChecks.bucket_sends_events": lambda wire: _checks(wire).bucket_sends_events(),
    "StackSetupChecks.bucket_region": lambda wire: _checks(wire).bucket_region(),
    "StackSetupChecks.sweep_is_scheduled": lambda wire: _checks(wire).sweep_is_scheduled(),
    "StackSetupChecks.alarms": lambda wire: _checks(wire).alarms(),
    "StackSetupChecks.subscriptions": lambda wire: _checks(wire).subscriptions(),
    "CloudWatchStreams.append": lambda wire: CloudWatchStreams(wire.client("logs"), GROUP).append("s", ["l"], AT),
    "StackSetupChecks.vcpu_quotas": lambda wire: _checks(wire).vcpu_quotas(["g5.xlarge"], ON_DEMAND),
    "CloudFormationDeployment.delete": lambda wire: _deployment(wire).delete(),
    "CloudFormationDeployment.unfinished": lambda wire: _deployment(wire).unfinished(),
    "LambdaRelauncher.relaunch": lambda wire: LambdaRelauncher(wire.client("lambda"), "f").relaunch(launching()),
    "Ec2Catalogue.find": lambda wire: Ec2Catalogue(wire.client("ec2")).find(["g5.xlarge"]),
    "Ec2LaunchChecks.image": lambda wire: _launch_checks(wire).image(),
    "Ec2LaunchChecks.zones": lambda wire: _launch_checks(wire).zones(["g5.xlarge"]),
    "Ec2LaunchChecks.volume_encryption": lambda wire: _launch_checks(wire).volume_encryption(),
    "AwsPrices.on_demand": lambda wire: _prices(wire).on_demand("us-east-1", "g5.xlarge"),
    "AwsPrices.spot": lambda wire: _prices(wire).spot("us-east-1", "g5.xlarge"),
    "AwsPrices.gib_month": lambda wire: _prices(wire).gib_month("us-east-1"),
    "AwsPrices.public_ipv4": lambda wire: _prices(wire).public_ipv4("us-east-1"),
    "LambdaRelauncher.advance": lambda wire: LambdaRelauncher(wire.client("lambda"), "f").advance(launching(), "sales"),
    "LambdaRelauncher.follow": lambda wire: LambdaRelauncher(wire.client("lambda"), "f").follow(launching(), "nightly"),
    "SchedulerTimetable.put": lambda wire: _timetable(wire).put("nightly", "cron(0 3 * * ? *)"),
    "SchedulerTimetable.remove": lambda wire: _timetable(wire).remove("nightly"),
    "SchedulerTimetable.listed": lambda wire: _timetable(wire).listed(),
    "read_stack": lambda wire: read_stack(wire.client("cloudformation"), "dev"),
}
"""A call of each public method and function that asks AWS. moto refuses some: what counts is the fault."""
ASKS_NOTHING = {"SystemClock.now", "client", "forget_credentials", "instance_s3", "described", "pricing_region"}
OF_ERRORS = {"chronos_ec2.aws.errors"}

OF_ONE_METHOD: dict[str, dict[str, Expected]] = {
    "Ec2Fleet.launch": {
        "InsufficientInstanceCapacity": CapacityUnavailable,
        "Unsupported": CapacityUnavailable,
        "VcpuLimitExceeded": QuotaExceeded,
        "MaxSpotInstanceCountExceeded": QuotaExceeded,
        "IdempotentParameterMismatch": ServiceUnavailable,
        "InvalidParameterValue": LaunchRefused,
        # What no call knows is a refusal of this launch.
        "MalformedQueryString": LaunchRefused,
        "InvalidAction": LaunchRefused,
        "ACodeOfTomorrow": LaunchRefused,
    },
    "S3Objects.create": {"PreconditionFailed": LostRace},
    "S3Objects.replace": {"PreconditionFailed": LostRace, "NoSuchKey": LostRace},
    "read_stack": {"ValidationError": NotDeployed},
    "SchedulerTimetable.put": {"ValidationException": InvalidInput},
}
MAY_LACK = {"Ec2LaunchChecks.zones", "Ec2LaunchChecks.volume_encryption"}
"""An emulator without one of their operations is no error."""
NO_BUCKET: dict[str, Expected] = {"NoSuchBucket": InvalidInput}
TRANSFERS = {name for name in METHODS if name.startswith("S3Transfer.")}


def test_no_method_of_an_adapter_is_forgotten() -> None:
    found = set()
    for module in pkgutil.walk_packages(chronos_ec2.aws.__path__, "chronos_ec2.aws."):
        for name, value in vars(importlib.import_module(module.name)).items():
            own = getattr(value, "__module__", None) == module.name and not name.startswith("_")
            if not own or module.name in OF_ERRORS:
                continue
            if inspect.isclass(value):
                found |= {
                    f"{name}.{method}"
                    for method in vars(value)
                    if not method.startswith("_") and callable(getattr(value, method))
                }
            elif callable(value):
                found.add(name)
    assert found == {name.partition(" ")[0] for name in METHODS} | ASKS_NOTHING


def outcome(call: Callable[[Wire], object], wire: Wire) -> BaseException | None:
    try:
        call(wire)
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    return None


def operations(wire: Wire, name: str) -> dict[str, OperationModel]:
    """The operations that a method calls."""
    wire.asked.clear()
    wire.operation = ""
    outcome(METHODS[name], wire)
    assert wire.asked, f"{name} asks AWS nothing"
    return dict(wire.asked)


def expected_of(name: str, code: str) -> Expected | None:
    if name in MAY_LACK and code == "InvalidAction":
        return None
    if code in (of_method := OF_ONE_METHOD.get(name, {}) | NO_BUCKET):
        return of_method[code]
    if name in TRANSFERS and code in ("MalformedQueryString", "InvalidAction", "ACodeOfTomorrow"):
        return ServiceUnavailable
    return next((kind for kind, codes in GENERIC.items() if code in codes), None)


@pytest.mark.parametrize("name", METHODS)
def test_each_error_code_of_each_operation_is_one_of_our_errors(wire: Wire, name: str) -> None:
    wrong = []
    for operation, model in operations(wire, name).items():
        generic = {code: status for codes in GENERIC.values() for code, status in codes.items()}
        for code, status in (codes_of(model) | generic).items():
            head = model.http["method"] == "HEAD"

            def answer(_operation: str, url: str, model=model, code=code, status=status, head=head) -> AWSResponse:  # type: ignore[no-untyped-def]
                return raw_answer(url, "", status) if head else answer_of(model, url, code, status)

            wire.operation, wire.answer = operation, answer
            raised = outcome(METHODS[name], wire)
            expected = None if head else expected_of(name, code)
            ours = raised is None if raised is None else isinstance(raised, ChronosError)
            if not ours or (expected and not isinstance(raised, expected)):
                wrong.append(f"{operation} {code} {status}: {raised!r}, expected {expected or 'an error of ours'}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "statuses",
    [
        pytest.param((200, 404, 503), id="some"),
        pytest.param((302, 400, 403, 407, 429, 500, 502), id="others", marks=pytest.mark.thorough),
    ],
)
@pytest.mark.parametrize("name", METHODS)
def test_each_answer_that_is_not_of_aws_is_one_of_our_errors(wire: Wire, name: str, statuses: tuple[int, ...]) -> None:
    wrong = []
    for operation in operations(wire, name):
        for body in BODIES.values():
            for status in statuses:
                wire.operation = operation
                wire.answer = lambda _operation, url, body=body, status=status: raw_answer(url, body, status)  # type: ignore[misc]
                raised = outcome(METHODS[name], wire)
                unavailable = status >= 429
                if not isinstance(raised, ChronosError | None) or (
                    unavailable and not isinstance(raised, ServiceUnavailable)
                ):
                    wrong.append(f"{operation} {status} {body!r}: {raised!r}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", METHODS)
def test_each_error_of_botocore_is_one_of_ours(wire: Wire, name: str) -> None:
    wrong = []
    for operation in operations(wire, name):
        for error, expected in TRANSPORT:

            def answer(_operation: str, _url: str, error: Exception = error) -> AWSResponse:
                raise error

            wire.operation, wire.answer = operation, answer
            raised = outcome(METHODS[name], wire)
            if not isinstance(raised, expected):
                wrong.append(f"{operation} {error!r}: {raised!r}, expected {expected}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", METHODS)
def test_whatever_is_raised_while_credentials_are_fetched_is_about_credentials(wire: Wire, name: str) -> None:
    wire.operation = ""
    wrong = []
    try:
        for make in FETCHING:
            wire.fetching = make()
            wire.without_credentials()
            raised = outcome(METHODS[name], wire)
            if not isinstance(raised, NoCredentials):
                wrong.append(f"{wire.fetching!r}: {raised!r}")
    finally:
        wire.fetching = None
        wire.without_credentials()
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "name", ["S3Objects.read", "S3Objects.tail", "S3Objects.piece", "S3Transfer.download", "S3Transfer.download_piece"]
)
@pytest.mark.parametrize(
    "error",
    [
        urllib3.exceptions.ReadTimeoutError(None, "/", "timed out"),  # type: ignore[arg-type]
        urllib3.exceptions.ProtocolError("Connection broken"),
        urllib3.exceptions.IncompleteRead(1, 2),
    ],
)
def test_a_body_that_stops_in_the_middle_is_no_answer(wire: Wire, name: str, error: Exception) -> None:
    def answer(_operation: str, url: str) -> AWSResponse:
        found = raw_answer(
            url, "", 200, ETag='"e"', Last_Modified="Sat, 31 Jan 2026 12:00:00 GMT", Content_Length="100",
            Content_Range="bytes 0-99/100",
        )  # fmt: skip
        found.raw = Hanging(error)
        return found

    operations(wire, name)
    wire.operation, wire.answer = "GetObject", answer
    assert isinstance(outcome(METHODS[name], wire), ServiceUnavailable)
