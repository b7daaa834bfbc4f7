"""What an EC2 instance type is, and whether a run can use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import did_you_mean

IMAGE_ARCHITECTURE = "x86_64"
"""Of the image in template.yaml, and of the agent's packages."""
COMPUTE_CAPABILITY: Mapping[str, str] = MappingProxyType(
    {
        "V100": "7.0", "T4": "7.5", "T4g": "7.5", "A100": "8.0", "A10G": "8.6", "L4": "8.9", "L40S": "8.9",
        "H100": "9.0", "H200": "9.0", "B200": "10.0", "B300": "10.3", "RTX PRO 4500": "12.0",
        "RTX PRO Server 6000": "12.0",
    }
)  # fmt: skip
"""Of NVIDIA's GPUs by EC2's name of each: https://developer.nvidia.com/cuda-gpus. EC2 does not say it."""


@dataclass(frozen=True, slots=True)
class InstanceType:
    """An instance type as EC2 describes it. Memory in MiB, that of a GPU each; `gpu` without NVIDIA's name."""

    name: str
    vcpus: int
    memory_mib: int
    gpus: int = 0
    gpu: str = ""
    gpu_memory_mib: int = 0
    local_disk_gb: int = 0
    network: str = ""
    architecture: str = IMAGE_ARCHITECTURE
    cuda: bool = False

    @property
    def compute_capability(self) -> str | None:
        """NVIDIA's compute capability of its GPU, None if it has none or it is not known."""
        return COMPUTE_CAPABILITY.get(self.gpu) if self.cuda else None

    def __str__(self) -> str:
        gib = f"{self.memory_mib / 1024:g} GiB"
        if not self.gpus:
            return f"{self.vcpus} cores, {gib}, no GPU"
        return f"{self.gpus} x {self.gpu} {self.gpu_memory_mib / 1024:.0f} GiB, {self.vcpus} cores, {gib}"


def unknown_type(name: str, known: Iterable[str]) -> InvalidInput:
    """The error for a type that EC2 does not have, with the nearest one that is known."""
    remedy = did_you_mean(name, known) or "not every region has every type"
    return InvalidInput("--instance-type", f"EC2 has no {name} in this region", remedy)


def check_usable(kind: InstanceType, *, allow_cpu: bool) -> None:
    """Raise InvalidInput for a type on which a run would only end at its preflight checks."""
    if kind.architecture != IMAGE_ARCHITECTURE:
        problem = f"{kind.name} is {kind.architecture}, and the stack's image is for {IMAGE_ARCHITECTURE}"
        raise InvalidInput("--instance-type", problem, "take a type such as g5.xlarge")
    if not kind.cuda and not allow_cpu:
        remedy = "give --allow-cpu to train on its cores, or take a type such as g5.xlarge"
        raise InvalidInput("--instance-type", f"{kind.name} has no CUDA GPU", remedy)
