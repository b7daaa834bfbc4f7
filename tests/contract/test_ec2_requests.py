"""The words of our requests to EC2, which no emulator judges, and what its refusals mean."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError
from moto.core.botocore_stubber import MockRawResponse

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.ec2_fleet import Ec2Fleet
from chronos_ec2.domain.errors import (
    CapacityUnavailable,
    LaunchRefused,
    NoCredentials,
    NotAllowed,
    QuotaExceeded,
    ServiceUnavailable,
)
from chronos_ec2.domain.instance import StateReason, owner_tags
from chronos_ec2.domain.records.capacity import LaunchOption
from chronos_ec2.testing.aws_answers import heard, refused
from chronos_ec2.testing.builders import NOW, launching

PROFILE = "arn:aws:iam::123456789012:instance-profile/instances"
OPTION = LaunchOption("g4dn.2xlarge", "subnet-a")


class Ec2:
    """A client that remembers what it was asked, and answers with what a test gave it."""

    def __init__(self, *pages: dict[str, Any] | str) -> None:
        self.pages = pages
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def run_instances(self, **words: Any) -> dict[str, Any]:
        self.asked.append(("run", words))
        return {"Instances": [{"InstanceId": "i-0123456789abcdef0", "LaunchTime": NOW}]}

    def terminate_instances(self, **words: Any) -> None:
        self.asked.append(("terminate", words))

    def get_paginator(self, _name: str) -> Ec2:
        return self

    def paginate(self, **words: Any) -> Iterator[dict[str, Any]]:
        self.asked.append(("list", words))
        for page in self.pages:
            if isinstance(page, str):
                raise ClientError({"Error": {"Code": page, "Message": "no"}}, "DescribeInstances")
            yield page


def a_page(instance_id: str) -> dict[str, Any]:
    instance = {
        "InstanceId": instance_id,
        "State": {"Name": "running"},
        "LaunchTime": datetime(2026, 1, 31, tzinfo=UTC),
    }
    return {"Reservations": [{"Instances": [instance]}]}


@pytest.mark.parametrize(
    ("reason", "reclaimed"),
    [
        ({"StateReason": {"Code": "Server.SpotInstanceTermination"}}, True),
        ({"StateReason": {"Code": "Client.InstanceInitiatedShutdown"}}, False),
        ({"StateReason": {}}, False),
        ({}, False),
    ],
)
def test_ec2_says_of_an_instance_that_it_took_it_back(reason: dict[str, Any], reclaimed: bool) -> None:
    page = a_page("i-1")
    page["Reservations"][0]["Instances"][0] |= reason
    (instance,) = Ec2Fleet(Ec2(page), "p", "c").instances("dev")
    assert instance.reclaimed is reclaimed


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (
            {"Code": "Client.InternalError", "Message": "Client error on launch"},
            StateReason("Client.InternalError", "Client error on launch"),
        ),
        ({"Code": "Server.InternalError"}, StateReason("Server.InternalError", "")),
        ({"Code": "", "Message": ""}, None),
        ({}, None),
    ],
)
def test_ec2_says_why_it_ended_an_instance(raw: dict[str, str], reason: StateReason | None) -> None:
    page = a_page("i-1")
    page["Reservations"][0]["Instances"][0]["StateReason"] = raw
    (instance,) = Ec2Fleet(Ec2(page), "p", "c").instances("dev")
    assert instance.state_reason == reason


@pytest.mark.parametrize(
    ("state", "reason", "ended"),
    [
        ("terminated", "User initiated (2026-01-31 12:00:00 GMT)", True),
        ("shutting-down", "User initiated (2026-01-31 12:00:00 UTC)", True),
        ("terminated", "Server.SpotInstanceTermination: Spot Instance termination (2026-01-31 12:00:00 GMT)", True),
        ("terminated", "Client.InstanceInitiatedShutdown: Instance initiated shutdown", False),
        ("terminated", "Server.SpotInstanceTermination", False),
        ("terminated", "User initiated (2026-99-31 12:00:00 GMT)", False),
        ("terminated", "", False),
        ("stopped", "User initiated (2026-01-31 12:00:00 GMT)", False),
        ("running", "", False),
    ],
)
def test_ec2_may_say_when_an_instance_ended(state: str, reason: str, ended: bool) -> None:
    page = a_page("i-1")
    page["Reservations"][0]["Instances"][0] |= {"State": {"Name": state}, "StateTransitionReason": reason}
    (instance,) = Ec2Fleet(Ec2(page), "p", "c").instances("dev")
    assert instance.ended_at == (datetime(2026, 1, 31, 12, tzinfo=UTC) if ended else None)


def asked_to_launch(**changes: Any) -> dict[str, Any]:
    ec2 = Ec2()
    Ec2Fleet(ec2, "p", "c", "lt-1", PROFILE).launch(replace(launching(), **changes), OPTION, "#cloud-config")
    ((_, words),) = ec2.asked
    return words


def test_one_instance_is_asked_for_that_terminates_when_it_shuts_down() -> None:
    words = asked_to_launch()
    assert (words["MinCount"], words["MaxCount"]) == (1, 1)
    assert words["InstanceInitiatedShutdownBehavior"] == "terminate"


def test_the_request_has_what_the_permission_to_launch_asks_for() -> None:
    words = asked_to_launch()
    assert words["MetadataOptions"]["HttpTokens"] == "required"
    assert words["IamInstanceProfile"] == {"Arn": PROFILE}


def test_spare_capacity_is_asked_for_once_and_ends_with_the_instance() -> None:
    ec2 = Ec2()
    Ec2Fleet(ec2, "p", "c", "lt-1", PROFILE).launch(launching(), replace(OPTION, market="spot"), "#cloud-config")
    ((_, words),) = ec2.asked
    assert words["InstanceMarketOptions"]["MarketType"] == "spot"
    options = words["InstanceMarketOptions"]["SpotOptions"]
    assert options == {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
    assert "InstanceMarketOptions" not in asked_to_launch()
    assert "spot-instances-request" in {entry["ResourceType"] for entry in words["TagSpecifications"]}
    assert words["ClientToken"] != asked_to_launch()["ClientToken"]


def test_a_retry_has_the_same_token_and_another_attempt_another() -> None:
    first, again, next_attempt = (asked_to_launch(attempt=attempt)["ClientToken"] for attempt in (1, 1, 2))
    assert first == again != next_attempt
    assert len(first) <= 64


def test_all_that_costs_carries_all_tags_that_make_it_ours() -> None:
    tagged = {entry["ResourceType"]: entry["Tags"] for entry in asked_to_launch()["TagSpecifications"]}
    assert set(tagged) == {"instance", "volume", "network-interface"}
    for tags in tagged.values():
        named = {tag["Key"]: tag["Value"] for tag in tags}
        assert owner_tags("p", "dev").items() <= named.items()
        assert {"RunId", "Lane", "Attempt", "Deadline"} <= set(named)


def test_a_list_asks_for_all_our_tags_and_reads_all_pages() -> None:
    ec2 = Ec2(a_page("i-00000001"), a_page("i-00000002"))
    found = Ec2Fleet(ec2, "p", "c").instances("dev")
    assert [instance.instance_id for instance in found] == ["i-00000001", "i-00000002"]
    ((_, words),) = ec2.asked
    assert {entry["Name"] for entry in words["Filters"]} == {f"tag:{name}" for name in owner_tags("p", "dev")}


OTHER_PROFILE = PROFILE + "-of-somebody-else"


@pytest.mark.parametrize(
    ("state", "profile", "ours"),
    [
        ("running", PROFILE, True),
        ("stopped", PROFILE, True),
        ("running", OTHER_PROFILE, False),
        ("running", None, False),
        ("pending", None, False),
        ("stopped", None, False),
        ("terminated", PROFILE, True),
        # EC2 may not name it any more, and nothing is done to an instance that has ended.
        ("terminated", None, True),
        ("shutting-down", None, True),
        ("terminated", OTHER_PROFILE, False),
    ],
)
def test_an_instance_with_our_tags_is_ours_if_it_has_our_profile(state: str, profile: str | None, ours: bool) -> None:
    page = a_page("i-00000001")
    (raw,) = page["Reservations"][0]["Instances"]
    raw["State"] = {"Name": state}
    raw["Tags"] = [{"Key": key, "Value": value} for key, value in owner_tags("p", "dev").items()]
    if profile:
        raw["IamInstanceProfile"] = {"Arn": profile, "Id": "x"}
    fleet = Ec2Fleet(Ec2(page), "p", "c", "lt-1", PROFILE)
    assert len(fleet.instances("dev")) == ours
    assert (fleet.find("dev", "i-00000001") is not None) is ours
    (found,) = fleet.look_up("dev", ["i-00000001"])
    assert found.ours is ours


@pytest.mark.parametrize(("tag", "read"), [(24, 24), (48, 48), (49, 48), (9000, 48)])
def test_a_deadline_is_no_later_than_the_stack_lets_a_run_last(tag: int, read: int) -> None:
    page, launched = a_page("i-00000001"), datetime(2026, 1, 31, tzinfo=UTC)
    (raw,) = page["Reservations"][0]["Instances"]
    raw["Tags"] = [{"Key": "Deadline", "Value": (launched + timedelta(hours=tag)).isoformat()}]
    (found,) = Ec2Fleet(Ec2(page), "p", "c", max_runtime=timedelta(hours=48)).instances("dev")
    assert found.deadline == launched + timedelta(hours=read)


def test_the_list_of_a_lane_asks_for_its_tag_too() -> None:
    ec2 = Ec2()
    Ec2Fleet(ec2, "p", "c").instances("dev", "second")
    ((_, words),) = ec2.asked
    assert {"Name": "tag:Lane", "Values": ["second"]} in words["Filters"]
    assert len(words["Filters"]) == 1 + len(owner_tags("p", "dev"))


def test_what_is_looked_up_is_asked_for_by_id_in_filters_that_ec2_takes_and_all_pages_are_read() -> None:
    ec2 = Ec2(a_page("i-00000001"), a_page("i-00000002"))
    ids = [f"i-{number:08x}" for number in range(450)]
    found = Ec2Fleet(ec2, "p", "c").look_up("dev", ids)
    assert [lookup.instance_id for lookup in found] == ["i-00000001", "i-00000002"]
    assert {entry["Name"] for _, words in ec2.asked for entry in words["Filters"]} == {"instance-id"}
    asked = [words["Filters"][0]["Values"] for _, words in ec2.asked]
    assert [instance_id for values in asked for instance_id in values] == ids
    assert max(map(len, asked)) == 200
    assert Ec2Fleet(ec2, "p", "c").look_up("dev", ()) == ()
    assert len(ec2.asked) == 3


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "Unavailable", "InternalError"])
def test_a_list_that_is_not_whole_is_no_list(code: str) -> None:
    with pytest.raises(ServiceUnavailable):
        Ec2Fleet(Ec2(a_page("i-00000001"), code), "p", "c").instances("dev")
    with pytest.raises(ServiceUnavailable):
        Ec2Fleet(Ec2(a_page("i-00000001"), code), "p", "c").look_up("dev", ["i-00000001"])


def test_one_id_a_call_and_force_only_when_asked() -> None:
    ec2 = Ec2()
    Ec2Fleet(ec2, "p", "c").terminate("i-00000001")
    Ec2Fleet(ec2, "p", "c").terminate("i-00000002", force=True)
    assert [words for _, words in ec2.asked] == [
        {"InstanceIds": ["i-00000001"]}, {"InstanceIds": ["i-00000002"], "Force": True, "SkipOsShutdown": True},
    ]  # fmt: skip


@pytest.mark.usefixtures("asked_once")
@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("InsufficientInstanceCapacity", 500, CapacityUnavailable),  # as EC2 has it
        ("Unsupported", 400, CapacityUnavailable),
        ("InternalError", 500, ServiceUnavailable),
        ("InvalidParameterValue", 400, LaunchRefused),
        ("VcpuLimitExceeded", 400, QuotaExceeded),
        ("MaxSpotInstanceCountExceeded", 400, QuotaExceeded),
        ("UnauthorizedOperation", 403, NotAllowed),
        ("RequestExpired", 400, NoCredentials),
    ],
)
def test_what_ec2_refuses_with_which_status_says_whether_to_go_elsewhere(
    deployed: str, code: str, status: int, expected: type[Exception]
) -> None:
    with refused("ec2", "RunInstances", code, status), pytest.raises(expected):
        Ec2Fleet(client("ec2"), "Chronos-Training", "train", "lt-1", PROFILE).launch(launching(), OPTION, "")


def asked_for(code: str, status: int) -> int:
    """How many requests a launch makes of which each gets this answer."""
    asked: list[str] = []

    def refuse(request: Any, **_: Any) -> AWSResponse:
        asked.append(request.url)
        body = f"<Response><Errors><Error><Code>{code}</Code></Error></Errors></Response>"
        return AWSResponse(request.url, status, HTTPHeaders(), MockRawResponse(body))

    answering = heard("before-send.ec2.RunInstances", refuse)
    with answering, pytest.raises((CapacityUnavailable, ServiceUnavailable)):
        Ec2Fleet(client("ec2"), "Chronos-Training", "train", "lt-1", PROFILE).launch(launching(), OPTION, "")
    return len(asked)


def test_a_zone_without_capacity_is_asked_once_although_its_status_is_that_of_an_outage(deployed: str) -> None:
    assert asked_for("InsufficientInstanceCapacity", 500) == 1


def test_an_outage_is_asked_again(deployed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    assert asked_for("InternalError", 500) == 5


def test_who_asks_once_has_no_client_from_before_that_asks_again(deployed: str, request: pytest.FixtureRequest) -> None:
    assert client("ec2").meta.config.retries["total_max_attempts"] == 5
    request.getfixturevalue("asked_once")
    assert client("ec2").meta.config.retries["total_max_attempts"] == 1


@pytest.mark.usefixtures("asked_once")
def test_a_refusal_by_the_quota_names_it_and_where_to_ask_for_more(deployed: str) -> None:
    with refused("ec2", "RunInstances", "VcpuLimitExceeded"), pytest.raises(QuotaExceeded) as caught:
        Ec2Fleet(client("ec2"), "Chronos-Training", "train", "lt-1", PROFILE).launch(launching(), OPTION, "")
    assert "L-DB2E81BA" in caught.value.hint
    assert "console.aws.amazon.com/servicequotas" in caught.value.hint
    spot = replace(OPTION, instance_type="p4d.24xlarge", market="spot")
    with (
        refused("ec2", "RunInstances", "MaxSpotInstanceCountExceeded"),
        pytest.raises(QuotaExceeded, match="L-7212CCBC"),
    ):
        Ec2Fleet(client("ec2"), "Chronos-Training", "train", "lt-1", PROFILE).launch(launching(), spot, "")


def test_lists_are_asked_for_in_pages() -> None:
    ec2 = Ec2()
    fleet = Ec2Fleet(ec2, "p", "c")
    fleet.instances("dev")
    fleet.look_up("dev", ["i-00000001"])
    fleet.leftovers("dev")
    assert len(ec2.asked) == 5
    assert {words["PaginationConfig"]["PageSize"] for _, words in ec2.asked} == {1000}


def test_every_page_of_what_runs_left_is_read() -> None:
    def page(number: int) -> dict[str, Any]:
        return {
            "Volumes": [{"VolumeId": f"vol-{number}", "State": "available"}],
            "NetworkInterfaces": [{"NetworkInterfaceId": f"eni-{number}", "Status": "available"}],
            "SpotInstanceRequests": [{"SpotInstanceRequestId": f"sir-{number}", "State": "open"}],
        }

    left = Ec2Fleet(Ec2(page(1), page(2)), "p", "c").leftovers("dev")
    assert [each.resource_id for each in left] == ["vol-1", "vol-2", "eni-1", "eni-2", "sir-1", "sir-2"]
