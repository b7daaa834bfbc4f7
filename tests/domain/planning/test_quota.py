"""Which quota an instance type counts against, and whether it fits."""

from __future__ import annotations

import pytest

from chronos_ec2.domain.planning.quota import VcpuQuota, quota_of, quota_remedy
from chronos_ec2.domain.records.capacity import ON_DEMAND, SPOT

NAMES = {
    "L-1216C47A": "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
    "L-DB2E81BA": "Running On-Demand G and VT instances",
    "L-417A185B": "Running On-Demand P instances",
    "L-34B43A08": "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
    "L-3819A6DF": "All G and VT Spot Instance Requests",
    "L-7212CCBC": "All P4, P3 and P2 Spot Instance Requests",
    "L-C4BD4855": "All P5 Spot Instance Requests",
}
"""As Service Quotas has them."""


@pytest.mark.parametrize(
    ("instance_type", "on_demand", "spot"),
    [
        ("g4dn.xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("g5.48xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("g6e.xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("vt1.3xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("p3.2xlarge", "L-417A185B", "L-7212CCBC"),
        ("p4d.24xlarge", "L-417A185B", "L-7212CCBC"),
        ("p5.48xlarge", "L-417A185B", "L-C4BD4855"),
        ("p5en.48xlarge", "L-417A185B", "L-C4BD4855"),
        ("c7i.2xlarge", "L-1216C47A", "L-34B43A08"),
        ("m5.xlarge", "L-1216C47A", "L-34B43A08"),
        ("im4gn.xlarge", "L-1216C47A", "L-34B43A08"),
        *((f"{letters}4.xlarge", "L-1216C47A", "L-34B43A08") for letters in ["a", "d", "h", "i", "is", "r", "t", "z"]),
        ("inf2.xlarge", None, None),
        ("trn1.2xlarge", None, None),
        ("hpc7a.12xlarge", None, None),
        ("u-6tb1.56xlarge", None, None),
        ("nonsense", None, None),
    ],
)
def test_each_type_counts_against_its_quota(instance_type: str, on_demand: str | None, spot: str | None) -> None:
    for market, code in ((ON_DEMAND, on_demand), (SPOT, spot)):
        quota = quota_of(instance_type, market)
        assert (quota.code if quota else None) == code
        console = "https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas"
        assert quota_remedy(instance_type, market) == (
            f'ask for more of the quota "{NAMES[code]}", {code}, in the region of the stack: {console}/{code}'
            if code
            else f"ask for more in Service Quotas: {console}"
        )


@pytest.mark.parametrize(
    ("limit", "used", "problem"),
    [
        (8, 0, None),
        (16, 8, None),
        (0, 0, "g4dn.2xlarge needs 8 vCPUs, and the account's quota is 0"),
        (7, 0, "g4dn.2xlarge needs 8 vCPUs, and the account's quota is 7"),
        (15, 8, "g4dn.2xlarge needs 8 vCPUs, and the account's quota is 15, of which 8 are in use"),
    ],
)
def test_what_fits(limit: float, used: int, problem: str | None) -> None:
    quota = quota_of("g4dn.2xlarge", ON_DEMAND)
    assert quota is not None
    assert VcpuQuota("g4dn.2xlarge", 8, quota, limit, used).problem == problem


def test_what_is_left_of_a_quota() -> None:
    quota = quota_of("g4dn.2xlarge", ON_DEMAND)
    assert quota is not None
    assert VcpuQuota("g4dn.2xlarge", 8, quota, 16.0, 12).left == "4 of the account's 16 are left"
