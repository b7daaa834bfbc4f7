"""What `doctor` says of a setup, beside what `verify` warns of."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from chronos_ec2.bundled.prices import BundledPrices
from chronos_ec2.domain.errors import NotAllowed
from chronos_ec2.ports import Subscription, SubscriptionState
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.doctor import Diagnosis, Health, diagnose
from chronos_ec2.services.prices import CurrentPrices
from chronos_ec2.testing import Faults, MemoryAws
from chronos_ec2.testing.builders import NOW, a_stack, seconds

G_ON_DEMAND, G_SPOT = "L-DB2E81BA", "L-3819A6DF"


def healthy(faults: Faults | None = None) -> MemoryAws:
    aws = MemoryAws(faults)
    aws.setup_checks.quotas = {G_ON_DEMAND: 64.0, G_SPOT: 64.0}
    aws.setup_checks.subscribed = [Subscription("arn:t", "email", "a@example.com", SubscriptionState.CONFIRMED)]
    return aws


def diagnosed(aws: MemoryAws, off: timedelta = timedelta(0)) -> dict[str, list[Diagnosis]]:
    parts: dict[str, list[Diagnosis]] = {}
    for each in diagnose(
        a_stack(),
        RunStore(aws.objects),
        aws.setup_checks,
        aws.catalogue,
        CurrentPrices(aws.prices, BundledPrices()),
        NOW,
        NOW + off,
    ):
        parts.setdefault(each.part, []).append(each)
    return parts


def test_each_part_of_a_good_setup_is_named_and_ok() -> None:
    found = diagnosed(healthy())
    assert [*found] == ["stack", "sweep", "bucket", "locks", "events", "messages", "quotas", "types", "prices", "clock"]
    assert {each.health for parts in found.values() for each in parts} == {Health.OK}


def test_without_a_subscription_nobody_is_told() -> None:
    aws = healthy()
    aws.setup_checks.subscribed = []
    (found,) = diagnosed(aws)["messages"]
    assert (found.health, "nobody is told" in found.text) == (Health.WARNING, True)


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


@pytest.mark.parametrize("call", ["servicequotas:GetServiceQuota", "sns:ListSubscriptionsByTopic"])
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
    assert "g4dn.2xlarge $0.752 an hour, from this release's list, " in found.text


def test_a_price_that_nobody_knows_allows_no_cap() -> None:
    aws = healthy()
    aws.prices.regions = set()
    prices = CurrentPrices(aws.prices, aws.prices)
    found = [
        each
        for each in diagnose(a_stack(), RunStore(aws.objects), aws.setup_checks, aws.catalogue, prices, NOW, NOW)
        if each.part == "prices"
    ]
    assert [(each.health, "no run on it can have a cap" in each.text) for each in found] == [(Health.WARNING, True)]


def test_a_default_type_that_no_run_can_use_is_a_warning() -> None:
    aws = healthy()
    aws.catalogue.types["g4dn.2xlarge"] = replace(aws.catalogue.types["g4dn.2xlarge"], cuda=False)
    (found,) = diagnosed(aws)["types"]
    assert (found.health, found.text) == (Health.WARNING, "g4dn.2xlarge has no CUDA GPU")
