"""`python -m tools.instance_types`: write the list of instance types from the copy of EC2's answers in moto."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES

from chronos_ec2.aws.offers.instance_types import described
from chronos_ec2.domain.planning.instance_type import IMAGE_ARCHITECTURE, InstanceType

DOCUMENT = Path(__file__).parents[1] / "src" / "chronos_ec2" / "bundled" / "instance_types.toml"
_SMALL = "t3"
"""The family without GPUs that a smoke test runs on."""


def as_toml() -> str:
    """The list."""
    found = [described(raw) for raw in INSTANCE_TYPES.values()]
    kept = [kind for kind in found if kind.cuda or _family(kind) == _SMALL]
    lines = [_line(kind) for kind in sorted(kept, key=lambda kind: (_family(kind), kind.vcpus, kind.name))]
    return "\n".join(
        [
            f"# Instance types as EC2 describes them, from moto {version('moto')}'s copy of its answers, written by",
            "# `python -m tools.instance_types`: those with NVIDIA GPUs, and the small ones that a smoke test runs on.",
            "# A part of a GPU counts as one.",
            "",
            "[types]",
            *lines,
            "",
        ]
    )


def _family(kind: InstanceType) -> str:
    return kind.name.partition(".")[0]


def _line(kind: InstanceType) -> str:
    values: dict[str, Any] = {"vcpus": kind.vcpus, "memory_mib": kind.memory_mib}
    if kind.gpus:
        values |= {"gpus": kind.gpus, "gpu": kind.gpu, "gpu_memory_mib": kind.gpu_memory_mib, "cuda": kind.cuda}
    if kind.local_disk_gb:
        values["local_disk_gb"] = kind.local_disk_gb
    values["network"] = kind.network
    if kind.architecture != IMAGE_ARCHITECTURE:
        values["architecture"] = kind.architecture
    return f'"{kind.name}" = {{ {", ".join(f"{name} = {json.dumps(value)}" for name, value in values.items())} }}'


if __name__ == "__main__":
    DOCUMENT.write_text(as_toml())
    print(f"{DOCUMENT.name}: {as_toml().count('vcpus')} types")
