"""EC2's vCPU quotas: which one an instance type counts against, and whether a launch fits into what is left of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chronos_ec2.domain.records.capacity import SPOT, Market

_CONSOLE = "https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas"
_FAMILY = re.compile(r"([a-z]+)(\d+)[a-z0-9-]*\.[a-z0-9-]+")
_STANDARD = frozenset({"a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"})


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota of an account in a region, in vCPUs. `families` are the first letters of the types that count."""

    code: str
    name: str
    families: frozenset[str]

    @property
    def remedy(self) -> str:
        """How to get more."""
        return (
            f'ask for more of the quota "{self.name}", {self.code}, in the region of the stack: {_CONSOLE}/{self.code}'
        )


_ON_DEMAND_STANDARD = Quota("L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", _STANDARD)
_ON_DEMAND_G = Quota("L-DB2E81BA", "Running On-Demand G and VT instances", frozenset({"g", "vt"}))
_ON_DEMAND_P = Quota("L-417A185B", "Running On-Demand P instances", frozenset({"p"}))
_SPOT_STANDARD = Quota("L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", _STANDARD)
_SPOT_G = Quota("L-3819A6DF", "All G and VT Spot Instance Requests", frozenset({"g", "vt"}))
_SPOT_P = Quota("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests", frozenset({"p"}))
_SPOT_P5 = Quota("L-C4BD4855", "All P5 Spot Instance Requests", frozenset({"p"}))


@dataclass(frozen=True, slots=True)
class VcpuQuota:
    """What an instance type needs of its quota, how large that is, and how much of it is in use."""

    instance_type: str
    vcpus: int
    quota: Quota
    limit: float
    used: int

    @property
    def left(self) -> str:
        """How much is not in use."""
        return f"{self.limit - self.used:g} of the account's {self.limit:g} are left"

    @property
    def problem(self) -> str | None:
        """Why an instance of this type does not fit; None if it does."""
        if self.used + self.vcpus <= self.limit:
            return None
        in_use = f", of which {self.used} are in use" if self.used else ""
        return f"{self.instance_type} needs {self.vcpus} vCPUs, and the account's quota is {self.limit:g}{in_use}"


def quota_of(instance_type: str, market: Market) -> Quota | None:
    """The quota that an instance type counts against, None for families that have no GPU for us."""
    match = _FAMILY.fullmatch(instance_type)
    letters, generation = (match[1], int(match[2])) if match else ("", 0)
    if letters in _STANDARD:
        return _SPOT_STANDARD if market == SPOT else _ON_DEMAND_STANDARD
    if letters in _ON_DEMAND_G.families:
        return _SPOT_G if market == SPOT else _ON_DEMAND_G
    if letters == "p":
        return (_SPOT_P5 if generation == 5 else _SPOT_P) if market == SPOT else _ON_DEMAND_P
    return None


def quota_remedy(instance_type: str, market: Market) -> str:
    """How to get more of the quota of an instance type."""
    quota = quota_of(instance_type, market)
    return quota.remedy if quota else f"ask for more in Service Quotas: {_CONSOLE}"
