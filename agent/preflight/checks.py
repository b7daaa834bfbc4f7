"""Checks that this instance can run the training. Each has a name, a value, and a remedy if it fails."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, assert_never

from agent.errors import RunFailed
from agent.host import nvml
from agent.host.kernel_events import KERNEL_LOG, xids
from agent.host.precision import precision_of
from agent.preflight.cuda_probe import supports
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.status import Cause

_log = logging.getLogger(__name__)
_PACKAGES = ("torch", "chronos-forecasting", "transformers", "accelerate", "numpy", "pyarrow")
_CHRONOS_MINIMUM = (2, 3, 2)
_GB = 10**9
_FATAL_SLOWDOWNS = frozenset({"hardware slowdown", "hardware thermal slowdown", "power brake"})
"""Reasons to fail: an idle GPU is not throttled by its load."""
_XIDS_SHOWN = 5
_CUDA_SECONDS = 300
"""Importing torch from a cold volume takes minutes."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. `elsewhere` says that another instance may pass it."""

    name: str
    ok: bool
    value: str
    remedy: str = ""
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Needs:
    """What the run needs. `gpus` is the number of GPUs of its instance type, None if unknown."""

    dataset_bytes: int
    allow_cpu: bool
    gpus: int | None = None


def preflight(
    workdir: Path,
    needs: Needs,
    driver: nvml.Driver | nvml.NoDriver,
    on_check: Callable[[Check], None],
    clock_offset: timedelta | None = None,
) -> None:
    """Run all checks in order, and pass each result to `on_check`, failed or not.

    Raises:
        RunFailed: a check failed. The message names every failed check and its remedy.
    """
    _report(_checks(workdir, needs, driver, clock_offset), on_check)


def check_packages(on_check: Callable[[Check], None]) -> None:
    """Run the check of what the agent has installed beside the others. Raises RunFailed."""
    _report([check_versions()], on_check)


def _report(checks: Iterable[Check], on_check: Callable[[Check], None]) -> None:
    failed = []
    for check in checks:
        _log.log(logging.INFO if check.ok else logging.ERROR, "preflight %s: %s", check.name, check.value)
        on_check(check)
        if not check.ok:
            failed.append(check)
    if failed:
        text = "; ".join(f"{check.name}: {check.value} ({check.remedy})" for check in failed)
        elsewhere = all(check.elsewhere for check in failed)
        hint = "; another instance may work, launch again" if elsewhere else ""
        raise RunFailed(Cause.INFRA, f"preflight: {text}{hint}", elsewhere)


def _checks(
    workdir: Path, needs: Needs, driver: nvml.Driver | nvml.NoDriver, clock_offset: timedelta | None
) -> Iterator[Check]:
    yield check_disk(workdir, needs.dataset_bytes, needs.allow_cpu)
    yield check_clock(clock_offset)
    yield check_driver(driver, needs)
    yield check_health(driver)
    yield check_kernel_log()
    yield check_cuda(needs.allow_cpu, len(driver.gpus) if isinstance(driver, nvml.Driver) else 0)


def check_versions(installed: Callable[[str], str] = metadata.version) -> Check:
    """The training packages are installed, and Chronos is recent enough."""
    found = versions(installed)
    if missing := [name for name in _PACKAGES if name not in found]:
        remedy = "an AMI with AgentPackages=image has to have all of agent/requirements.txt"
        return Check("versions", ok=False, value=f"{missing[0]} is not installed", remedy=remedy)
    value = ", ".join(f"{name} {version}" for name, version in found.items())
    chronos = tuple(int(part) for part in found["chronos-forecasting"].split(".")[:3] if part.isdigit())
    remedy = "install chronos-forecasting 2.3.2 or later"
    return Check("versions", ok=chronos >= _CHRONOS_MINIMUM, value=value, remedy=remedy)


def versions(installed: Callable[[str], str] = metadata.version) -> dict[str, str]:
    """Versions by package name, as far as the packages are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = installed(name)
    return found


def check_disk(
    workdir: Path, dataset_bytes: int, allow_cpu: bool, usage: Callable[[Path], Any] = shutil.disk_usage
) -> Check:
    """There is room for the data set as Parquet and as a panel, and for checkpoints."""
    # Without a GPU only tiny models are trained, with checkpoints of a few megabytes. Otherwise there may be four of
    # 2.3 GB: 120 M parameters with the state of AdamW, the best weights and the average.
    margin = _GB // 2 if allow_cpu else 10 * _GB
    # A panel is 1.5 times as large as compressed Parquet of random numbers, and more if they compress well.
    needed, free = 4 * dataset_bytes + margin, int(usage(workdir).free)
    value = f"{free / _GB:.1f} GB free, {needed / _GB:.1f} GB needed"
    return Check("disk", ok=free >= needed, value=value, remedy="launch with a larger root volume")


def check_clock(offset: timedelta | None) -> Check:
    """How far the clock of the instance is from S3's, to read its logs by. Never fails."""
    value = "unknown" if offset is None else f"{offset.total_seconds():+.0f} s from S3's"
    return Check("clock", ok=True, value=value)


def check_driver(driver: nvml.Driver | nvml.NoDriver, needs: Needs) -> Check:
    """The NVIDIA driver answers, and sees all GPUs of the instance type."""
    match driver:
        case nvml.GpuLost():
            return Check("gpu", ok=False, value=one_line(str(driver), 80), remedy="the GPU is broken", elsewhere=True)
        case nvml.NoDriver():
            value, count = f"no NVIDIA driver ({one_line(str(driver), 80)})", 0
        case nvml.Driver(version, gpus):
            names = ", ".join(f"{one.name} {one.memory / 2**30:.0f} GiB" for one in gpus) or "no GPU"
            value, count = f"driver {version}, {names}", len(gpus)
        case _:
            assert_never(driver)
    if count and needs.gpus is not None and count < needs.gpus:
        value, remedy = f"{value}: {count} of {needs.gpus}", "a GPU of this instance is broken"
        return Check("gpu", ok=False, value=value, remedy=remedy, elsewhere=True)
    remedy = "launch a GPU instance type with an AMI that brings the driver"
    return _or_cpu(Check("gpu", count > 0, value, remedy), needs.allow_cpu)


def check_health(driver: nvml.Driver | nvml.NoDriver) -> Check:
    """No GPU has uncorrected memory errors, and none is throttled by its hardware. Passes without GPUs."""
    if not isinstance(driver, nvml.Driver):
        return Check("gpu_health", ok=True, value=f"unknown ({one_line(str(driver), 80)})")
    failed = [one for one in driver.gpus if one.uncorrected_errors or _FATAL_SLOWDOWNS.intersection(one.slowed_by)]
    value = "; ".join(_health(one) for one in driver.gpus) or "no GPU"
    return Check("gpu_health", ok=not failed, value=value, remedy="the GPU is broken or too hot", elsewhere=True)


def _health(one: nvml.Gpu) -> str:
    errors = (
        "memory errors not counted" if one.uncorrected_errors is None else f"{one.uncorrected_errors} memory errors"
    )
    slowed = f", slowed by {' and '.join(one.slowed_by)}" if one.slowed_by else ""
    persistence = {True: ", persistence on", False: ", persistence off", None: ""}[one.persistence]
    return f"{one.name}: {errors}{slowed}{persistence}"


def check_kernel_log(kernel_log: Path = KERNEL_LOG) -> Check:
    """The driver has logged no hardware fault since boot."""
    if not os.access(kernel_log, os.R_OK):
        return Check("kernel_log", ok=True, value="unknown: no permission to read it")
    found = xids(kernel_log)
    value = "; ".join(str(one) for one in found[-_XIDS_SHOWN:]) or "no Xid errors"
    fatal = any(one.fatal for one in found)
    return Check("kernel_log", ok=not fatal, value=value, remedy="the GPU needs a reset or a repair", elsewhere=True)


def check_cuda(allow_cpu: bool, gpus: int = 0, report: Callable[[], dict[str, Any]] | None = None) -> Check:
    """Torch was built for every one of the driver's `gpus`, and runs a kernel on it."""
    remedy = "use an AMI whose torch is built for this GPU and driver"
    try:
        found = (report or _cuda_report)()
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return Check("cuda", ok=False, value=f"torch does not answer: {one_line(str(error), 160)}", remedy=remedy)
    devices = found["devices"]
    value = f"torch {found['torch']}, built for CUDA {found['built_for']}"
    if not devices:
        return _or_cpu(Check("cuda", ok=False, value=f"{value}, no device", remedy=remedy), allow_cpu)
    for device in devices:
        major, minor = device["capability"]
        value += f", {device['name']} sm_{major}{minor} for {precision_of(major)}"
        if not device["works"] or not supports(found["architectures"], (major, minor)):
            architectures = " ".join(found["architectures"])
            return Check("cuda", ok=False, value=f"{value} not supported by a build for {architectures}", remedy=remedy)
    if len(devices) < gpus:
        value, remedy = f"{value}: {len(devices)} of the driver's {gpus} GPUs", "a GPU of this instance does not work"
        return Check("cuda", ok=False, value=value, remedy=remedy, elsewhere=True)
    return Check("cuda", ok=True, value=value)


def _or_cpu(check: Check, allow_cpu: bool) -> Check:
    """With `allow_cpu` a missing GPU is recorded but is no failure."""
    if check.ok or not allow_cpu:
        return check
    return Check(check.name, ok=True, value=f"{check.value}; training on the CPU, as allowed")


@cache
def _cuda_report() -> dict[str, Any]:
    # Cached: what torch sees does not change while this process runs.
    command = [sys.executable, "-m", "agent.preflight.cuda_probe"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=_CUDA_SECONDS, check=False)
    if done.returncode != 0:
        raise ValueError(f"exit code {done.returncode}: {one_line(done.stderr, 4000)[-160:]}")
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def as_documents(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """The checks for run.json."""
    return [asdict(check) for check in checks]
