"""Is this box fit for the run? Named checks, each with what was found and, when it is not enough, what to do."""

from __future__ import annotations

import json
import logging
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from agent import gpu
from agent.cuda import supports
from agent.endings import RunFailed
from chronos_ec2.domain.run import Cause
from chronos_ec2.domain.text import one_line

_log = logging.getLogger(__name__)
_PACKAGES = ("torch", "chronos-forecasting", "transformers", "accelerate", "numpy", "pyarrow")
_CHRONOS_MINIMUM = (2, 3, 2)
_GB = 10**9
_CUDA_SECONDS = 300
"""Importing torch from a cold volume takes minutes."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was found, and what to do when that is not enough."""

    name: str
    ok: bool
    value: str
    remedy: str = ""


def preflight(
    workdir: Path, dataset_bytes: int, allow_cpu: bool, on_check: Callable[[], None] = lambda: None
) -> tuple[Check, ...]:
    """All checks, in order. `on_check` hears of each that is done.

    Raises:
        RunFailed: some check failed; the message names each and its remedy.
    """
    checks = []
    for check in _checks(workdir, dataset_bytes, allow_cpu):
        _log.log(logging.INFO if check.ok else logging.ERROR, "preflight %s: %s", check.name, check.value)
        checks.append(check)
        on_check()
    if failed := [check for check in checks if not check.ok]:
        text = "; ".join(f"{check.name}: {check.value} ({check.remedy})" for check in failed)
        raise RunFailed(Cause.INFRA, f"preflight: {text}")
    return tuple(checks)


def _checks(workdir: Path, dataset_bytes: int, allow_cpu: bool) -> Iterator[Check]:
    yield check_versions()
    yield check_disk(workdir, dataset_bytes, allow_cpu)
    yield check_driver(allow_cpu)
    yield check_cuda(allow_cpu)


def check_versions(installed: Callable[[str], str] = metadata.version) -> Check:
    """The packages that train are there, and Chronos is recent enough."""
    try:
        found = versions(installed)
    except metadata.PackageNotFoundError as error:
        remedy = "an AMI with AgentPackages=image has to have all of agent/requirements.txt"
        return Check("versions", ok=False, value=f"{error.name} is not installed", remedy=remedy)
    value = ", ".join(f"{name} {version}" for name, version in found.items())
    chronos = tuple(int(part) for part in found["chronos-forecasting"].split(".")[:3] if part.isdigit())
    remedy = "install chronos-forecasting 2.3.2 or later"
    return Check("versions", ok=chronos >= _CHRONOS_MINIMUM, value=value, remedy=remedy)


def versions(installed: Callable[[str], str] = metadata.version) -> dict[str, str]:
    """Version by package. Raises PackageNotFoundError."""
    return {"python": platform.python_version()} | {name: installed(name) for name in _PACKAGES}


def check_disk(
    workdir: Path, dataset_bytes: int, allow_cpu: bool, usage: Callable[[Path], Any] = shutil.disk_usage
) -> Check:
    """Room for the data set twice, once as it is and once as it is worked on, and for checkpoints."""
    # Without a GPU only toy models are trained, whose checkpoints are megabytes.
    margin = _GB // 2 if allow_cpu else 5 * _GB
    needed, free = 2 * dataset_bytes + margin, int(usage(workdir).free)
    value = f"{free / _GB:.1f} GB free, {needed / _GB:.1f} GB needed"
    return Check("disk", ok=free >= needed, value=value, remedy="launch with a larger root volume")


def check_driver(allow_cpu: bool, look: Callable[[], gpu.Driver] = gpu.look) -> Check:
    """The NVIDIA driver answers and sees a GPU."""
    try:
        driver = look()
    except gpu.NoDriver as error:
        value, ok = f"no NVIDIA driver ({one_line(str(error), 80)})", False
    else:
        names = ", ".join(f"{one.name} {one.memory / 2**30:.0f} GiB" for one in driver.gpus) or "no GPU"
        value, ok = f"driver {driver.version}, {names}", bool(driver.gpus)
    return _or_cpu(Check("gpu", ok, value, "launch a GPU instance type with an AMI that brings the driver"), allow_cpu)


def check_cuda(allow_cpu: bool, report: Callable[[], dict[str, Any]] | None = None) -> Check:
    """Torch runs a kernel on every GPU, and was built for it."""
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
        value += f", {device['name']} sm_{major}{minor}"
        if not device["works"] or not supports(found["architectures"], (major, minor)):
            architectures = " ".join(found["architectures"])
            return Check("cuda", ok=False, value=f"{value} not supported by a build for {architectures}", remedy=remedy)
    return Check("cuda", ok=True, value=value)


def _or_cpu(check: Check, allow_cpu: bool) -> Check:
    """With `allow_cpu` a missing GPU is a fact on record, not a failure."""
    if check.ok or not allow_cpu:
        return check
    return Check(check.name, ok=True, value=f"{check.value}; training on the CPU, as was allowed")


def _cuda_report() -> dict[str, Any]:
    command = [sys.executable, "-m", "agent.cuda"]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=_CUDA_SECONDS, check=False)
    if done.returncode != 0:
        raise ValueError(f"exit code {done.returncode}: {one_line(done.stderr, 4000)[-160:]}")
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def as_documents(checks: tuple[Check, ...]) -> list[dict[str, Any]]:
    """The checks for training.json."""
    return [asdict(check) for check in checks]
