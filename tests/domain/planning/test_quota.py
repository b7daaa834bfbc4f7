"""Which quota an instance type counts against, and whether it fits."""

from __future__ import annotations

import pytest

from chronos_ec2.domain.planning.quota import VcpuQuota, quota_of, quota_remedy
from chronos_ec2.domain.records.capacity import ON_DEMAND, SPOT


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
        assert (code or "servicequotas") in quota_remedy(instance_type, market)


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
