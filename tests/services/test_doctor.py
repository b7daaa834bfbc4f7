"""What `doctor` says of a setup, beside what `verify` warns of."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version

import pytest

from chronos_ec2.bundled.prices import BundledPrices
from chronos_ec2.domain.errors import NotAllowed
from chronos_ec2.ports import (
    Alarm,
    AlarmState,
    Image,
    Price,
    Prices,
    Stack,
    Subscription,
    SubscriptionState,
    VolumeEncryption,
)
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.doctor.account import Doctor
from chronos_ec2.services.doctor.diagnosis import Diagnosis, Health
from chronos_ec2.services.prices import CurrentPrices
from chronos_ec2.testing import Faults, MemoryAws
from chronos_ec2.testing.builders import NOW, a_stack, seconds

G_ON_DEMAND, G_SPOT = "L-DB2E81BA", "L-3819A6DF"


def healthy(faults: Faults | None = None) -> MemoryAws:
    aws = MemoryAws(faults)
    aws.setup_checks.quotas = {G_ON_DEMAND: 64.0, G_SPOT: 64.0}
    topics = (a_stack().topic_arn, a_stack().alarm_topic_arn)
    aws.setup_checks.subscribed = [
        Subscription(topic, "email", "a@example.com", SubscriptionState.CONFIRMED) for topic in topics
    ]
    return aws


def diagnosed(
    aws: MemoryAws, off: timedelta = timedelta(0), stack: Stack | None = None, prices: Prices | None = None
) -> dict[str, list[Diagnosis]]:
    parts: dict[str, list[Diagnosis]] = {}
    doctor = Doctor(
        stack or a_stack(), RunStore(aws.objects), aws.setup_checks, aws.launch_checks, aws.catalogue,
        prices or CurrentPrices(aws.prices, BundledPrices()), version("chronos-ec2"),
    )  # fmt: skip
    for each in doctor.diagnose(NOW, NOW + off):
        parts.setdefault(each.part, []).append(each)
    return parts


def test_each_part_of_a_good_setup_is_named_and_ok() -> None:
    found = diagnosed(healthy())
    assert [*found] == [
        "version", "stack", "sweep", "bucket", "locks", "events", "messages", "alarms", "image", "types", "zones",
        "quotas", "volumes", "prices", "clock",
    ]  # fmt: skip
    assert {each.health for parts in found.values() for each in parts} == {Health.OK}


def test_without_a_subscription_nobody_is_told() -> None:
    aws = healthy()
    aws.setup_checks.subscribed = []
    runs, alarms = diagnosed(aws)["messages"]
    assert (runs.health, "nobody is told when a run ends" in runs.text) == (Health.WARNING, True)
    assert (alarms.health, a_stack().alarm_topic_arn in alarms.remedy) == (Health.WARNING, True)


def test_who_is_told_of_runs_only_is_not_told_of_alarms() -> None:
    aws = healthy()
    del aws.setup_checks.subscribed[1]
    said, alarms = diagnosed(aws)["messages"]
    assert (said.health, alarms.health) == (Health.OK, Health.WARNING)
    assert alarms.text == "no subscription to the alarms, so nobody is told when the watchdog fails"


def test_a_stack_of_another_version_is_a_warning() -> None:
    (found,) = diagnosed(healthy(), stack=a_stack(version="0.0.9"))["version"]
    assert (found.health, "the stack was deployed by 0.0.9" in found.text) == (Health.WARNING, True)
    assert "sam deploy" in found.remedy


@pytest.mark.parametrize(
    ("alarms", "health", "words"),
    [
        ([Alarm("s-leak", AlarmState.ALARM)], Health.WARNING, "s-leak is in alarm"),
        ([Alarm("s-leak", AlarmState.OK, tells=False)], Health.WARNING, "s-leak tells nobody"),
        ([], Health.WARNING, "the stack has none"),
        ([Alarm("a", AlarmState.OK), Alarm("b", AlarmState.NO_DATA)], Health.OK, "2, none of them in alarm, 1 without"),
    ],
)
def test_an_alarm_that_rings_or_tells_nobody_is_a_warning(alarms: list[Alarm], health: Health, words: str) -> None:
    aws = healthy()
    aws.setup_checks.alarmed = alarms
    (found,) = diagnosed(aws)["alarms"]
    assert (found.health, words in found.text) == (health, True)
    assert bool(found.remedy) is (health is Health.WARNING)


@pytest.mark.parametrize(
    ("image", "health", "words"),
    [
        (Image("ami-1"), Health.BROKEN, "does not exist any more"),
        (Image("ami-1", "deregistered", "x nvidia"), Health.BROKEN, "is deregistered"),
        (Image("ami-1", "available", "Ubuntu 24.04"), Health.WARNING, "does not say that it has NVIDIA's driver"),
        (Image("ami-1", "available", "Nvidia", NOW - timedelta(days=366)), Health.WARNING, "366 days old"),
        (Image("ami-1", "available", "Nvidia", NOW - timedelta(days=365)), Health.OK, "Nvidia, 365 days old"),
    ],
)
def test_the_image_has_to_be_there_and_to_have_the_driver(image: Image, health: Health, words: str) -> None:
    aws = healthy()
    aws.launch_checks.template_image = image
    (found,) = diagnosed(aws)["image"]
    assert (found.health, words in found.text) == (health, True)


def test_a_type_that_no_zone_offers_is_broken_and_one_that_some_offer_is_fine() -> None:
    aws = healthy()
    aws.launch_checks.missing["g4dn.2xlarge"] = {"us-east-1a"}
    (found,) = diagnosed(aws)["zones"]
    assert (found.health, "offered in us-east-1b, us-east-1c" in found.text) == (Health.OK, True)
    aws.launch_checks.missing["g4dn.2xlarge"] |= {"us-east-1b", "us-east-1c"}
    (found,) = diagnosed(aws)["zones"]
    assert (found.health, "none of the stack's zones" in found.text) == (Health.BROKEN, True)


@pytest.mark.parametrize(
    ("encryption", "health", "words"),
    [
        (VolumeEncryption(True, "alias/aws/ebs"), Health.OK, "alias/aws/ebs; the account's own default is on"),
        (VolumeEncryption(None, None), Health.OK, "the account's default key; the account's own default is not known"),
        (VolumeEncryption(True, "arn:k", "Disabled"), Health.BROKEN, "key arn:k is Disabled, so no instance can start"),
    ],
)
def test_a_key_that_cannot_encrypt_keeps_every_instance_from_starting(
    encryption: VolumeEncryption, health: Health, words: str
) -> None:
    aws = healthy()
    aws.launch_checks.encryption = encryption
    (found,) = diagnosed(aws)["volumes"]
    assert (found.health, words in found.text) == (health, True)


@pytest.mark.parametrize(
    ("on_demand", "spot", "health"),
    [
        (0.0, 0.0, [Health.BROKEN, Health.BROKEN]),
        (0.0, 8.0, [Health.WARNING, Health.OK]),
        (8.0, 7.0, [Health.OK, Health.WARNING]),
    ],
)
def test_a_quota_of_one_market_suffices(on_demand: float, spot: float, health: list[Health]) -> None:
    aws = healthy()
    aws.setup_checks.quotas = {G_ON_DEMAND: on_demand, G_SPOT: spot}
    found = diagnosed(aws)["quotas"]
    assert [each.health for each in found] == health
    assert all(("servicequotas" in each.remedy) is (each.health is not Health.OK) for each in found)


@pytest.mark.parametrize(
    ("off", "health"),
    [
        (0, Health.OK),
        (29, Health.OK),
        (-30, Health.WARNING),
        (299, Health.WARNING),
        (300, Health.BROKEN),
        (-300, Health.BROKEN),
    ],
)
def test_a_clock_that_is_off_is_named(off: float, health: Health) -> None:
    (found,) = diagnosed(healthy(), seconds(off))["clock"]
    assert found.health is health
    assert ("behind" in found.text) is (health is not Health.OK and off < 0)


@pytest.mark.parametrize(
    "call",
    [
        "servicequotas:GetServiceQuota", "sns:ListSubscriptionsByTopic", "cloudwatch:DescribeAlarms",
        "ec2:DescribeImages", "ec2:DescribeInstanceTypeOfferings", "ec2:GetEbsEncryptionByDefault",
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_a_warning(call: str) -> None:
    faults = Faults()
    faults.fail(call, NotAllowed(f"not allowed: {call}", "ask somebody"))
    found = [each for parts in diagnosed(healthy(faults)).values() for each in parts if each.health is not Health.OK]
    assert {(each.health, each.text, each.remedy) for each in found} == {
        (Health.WARNING, f"not allowed: {call}", "ask somebody")
    }


def test_a_price_that_aws_does_not_tell_is_a_warning_with_its_age() -> None:
    aws = healthy()
    aws.prices.instances = {}
    (found,) = diagnosed(aws)["prices"]
    assert (found.health, "allow pricing:GetProducts" in found.remedy) == (Health.WARNING, True)
    age = (NOW.date() - found_price().as_of).days
    assert f"g4dn.2xlarge $0.752 an hour, from this release's list, {age} days old" in found.text


def found_price() -> Price:
    price = BundledPrices().on_demand("us-east-1", "g4dn.2xlarge")
    assert price
    return price


def test_a_price_that_nobody_knows_allows_no_cap() -> None:
    aws = healthy()
    aws.prices.regions = set()
    found = diagnosed(aws, prices=CurrentPrices(aws.prices, aws.prices))["prices"]
    assert [(each.health, "no run on it can have a cap" in each.text) for each in found] == [(Health.WARNING, True)]


def test_a_default_type_that_no_run_can_use_is_a_warning() -> None:
    aws = healthy()
    aws.catalogue.types["g4dn.2xlarge"] = replace(aws.catalogue.types["g4dn.2xlarge"], cuda=False)
    (found,) = diagnosed(aws)["types"]
    assert (found.health, found.text) == (Health.WARNING, "g4dn.2xlarge has no CUDA GPU")
