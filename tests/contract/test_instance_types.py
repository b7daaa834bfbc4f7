"""What EC2 says of instance types, and that the list of the release says the same."""

from __future__ import annotations

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.offers.instance_types import Ec2Catalogue, described
from chronos_ec2.bundled.instance_types import bundled_types
from chronos_ec2.domain.errors import InvalidInput, NotAllowed
from chronos_ec2.domain.planning.instance_type import InstanceType
from chronos_ec2.ports import Catalogue
from chronos_ec2.services.launch.types import find_types
from chronos_ec2.testing import Faults, MemoryAws
from chronos_ec2.testing.aws_answers import refused


@pytest.fixture(params=["memory", "moto"])
def catalogue(request: pytest.FixtureRequest) -> Catalogue:
    if request.param == "memory":
        return MemoryAws().catalogue
    request.getfixturevalue("aws")
    return Ec2Catalogue(client("ec2"))


class TestCatalogue:
    def test_a_type_is_described(self, catalogue: Catalogue) -> None:
        assert catalogue.find(["g5.12xlarge"]) == {
            "g5.12xlarge": InstanceType(
                "g5.12xlarge", 48, 196608, 4, "A10G", 22888, 3800, "40 Gigabit", "x86_64", cuda=True
            )
        }

    def test_each_type_of_the_list_is_as_ec2_has_it(self, catalogue: Catalogue) -> None:
        names = [name for name in bundled_types() if name.startswith(("g", "t3."))]
        assert catalogue.find(names) == {name: bundled_types()[name] for name in names}

    def test_an_unknown_type_is_the_users_error_and_the_nearest_is_named(self, catalogue: Catalogue) -> None:
        with pytest.raises(InvalidInput, match=r"EC2 has no g5.xlrge in this region \(did you mean g5.xlarge\?\)"):
            catalogue.find(["g4dn.xlarge", "g5.xlrge"])


def raw(manufacturer: str, count: int) -> dict[str, object]:
    gpu = {"Manufacturer": manufacturer, "Name": "X", "Count": count, "MemoryInfo": {"SizeInMiB": 2861}}
    return {
        "InstanceType": "g0.large", "VCpuInfo": {"DefaultVCpus": 2}, "MemoryInfo": {"SizeInMiB": 8192},
        "ProcessorInfo": {"SupportedArchitectures": ["i386", "x86_64"]}, "GpuInfo": {"Gpus": [gpu]},
    }  # fmt: skip


def test_a_part_of_a_gpu_counts_as_one_and_another_makers_has_no_cuda() -> None:
    assert (described(raw("NVIDIA", 0)).gpus, described(raw("NVIDIA", 0)).cuda) == (1, True)
    assert (described(raw("AMD", 4)).gpus, described(raw("AMD", 4)).cuda) == (4, False)
    assert described(raw("Nvidia", 1)).architecture == "x86_64"


@pytest.mark.usefixtures("aws")
def test_without_ec2s_answer_the_list_of_the_release_has_it() -> None:
    warnings: list[str] = []
    with refused("ec2", "DescribeInstanceTypes", "UnauthorizedOperation", 403):
        found = find_types(Ec2Catalogue(client("ec2")), ["g5.xlarge", "q1.huge"], False, warnings.append)
    assert found == {"g5.xlarge": bundled_types()["g5.xlarge"]}
    assert "this release's list" in warnings[0]


def test_the_list_is_held_to_the_same_rules() -> None:
    faults = Faults()
    faults.fail("catalogue.find", NotAllowed)
    with pytest.raises(InvalidInput, match="no CUDA GPU"):
        find_types(MemoryAws(faults).catalogue, ["t3.small"], False, lambda _: None)
