"""Each check reports what it found, and what to do if it fails."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.errors import RunFailed
from agent.host import nvml
from agent.host.precision import precision_of
from agent.preflight.checks import (
    Check,
    Needs,
    check_clock,
    check_cuda,
    check_disk,
    check_driver,
    check_kernel_log,
    check_packages,
    check_versions,
    preflight,
    versions,
)
from agent.preflight.cuda_probe import supports
from chronos_ec2.bundled.instance_types import gpus_of
from chronos_ec2.domain.records.status import Cause

T4 = nvml.Driver("580.65", (nvml.Gpu("Tesla T4", 16 * 2**30),))


NO_DRIVER = nvml.NoDriver("NVML Shared Library Not Found")
GPU_NEEDED, CPU_ALLOWED = Needs(1000, allow_cpu=False), Needs(1000, allow_cpu=True)


def a_report(capability: tuple[int, int] = (7, 5), works: bool = True, **changes: Any) -> Callable[[], dict[str, Any]]:
    device = {"name": "Tesla T4", "capability": list(capability), "works": works}
    report = {"torch": "2.13.0", "built_for": "13.0", "architectures": ["sm_75", "sm_80"], "devices": [device]}
    return lambda: report | changes


def disk_with(free: float) -> Callable[[Path], Any]:
    return lambda _: SimpleNamespace(free=free)


def test_a_driver_with_a_gpu_passes() -> None:
    check = check_driver(T4, GPU_NEEDED)
    assert (check.ok, check.value) == (True, "driver 580.65, Tesla T4 16 GiB")


@pytest.mark.parametrize("driver", [NO_DRIVER, nvml.Driver("580.65", ())])
def test_no_gpu_fails_unless_the_cpu_is_allowed(driver: nvml.Driver | nvml.NoDriver) -> None:
    refused, allowed = check_driver(driver, GPU_NEEDED), check_driver(driver, CPU_ALLOWED)
    assert not refused.ok
    assert "launch a GPU instance type" in refused.remedy
    assert allowed.ok
    assert "training on the CPU, as allowed" in allowed.value


@pytest.mark.parametrize("allow_cpu", [False, True])
def test_an_instance_with_fewer_gpus_than_its_type_fails_and_another_may_work(allow_cpu: bool) -> None:
    four = gpus_of("g4dn.12xlarge")
    check = check_driver(T4, Needs(1000, allow_cpu, gpus=four))
    assert (check.ok, check.elsewhere) == (False, True)
    assert check.value == "driver 580.65, Tesla T4 16 GiB: 1 of 4"


@pytest.mark.parametrize("instance_type", ["g4dn.2xlarge", "g4dn.unknown", None])
def test_all_gpus_of_the_type_or_an_unknown_type_pass(instance_type: str | None) -> None:
    assert check_driver(T4, Needs(1000, allow_cpu=False, gpus=gpus_of(instance_type))).ok


def test_a_gpu_that_torch_does_not_see_fails() -> None:
    check = check_cuda(allow_cpu=True, gpus=2, report=a_report())
    assert (check.ok, check.elsewhere) == (False, True)
    assert check.value.endswith(": 1 of the driver's 2 GPUs")
    assert check_cuda(allow_cpu=True, gpus=1, report=a_report()).ok


def test_torch_without_a_device_fails_unless_the_cpu_is_allowed() -> None:
    assert not check_cuda(allow_cpu=False, report=a_report(devices=[])).ok
    assert check_cuda(allow_cpu=True, report=a_report(devices=[])).ok


def test_a_gpu_that_the_build_supports_passes() -> None:
    check = check_cuda(allow_cpu=False, report=a_report())
    assert (check.ok, check.value) == (True, "torch 2.13.0, built for CUDA 13.0, Tesla T4 sm_75 for fp16")


@pytest.mark.parametrize("report", [a_report(capability=(7, 0)), a_report(works=False)])
def test_a_gpu_that_runs_no_kernel_fails_even_if_the_cpu_is_allowed(report: Callable[[], dict[str, Any]]) -> None:
    check = check_cuda(allow_cpu=True, report=report)
    assert not check.ok
    assert "not supported by a build for sm_75 sm_80" in check.value


def test_a_torch_that_hangs_times_out() -> None:
    def hang() -> dict[str, Any]:
        raise subprocess.TimeoutExpired("agent.preflight.cuda_probe", 300)

    check = check_cuda(allow_cpu=True, report=hang)
    assert not check.ok
    assert "timed out after 300 seconds" in check.value


@pytest.mark.parametrize(
    ("architectures", "capability", "fits"),
    [
        (["sm_75"], (7, 5), True),
        (["sm_80"], (8, 6), True),
        (["sm_86"], (8, 0), False),
        (["sm_80"], (9, 0), False),
        (["sm_80", "compute_80"], (9, 0), True),
        (["compute_90"], (8, 0), False),
        (["sm_90a"], (9, 0), True),
        (["sm_120"], (12, 0), True),
        ([], (8, 0), False),
    ],
)
def test_which_builds_run_on_which_gpus(architectures: list[str], capability: tuple[int, int], fits: bool) -> None:
    assert supports(architectures, capability) is fits


def test_the_disk_must_hold_the_data_their_panel_and_checkpoints() -> None:
    """Four checkpoints of 2.3 GB, and a panel three times as large as the files."""
    assert check_disk(Path(), 10**9, allow_cpu=False, usage=disk_with(14.1e9)).ok
    assert not check_disk(Path(), 10**9, allow_cpu=False, usage=disk_with(13.9e9)).ok
    assert check_disk(Path(), 10**9, allow_cpu=True, usage=disk_with(4.6e9)).ok
    assert not check_disk(Path(), 10**9, allow_cpu=True, usage=disk_with(4.4e9)).ok


def test_versions_are_named_and_an_old_chronos_is_refused() -> None:
    assert "chronos-forecasting 2.3.2" in check_versions(lambda _: "2.3.2").value
    assert not check_versions(lambda _: "2.2.0").ok


def test_a_missing_package_is_named() -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    assert check_versions(missing).value == "torch is not installed"
    assert set(versions(missing)) == {"python"}, "run.json has what is there, however early a run ends"


def test_this_machine_passes_if_the_cpu_is_allowed(tmp_path: Path) -> None:
    checks: list[Check] = []
    preflight(tmp_path, CPU_ALLOWED, nvml.query_driver(), checks.append)
    assert [check.name for check in checks] == [
        "disk", "clock", "gpu", "gpu_health", "kernel_log", "cuda"
    ]  # fmt: skip
    assert all(check.ok for check in checks)
    check_packages(checks.append)
    assert checks[-1].name == "versions"
    assert checks[-1].ok


def test_failed_checks_are_reported_too(tmp_path: Path) -> None:
    checks: list[Check] = []
    with pytest.raises(RunFailed) as caught:
        preflight(tmp_path, GPU_NEEDED, nvml.GpuLost("GPU is lost"), checks.append)
    assert (len(checks), checks[2].ok, checks[2].elsewhere) == (6, False, True)
    assert caught.value.verdict.cause is Cause.INFRA


def test_another_instance_is_no_help_if_one_of_several_checks_fails_on_every_instance(tmp_path: Path) -> None:
    needs = Needs(dataset_bytes=10**15, allow_cpu=True)
    with pytest.raises(RunFailed) as caught:
        preflight(tmp_path, needs, nvml.GpuLost("GPU is lost"), lambda _check: None)
    assert "disk: " in str(caught.value)
    assert "gpu: GPU is lost" in str(caught.value)
    assert not caught.value.elsewhere
    assert "another instance" not in str(caught.value)


@pytest.mark.skipif(nvml.utilisation() is not None, reason="this machine has a GPU")
def test_this_machine_fails_if_a_gpu_is_required(tmp_path: Path) -> None:
    with pytest.raises(RunFailed) as caught:
        preflight(tmp_path, GPU_NEEDED, nvml.query_driver(), lambda _check: None)
    assert caught.value.verdict.cause is Cause.INFRA
    assert not caught.value.elsewhere
    assert "gpu: no NVIDIA driver" in str(caught.value)
    assert "launch a GPU instance type" in str(caught.value)


def test_a_wrong_clock_is_reported_but_does_not_fail() -> None:
    assert check_clock(timedelta(hours=-2)) == Check("clock", ok=True, value="-7200 s from S3's")
    assert check_clock(None).value == "unknown"


@pytest.mark.parametrize(("major", "precision"), [(6, "fp32"), (7, "fp16"), (8, "bf16"), (12, "bf16")])
def test_precision_follows_from_the_capability(major: int, precision: str) -> None:
    assert precision_of(major) == precision


def test_a_hardware_fault_since_boot_fails_and_a_fault_of_the_program_does_not(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_text("4,1,10,-;NVRM: Xid (PCI:0000:00:1e): 13, Graphics Exception\n")
    assert check_kernel_log(log) == Check(
        "kernel_log",
        ok=True,
        value="Xid 13 on PCI:0000:00:1e",
        remedy="the GPU needs a reset or a repair",
        elsewhere=True,
    )
    with log.open("a") as stream:
        stream.write("4,2,20,-;NVRM: Xid (PCI:0000:00:1e): 79, GPU has fallen off the bus.\n")
    failed = check_kernel_log(log)
    assert (failed.ok, failed.elsewhere) == (False, True)
    assert failed.value.endswith("Xid 79 on PCI:0000:00:1e: GPU has fallen off the bus")


def test_an_unreadable_kernel_log_passes(tmp_path: Path) -> None:
    assert check_kernel_log(tmp_path / "none") == Check(
        "kernel_log", ok=True, value="unknown: no permission to read it"
    )
