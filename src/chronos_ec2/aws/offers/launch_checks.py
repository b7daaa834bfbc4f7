"""What EC2 says of the stack's launch template, zones and volumes, as LaunchChecks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from botocore.exceptions import ClientError

from chronos_ec2.aws.clients import PAGES
from chronos_ec2.aws.errors import code_of, translated
from chronos_ec2.domain.parsing.times import parse_time
from chronos_ec2.domain.planning.zones import Zones
from chronos_ec2.ports import Image, VolumeEncryption

_GONE = frozenset({"InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"})
# An emulator that does not have the operation.
_NO_OPERATION = "InvalidAction"
_OF_AWS = "alias/aws/"


class Ec2LaunchChecks:
    """Asks about one launch template and its subnets. ports.LaunchChecks documents the methods."""

    def __init__(self, client: Callable[[str], Any], launch_template_id: str, subnet_ids: Sequence[str]) -> None:
        """`client` makes the client of a service."""
        self._client = client
        self._launch_template_id = launch_template_id
        self._subnet_ids = subnet_ids

    def image(self) -> Image:
        """The AMI of the launch template."""
        image_id = str(self._template().get("ImageId", ""))
        with translated(f"describe AMI {image_id}"):
            try:
                found = self._client("ec2").describe_images(ImageIds=[image_id])["Images"]
            except ClientError as error:
                if code_of(error) not in _GONE:
                    raise
                found = []
            if not found:
                return Image(image_id)
            words = " ".join(found[0].get(key, "") for key in ("Name", "Description"))
            created = found[0].get("CreationDate")
            return Image(image_id, found[0].get("State", ""), words.strip(), parse_time(created) if created else None)

    def zones(self, instance_types: Collection[str]) -> Zones:
        """The zones of the subnets, and those that offer each type."""
        with translated("ask for the zones of the instance types"):
            subnets = self._client("ec2").describe_subnets(SubnetIds=list(self._subnet_ids))["Subnets"]
            stack = tuple(sorted({subnet["AvailabilityZone"] for subnet in subnets}))
            try:
                filters = [
                    {"Name": "instance-type", "Values": sorted(instance_types)},
                    {"Name": "location", "Values": list(stack)},
                ]
                pages = self._client("ec2").get_paginator("describe_instance_type_offerings")
                offered = [
                    (each["InstanceType"], each["Location"])
                    for page in pages.paginate(
                        LocationType="availability-zone", Filters=filters, PaginationConfig=PAGES
                    )
                    for each in page["InstanceTypeOfferings"]
                ]
            except ClientError as error:
                if code_of(error) != _NO_OPERATION:
                    raise
                return Zones(stack, {})
            return Zones(
                stack, {kind: tuple(zone for zone in stack if (kind, zone) in offered) for kind in instance_types}
            )

    def volume_encryption(self) -> VolumeEncryption:
        """Whether the account encrypts by default, and the key of the launch template's volume."""
        mappings = self._template().get("BlockDeviceMappings", [])
        key = next((found for each in mappings if (found := each.get("Ebs", {}).get("KmsKeyId"))), None)
        with translated("ask whether volumes are encrypted by default"):
            by_default: bool | None
            try:
                by_default = bool(self._client("ec2").get_ebs_encryption_by_default()["EbsEncryptionByDefault"])
            except ClientError as error:
                if code_of(error) != _NO_OPERATION:
                    raise
                by_default = None
        if key is None or key.startswith(_OF_AWS):  # AWS's own cannot be disabled
            return VolumeEncryption(by_default, key)
        with translated(f"describe key {key}"):
            state = self._client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"]
        return VolumeEncryption(by_default, key, str(state))

    def _template(self) -> dict[str, Any]:
        """What an instance is launched with."""
        with translated(f"read launch template {self._launch_template_id}"):
            found = self._client("ec2").describe_launch_template_versions(
                LaunchTemplateId=self._launch_template_id, Versions=["$Latest"]
            )
            return dict(found["LaunchTemplateVersions"][0]["LaunchTemplateData"])
