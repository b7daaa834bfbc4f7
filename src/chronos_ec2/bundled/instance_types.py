"""The instance types that come with this release, in instance_types.toml: those with NVIDIA GPUs, and small ones.

For whoever cannot ask EC2: the agent, which has no right to, and a launch that is refused the answer.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from chronos_ec2.domain.planning.instance_type import InstanceType


@cache
def bundled_types() -> dict[str, InstanceType]:
    """Every type of the list, by name."""
    table = tomllib.loads(files(__package__).joinpath("instance_types.toml").read_text())
    return {name: InstanceType(name, **values) for name, values in table["types"].items()}


def gpus_of(instance_type: str | None) -> int | None:
    """Number of GPUs of an instance type, None for one that is not in the list."""
    found = bundled_types().get(instance_type or "")
    return found.gpus if found else None
