"""EC2 as Fleet. Every list is filtered by all our owner tags and read to its last page."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from chronos_ec2.aws.clients import PAGES
from chronos_ec2.aws.errors import NO_CAPACITY, QUOTA_EXCEEDED, code_of, refusal, text_of, translated
from chronos_ec2.domain.errors import (
    CapacityUnavailable,
    LaunchRefused,
    QuotaExceeded,
    ServiceUnavailable,
    TerminationProtected,
)
from chronos_ec2.domain.instance import (
    HOLD,
    Instance,
    InstanceLookup,
    InstanceState,
    NewInstance,
    StateReason,
    client_token,
    hold_tag,
    owner_tags,
    read_tags,
    run_tags,
)
from chronos_ec2.domain.limits import MAX_LIMIT
from chronos_ec2.domain.planning.quota import quota_remedy
from chronos_ec2.domain.records.capacity import ON_DEMAND, SPOT, LaunchOption
from chronos_ec2.domain.records.run import Run
from chronos_ec2.ports import Resource

# A one-time request ends with its instance and starts no other.
_SPOT = {
    "MarketType": "spot",
    "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
}
_T = TypeVar("_T")
_VOLUME, _INTERFACE, _REQUEST = "volume", "network-interface", "spot-instances-request"
_REQUESTS_THAT_MAY_COST = ["open", "active", "disabled"]
_TAGGED = {
    ON_DEMAND: ("instance", _VOLUME, _INTERFACE),
    SPOT: ("instance", _VOLUME, _INTERFACE, _REQUEST),
}
_TIME_OF_CALL = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")
_FILTER_VALUES = 200
"""Maximum per filter: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html"""


class Ec2Fleet:
    """The instances of one project. ports.Fleet documents the methods."""

    def __init__(
        self,
        client: Any,
        project: str,
        cost_center: str,
        launch_template_id: str = "",
        profile_arn: str = "",
        max_runtime: timedelta = MAX_LIMIT,
    ) -> None:
        self._ec2 = client
        self._project = project
        self._cost_center = cost_center
        self._launch_template_id = launch_template_id
        self._profile_arn = profile_arn
        self._max_runtime = max_runtime

    def instances(self, environment: str, lane: str | None = None) -> tuple[Instance, ...]:
        """Every instance with all our owner tags in this environment, or those with the tag of a lane."""
        of_lane = [] if lane is None else [{"Name": "tag:Lane", "Values": [lane]}]
        return tuple(self._describe(environment, *of_lane))

    def find(self, environment: str, instance_id: str) -> Instance | None:
        """One instance, if it carries our owner tags for this environment."""
        found = self._describe(environment, {"Name": "instance-id", "Values": [instance_id]})
        return next((instance for instance in found if instance.instance_id == instance_id), None)

    def look_up(self, environment: str, instance_ids: Collection[str]) -> tuple[InstanceLookup, ...]:
        """Those of these instances that EC2 knows, whatever their tags."""
        found: list[InstanceLookup] = []
        ids, tags = iter(instance_ids), owner_tags(self._project, environment)
        while some := list(islice(ids, _FILTER_VALUES)):
            # By filter, because with the parameter one unknown id fails the whole call.
            seen = self._described([{"Name": "instance-id", "Values": some}], lambda raw: self._lookup(raw, tags))
            found += [lookup for lookup in seen if lookup.instance_id in some]
        return tuple(found)

    def _describe(self, environment: str, *filters: dict[str, Any]) -> Iterator[Instance]:
        found = self._described([*self._ours(environment), *filters], self._instance)
        return (instance for instance in found if instance is not None)

    def _instance(self, raw: dict[str, Any]) -> Instance | None:
        """An instance with our tags, its deadline one that a run may have; None if it is somebody else's."""
        if not self._has_our_profile(raw):
            return None
        found = _instance(raw)
        latest = found.launched_at + self._max_runtime
        return replace(found, deadline=min(found.deadline, latest)) if found.deadline else found

    def _lookup(self, raw: dict[str, Any], tags: dict[str, str]) -> InstanceLookup:
        ours = tags.items() <= _tags(raw).items() and self._has_our_profile(raw)
        return InstanceLookup(raw["InstanceId"], InstanceState(raw["State"]["Name"]), ours)

    def _has_our_profile(self, raw: dict[str, Any]) -> bool:
        """Whether IAM lets us terminate it. Of an instance that has ended, EC2 may not name the profile."""
        profile = raw.get("IamInstanceProfile", {}).get("Arn")
        ended = InstanceState(raw["State"]["Name"]) in (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED)
        return profile == self._profile_arn or not self._profile_arn or (ended and profile is None)

    def _described(self, filters: list[dict[str, Any]], read: Callable[[dict[str, Any]], _T]) -> Iterator[_T]:
        with translated("list EC2 instances"):
            for page in self._pages("describe_instances", filters):
                for reservation in page["Reservations"]:
                    yield from map(read, reservation["Instances"])

    def _pages(self, operation: str, filters: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The pages of a list."""
        yield from self._ec2.get_paginator(operation).paginate(Filters=filters, PaginationConfig=PAGES)

    def _ours(self, environment: str) -> list[dict[str, Any]]:
        return [
            {"Name": f"tag:{key}", "Values": [value]} for key, value in owner_tags(self._project, environment).items()
        ]

    def launch(self, run: Run, option: LaunchOption, user_data: str) -> NewInstance:
        """Start one instance for this attempt. Repeating the call never starts a second, and names the first."""
        tags = [{"Key": key, "Value": value} for key, value in run_tags(run, self._project, self._cost_center).items()]
        action = f"launch {option.instance_type} in {option.subnet_id}"
        market = {"InstanceMarketOptions": _SPOT} if option.market == SPOT else {}
        with translated(action), _launch_errors(action, option):
            response = self._ec2.run_instances(
                MinCount=1,
                MaxCount=1,
                InstanceType=option.instance_type,
                SubnetId=option.subnet_id,
                LaunchTemplate={"LaunchTemplateId": self._launch_template_id, "Version": "$Latest"},
                # Repeated from the template, because the default is to stop and keep the volume.
                InstanceInitiatedShutdownBehavior="terminate",
                # Both repeated from the template, because the IAM condition checks the request.
                MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
                IamInstanceProfile={"Arn": self._profile_arn},
                UserData=user_data,
                ClientToken=client_token(run, option.instance_type, option.subnet_id, option.market),
                TagSpecifications=[{"ResourceType": kind, "Tags": tags} for kind in _TAGGED[option.market]],
                **market,
            )
            started = response["Instances"][0]
            return NewInstance(started["InstanceId"], started["LaunchTime"].astimezone(UTC))

    def terminate(self, instance_id: str, *, force: bool = False) -> None:
        """Ask EC2 to terminate one instance. One id per call, because a batch fails as a whole."""
        options = {"Force": True, "SkipOsShutdown": True} if force else {}
        with translated(f"terminate {instance_id}"):
            try:
                self._ec2.terminate_instances(InstanceIds=[instance_id], **options)
            except ClientError as error:
                if code_of(error) == "OperationNotPermitted" and "disableApiTermination" in str(error):
                    raise TerminationProtected(f"could not terminate {instance_id}: {text_of(error)}") from error
                # After a launch this is eventual consistency; the next list of EC2 decides.
                if code_of(error) != "InvalidInstanceID.NotFound":
                    raise

    def lift_protection(self, instance_id: str) -> None:
        """Let one instance be terminated although it was protected. A missing one is no error."""
        with translated(f"lift the termination protection of {instance_id}"):
            try:
                self._ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": False})
            except ClientError as error:
                if code_of(error) != "InvalidInstanceID.NotFound":
                    raise

    def hold(self, instance_id: str, until: datetime | None = None) -> None:
        """Keep one instance until a time, or until its deadline; an earlier hold is replaced."""
        with translated(f"put {instance_id} on hold"):
            self._ec2.create_tags(Resources=[instance_id], Tags=[{"Key": HOLD, "Value": hold_tag(until)}])

    def release(self, instance_id: str) -> None:
        """Take the tag `Hold` off one instance. Without it, nothing changes."""
        with translated(f"release {instance_id}"):
            self._ec2.delete_tags(Resources=[instance_id], Tags=[{"Key": HOLD}])

    def leftovers(self, environment: str, run_id: str | None = None) -> tuple[Resource, ...]:
        """Volumes and network interfaces with our tags in any state, and unfinished spot requests."""
        wanted = self._ours(environment)
        if run_id:
            wanted.append({"Name": "tag:RunId", "Values": [run_id]})
        with translated("list volumes, network interfaces and spot requests"):
            volumes = [
                Resource(_VOLUME, volume["VolumeId"], volume["State"])
                for page in self._pages("describe_volumes", wanted)
                for volume in page["Volumes"]
            ]
            interfaces = [
                Resource(_INTERFACE, interface["NetworkInterfaceId"], interface["Status"])
                for page in self._pages("describe_network_interfaces", wanted)
                for interface in page["NetworkInterfaces"]
            ]
            of_state = {"Name": "state", "Values": _REQUESTS_THAT_MAY_COST}
            requests = [
                Resource(_REQUEST, request["SpotInstanceRequestId"], request["State"])
                for page in self._pages("describe_spot_instance_requests", [*wanted, of_state])
                for request in page["SpotInstanceRequests"]
            ]
        return (*volumes, *interfaces, *requests)

    def delete(self, resource: Resource) -> None:
        """Delete an unused leftover. A missing one is no error."""
        with translated(f"delete {resource.kind} {resource.resource_id}"):
            try:
                if resource.kind == _VOLUME:
                    self._ec2.delete_volume(VolumeId=resource.resource_id)
                else:
                    self._ec2.delete_network_interface(NetworkInterfaceId=resource.resource_id)
            except ClientError as error:
                if not code_of(error).endswith(".NotFound"):
                    raise


@contextmanager
def _launch_errors(action: str, option: LaunchOption) -> Iterator[None]:
    """Raise what a refusal by RunInstances means for the next try; what any call may answer is left to `translated`."""
    try:
        yield
    except ClientError as error:
        problem = f"could not {action}: {text_of(error)}"
        # First, because EC2 returns some of these with status 500, like an outage.
        if code_of(error) in NO_CAPACITY:
            words = str(error.response.get("Error", {}).get("Message", ""))
            raise CapacityUnavailable(problem, code=code_of(error), words=words) from error
        if code_of(error) in QUOTA_EXCEEDED:
            raise QuotaExceeded(problem, quota_remedy(option.instance_type, option.market)) from error
        if code_of(error) == "IdempotentParameterMismatch":
            raise ServiceUnavailable(
                f"{problem}; an instance of this attempt exists", "`chronos-ec2 verify` shows it"
            ) from error
        if refusal(error, action) is None:
            raise LaunchRefused(problem) from error
        raise


def _tags(raw: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in raw.get("Tags", ())}


def _instance(raw: dict[str, Any]) -> Instance:
    lane, run_id, attempt, deadline, hold, hold_until = read_tags(_tags(raw))
    reason = _reason(raw)
    return Instance(
        instance_id=raw["InstanceId"],
        state=InstanceState(raw["State"]["Name"]),
        launched_at=raw["LaunchTime"].astimezone(UTC),
        instance_type=raw.get("InstanceType", ""),
        lane=lane,
        run_id=run_id,
        attempt=attempt,
        deadline=deadline,
        hold=hold,
        hold_until=hold_until,
        reclaimed=reason is not None and reason.reclaimed,
        ended_at=_ended_at(raw),
        state_reason=reason,
    )


def _reason(raw: dict[str, Any]) -> StateReason | None:
    found = raw.get("StateReason", {})
    return StateReason(found["Code"], found.get("Message", "")) if found.get("Code") else None


def _ended_at(raw: dict[str, Any]) -> datetime | None:
    """When a call ended an instance: `User initiated (2026-01-31 12:00:00 GMT)`."""
    if InstanceState(raw["State"]["Name"]) not in (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED):
        return None  # of a stopped instance it is the time of the stop
    named = _TIME_OF_CALL.search(raw.get("StateTransitionReason", ""))
    with suppress(ValueError):
        return datetime.fromisoformat(named[1]).replace(tzinfo=UTC) if named else None
    return None
