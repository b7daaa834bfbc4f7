"""What EC2 says of a stack's AMI, zones and volumes.

The embedded AWS knows neither which zones offer a type nor the account's encryption by default, and says so. It has no
dates of AMIs, and keeps no volumes of launch templates.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.offers.launch_checks import Ec2LaunchChecks
from chronos_ec2.domain.errors import NotAllowed, ServiceUnavailable
from chronos_ec2.ports import Image, LaunchChecks, VolumeEncryption
from chronos_ec2.testing import MemoryAws
from chronos_ec2.testing.aws_answers import answered, refused

EMBEDDED = "ami-0c2023a1b2c3d4e5f"
"""An AMI that the embedded AWS has; moto has none."""
KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"


def checks_of(image: str = "", key: str | None = "alias/aws/ebs") -> Ec2LaunchChecks:
    """Those of a new launch template and two subnets, and of a new AMI if none is named."""
    ec2 = client("ec2")
    disk = [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8}}]
    image = image or ec2.register_image(Name="ours", RootDeviceName="/dev/sda1", BlockDeviceMappings=disk)["ImageId"]
    volume: dict[str, Any] = {"Encrypted": True} | ({"KmsKeyId": key} if key else {})
    template = ec2.create_launch_template(
        LaunchTemplateName=f"checked-{uuid.uuid4().hex[:8]}",
        LaunchTemplateData={
            "ImageId": image, "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": volume}],
        },
    )["LaunchTemplate"]["LaunchTemplateId"]  # fmt: skip
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for number, zone in ((1, "us-east-1b"), (2, "us-east-1a"))
    ]
    return Ec2LaunchChecks(client, template, subnets)


@dataclass(frozen=True)
class Checked:
    """An implementation, and what it can say."""

    checks: LaunchChecks
    gone: LaunchChecks
    complete: bool


@pytest.fixture(params=["memory", "moto", pytest.param("embedded", marks=pytest.mark.embedded_aws)])
def checked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Checked:
    if request.param == "memory":
        well, gone = MemoryAws().launch_checks, MemoryAws().launch_checks
        well.stack_zones = ("us-east-1a", "us-east-1b")
        gone.template_image = Image("ami-0000000000000000f")
        return Checked(well, gone, complete=True)
    endpoint = request.getfixturevalue("aws" if request.param == "moto" else "embedded_endpoint")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    moto = request.param == "moto"
    return Checked(checks_of("" if moto else EMBEDDED), checks_of("ami-0000000000000000f"), complete=moto)


def test_the_image_of_the_launch_template_is_described(checked: Checked) -> None:
    image = checked.checks.image()
    assert image.available
    assert image.words
    assert (image.created is not None) is checked.complete


def test_an_image_that_is_gone_has_no_state(checked: Checked) -> None:
    assert checked.gone.image() == Image("ami-0000000000000000f")
    assert not checked.gone.image().available


def test_the_zones_of_the_stack_are_named_and_those_that_offer_a_type(checked: Checked) -> None:
    found = checked.checks.zones(["g4dn.2xlarge"])
    assert found.stack == ("us-east-1a", "us-east-1b")
    assert found.offering == ({"g4dn.2xlarge": ("us-east-1a", "us-east-1b")} if checked.complete else {})


def test_an_aws_key_needs_no_right(checked: Checked) -> None:
    found = checked.checks.volume_encryption()
    assert (found.key, found.key_state) == ("alias/aws/ebs" if checked.complete else None, "Enabled")
    assert (found.by_default is None) is not checked.complete


@pytest.mark.usefixtures("aws")
def test_a_type_that_no_zone_of_the_stack_offers() -> None:
    assert checks_of().zones(["no-such.type"]).without(["no-such.type"]) == ("no-such.type",)


@pytest.mark.usefixtures("aws")
def test_an_image_says_what_it_is_and_of_when() -> None:
    item = (
        "<item><imageId>ami-1</imageId><imageState>available</imageState>"
        "<name>Deep Learning OSS Nvidia Driver AMI</name>"
        "<description>PyTorch 2.12</description><creationDate>2026-02-03T04:05:06.000Z</creationDate></item>"
    )
    answer = f"<DescribeImagesResponse><imagesSet>{item}</imagesSet></DescribeImagesResponse>"
    with answered("ec2", "DescribeImages", answer):
        found = checks_of("ami-1").image()
    words = "Deep Learning OSS Nvidia Driver AMI PyTorch 2.12"
    assert found == Image("ami-1", "available", words, datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC))
    assert found.names_driver


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("code", ["InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"])
def test_ec2_may_refuse_to_describe_an_image_that_is_gone(code: str) -> None:
    with refused("ec2", "DescribeImages", code, 400):
        assert not checks_of().image().available


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("state", ["Enabled", "Disabled", "PendingDeletion"])
def test_the_state_of_a_key_of_the_account_is_kmss(state: str) -> None:
    key = {"KeyMetadata": {"KeyId": KEY, "KeyState": state}}
    with answered("kms", "DescribeKey", json.dumps(key)):
        assert checks_of(key=KEY).volume_encryption() == VolumeEncryption(False, KEY, state)


@pytest.mark.usefixtures("aws")
def test_without_a_key_the_accounts_default_encrypts() -> None:
    client("ec2").enable_ebs_encryption_by_default()
    assert checks_of(key=None).volume_encryption() == VolumeEncryption(True, None)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("ec2", "DescribeLaunchTemplateVersions"), ("ec2", "DescribeImages"), ("ec2", "DescribeSubnets"),
        ("ec2", "DescribeInstanceTypeOfferings"), ("ec2", "GetEbsEncryptionByDefault"), ("kms", "DescribeKey"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("code", "status", "error"), [("UnauthorizedOperation", 403, NotAllowed), ("Unavailable", 503, ServiceUnavailable)]
)
def test_a_refused_call_is_our_error(
    service: str, operation: str, code: str, status: int, error: type[Exception]
) -> None:
    checks = checks_of(key=KEY)

    def ask() -> None:
        checks.image()
        checks.zones(["g4dn.2xlarge"])
        checks.volume_encryption()

    if service == "kms":
        code = "AccessDeniedException" if status == 403 else "KMSInternalException"
        body = json.dumps({"__type": code, "message": "no"})
        with answered("kms", operation, body, status), pytest.raises(error):
            ask()
        return
    with refused(service, operation, code, status), pytest.raises(error):
        ask()
