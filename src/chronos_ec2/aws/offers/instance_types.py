"""EC2's description of its instance types as Catalogue."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from botocore.exceptions import ClientError

from chronos_ec2.aws.errors import code_of, translated
from chronos_ec2.bundled.instance_types import bundled_types
from chronos_ec2.domain.planning.instance_type import IMAGE_ARCHITECTURE, InstanceType, unknown_type

_UNKNOWN = frozenset({"InvalidInstanceType", "InvalidParameterValue"})


class Ec2Catalogue:
    """The instance types of the region of an EC2 client. ports.Catalogue documents the methods."""

    def __init__(self, client: Any) -> None:
        self._ec2 = client

    def find(self, instance_types: Collection[str]) -> dict[str, InstanceType]:
        """What each of the types is. A hundred at most."""
        names = sorted(instance_types)
        with translated("describe instance types"):
            try:
                answer = self._ec2.describe_instance_types(InstanceTypes=names)
            except ClientError as error:
                missing = [name for name in names if name in str(error)]
                if code_of(error) in _UNKNOWN and missing:
                    raise unknown_type(missing[0], bundled_types()) from error
                raise
            return {kind.name: kind for kind in map(described, answer["InstanceTypes"])}


def described(raw: dict[str, Any]) -> InstanceType:
    """An instance type in EC2's words."""
    gpus = raw.get("GpuInfo", {}).get("Gpus", [])
    first = gpus[0] if gpus else {}
    architectures = raw["ProcessorInfo"]["SupportedArchitectures"]
    return InstanceType(
        name=raw["InstanceType"],
        vcpus=raw["VCpuInfo"]["DefaultVCpus"],
        memory_mib=raw["MemoryInfo"]["SizeInMiB"],
        # A part of a GPU counts as none in EC2's answer, and as one for the driver.
        gpus=sum(max(1, gpu.get("Count", 1)) for gpu in gpus),
        gpu=first.get("Name", ""),
        gpu_memory_mib=first.get("MemoryInfo", {}).get("SizeInMiB", 0),
        local_disk_gb=raw.get("InstanceStorageInfo", {}).get("TotalSizeInGB", 0),
        network=raw.get("NetworkInfo", {}).get("NetworkPerformance", ""),
        architecture=IMAGE_ARCHITECTURE if IMAGE_ARCHITECTURE in architectures else architectures[0],
        cuda=first.get("Manufacturer", "").upper() == "NVIDIA",
    )
