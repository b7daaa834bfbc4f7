"""What an instance type is, and which of them a run can use."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chronos_ec2.bundled.instance_types import bundled_types
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.planning.instance_type import InstanceType, check_usable, unknown_type

G5 = bundled_types()["g5.12xlarge"]


def test_a_type_is_shown_in_words() -> None:
    assert str(G5) == "4 x A10G 22 GiB, 48 cores, 192 GiB"
    assert str(replace(G5, gpu_memory_mib=1000 * 1024)) == "4 x A10G 1000 GiB, 48 cores, 192 GiB"
    assert str(bundled_types()["t3.small"]) == "2 cores, 2 GiB, no GPU"


def test_every_gpu_of_the_list_has_a_compute_capability() -> None:
    with_gpu = {name: kind for name, kind in bundled_types().items() if kind.gpus}
    assert len(with_gpu) > 60
    assert {name for name, kind in with_gpu.items() if kind.compute_capability is None} == set()
    assert bundled_types()["g5.xlarge"].compute_capability == "8.6"
    assert replace(G5, gpu="Radeon Pro V520", cuda=False).compute_capability is None


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("p3dn.24xlarge", "7.0"), ("g4dn.xlarge", "7.5"), ("g5g.xlarge", "7.5"), ("p4d.24xlarge", "8.0"),
        ("g5.xlarge", "8.6"), ("g6.xlarge", "8.9"), ("g6e.xlarge", "8.9"), ("p5.48xlarge", "9.0"),
        ("p5e.48xlarge", "9.0"), ("p6-b200.48xlarge", "10.0"), ("p6-b300.48xlarge", "10.3"),
        ("g7.2xlarge", "12.0"), ("g7e.2xlarge", "12.0"),
    ],
)  # fmt: skip
def test_the_compute_capabilities_are_nvidias(name: str, capability: str) -> None:
    assert bundled_types()[name].compute_capability == capability


@pytest.mark.parametrize("family", ["g4dn", "g5", "g6", "g6e", "gr6", "p4d", "p4de", "p5", "p5e", "p5en", "p6-b200"])
def test_each_family_with_gpus_is_in_the_list(family: str) -> None:
    found = [kind for name, kind in bundled_types().items() if name.partition(".")[0] == family]
    assert found
    assert all(kind.cuda and kind.gpu_memory_mib > 12_000 and kind.vcpus and kind.memory_mib for kind in found)


def test_a_type_without_a_cuda_gpu_needs_a_word_for_it() -> None:
    small = bundled_types()["t3.small"]
    with pytest.raises(InvalidInput, match=r"--instance-type: t3.small has no CUDA GPU \(give --allow-cpu"):
        check_usable(small, allow_cpu=False)
    check_usable(small, allow_cpu=True)
    check_usable(G5, allow_cpu=False)
    with pytest.raises(InvalidInput, match="no CUDA GPU"):
        check_usable(replace(G5, name="g4ad.xlarge", gpu="Radeon Pro V520", cuda=False), allow_cpu=False)


@pytest.mark.parametrize("allow_cpu", [True, False])
def test_no_run_can_use_a_type_of_another_architecture(allow_cpu: bool) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_usable(bundled_types()["g5g.xlarge"], allow_cpu=allow_cpu)
    assert str(refused.value) == (
        "--instance-type: g5g.xlarge is arm64, and the stack's image is for x86_64 (take a type such as g5.xlarge)"
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("g5.xlrge", "did you mean g5.xlarge?"),
        ("g6.2xlage", "did you mean g6.2xlarge?"),
        ("p9.nonsuch", "not every region has every type"),
        ("p5.48xlarge", "not every region has every type"),
    ],
)
def test_the_error_about_an_unknown_type_names_the_nearest(name: str, hint: str) -> None:
    error = unknown_type(name, bundled_types())
    assert (str(error), error.hint) == (f"--instance-type: EC2 has no {name} in this region ({hint})", hint)


def test_a_type_says_nothing_of_what_it_does_not_have() -> None:
    kind = InstanceType("x1.large", 2, 4096)
    assert (kind.gpus, kind.gpu, kind.gpu_memory_mib, kind.local_disk_gb, kind.network) == (0, "", 0, 0, "")
    assert (kind.architecture, kind.cuda, kind.compute_capability) == ("x86_64", False, None)
