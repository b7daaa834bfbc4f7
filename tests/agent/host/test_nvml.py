"""The GPU checks against a fake library with NVML's ABI, in child processes: a process cannot unload NVML."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agent.host.nvml import UtilisationSampler
from tests.agent.builders import FakeTime

ROOT = Path(__file__).parents[3]
ASK = """
import json, sys
from dataclasses import asdict
from agent.host import nvml
from agent.preflight.checks import Needs, check_driver, check_health
driver = nvml.query_driver()
checks = [check_driver(driver, Needs(0, allow_cpu=False)), check_health(driver)]
load = nvml.load()
found = {"utilisation": nvml.utilisation(), "memory": load and load.memory}
json.dump({"checks": [asdict(check) for check in checks]} | found, sys.stdout)
"""


HANG = """
import json, os, sys, time
from agent.host import nvml
driver = nvml.query_driver(seconds=0.3)
with nvml.UtilisationSampler() as sampler:
    # The shortest of several calls, because the machine may be busy.
    took = 60.0
    for _ in range(20):
        asked = time.monotonic()
        value = sampler.read()
        took = min(took, time.monotonic() - asked)
json.dump({"driver": str(driver), "lost": isinstance(driver, nvml.GpuLost), "value": value, "took": took}, sys.stdout)
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the fake library."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the library")
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("fake_nvml.c")
    subprocess.run(
        [compiler, "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", source],
        check=True,
    )
    return folder


def run_script(library: Path, script: str, **values: int) -> dict[str, Any]:
    variables = (
        os.environ | {"LD_LIBRARY_PATH": str(library)} | {f"FAKE_{k.upper()}": str(v) for k, v in values.items()}
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=variables, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def ask(library: Path, **values: int) -> dict[str, Any]:
    """The checks and the load, by name."""
    found = run_script(library, ASK, **values)
    return found | {check["name"]: check for check in found["checks"]}


def test_healthy_gpus_are_counted_and_named(library: Path) -> None:
    found = ask(library, gpus=2, ecc=0, persistence=1)
    assert (found["gpu"]["ok"], found["gpu"]["value"]) == (
        True, "driver 580.65.06, Tesla T4 16 GiB, Tesla T4 16 GiB"
    )  # fmt: skip
    assert found["gpu_health"]["ok"]
    assert found["gpu_health"]["value"] == "; ".join(["Tesla T4: 0 memory errors, persistence on"] * 2)
    assert (found["utilisation"], found["memory"]) == (60, 6 * 2**30)


def test_values_that_a_card_does_not_report_are_no_failure(library: Path) -> None:
    health = ask(library)["gpu_health"]
    assert (health["ok"], health["value"]) == (True, "Tesla T4: memory errors not counted")


def test_memory_errors_fail_and_another_instance_may_work(library: Path) -> None:
    health = ask(library, ecc=3, persistence=0)["gpu_health"]
    assert (health["ok"], health["elsewhere"]) == (False, True)
    assert health["value"] == "Tesla T4: 3 memory errors, persistence off"


@pytest.mark.parametrize(
    ("bits", "ok", "text"),
    [
        (0x1, True, ""),  # idle
        (0x4, True, ", slowed by power cap"),
        (0x20, True, ", slowed by thermal slowdown"),
        (0x8, False, ", slowed by hardware slowdown"),
        (0x48, False, ", slowed by hardware slowdown and hardware thermal slowdown"),
        (0x80, False, ", slowed by power brake"),
    ],
)
def test_a_gpu_throttled_by_its_hardware_fails(library: Path, bits: int, ok: bool, text: str) -> None:
    health = ask(library, ecc=0, slowed=bits)["gpu_health"]
    assert (health["ok"], health["value"]) == (ok, f"Tesla T4: 0 memory errors{text}")


def test_a_lost_gpu_fails_and_another_instance_may_work(library: Path) -> None:
    found = ask(library, lost=1)
    assert (found["gpu"]["ok"], found["gpu"]["elsewhere"], found["gpu"]["value"]) == (False, True, "GPU is lost")
    assert (found["utilisation"], found["memory"]) == (None, None)


def test_a_missing_driver_is_a_fault_of_the_image(library: Path) -> None:
    gpu = ask(library, init=9)["gpu"]
    assert (gpu["ok"], gpu["elsewhere"]) == (False, False)
    assert "no NVIDIA driver (Driver Not Loaded)" in gpu["value"]


def test_a_driver_without_a_gpu_fails(library: Path) -> None:
    found = ask(library, gpus=0)
    assert not found["gpu"]["ok"]
    assert found["gpu_health"]["value"] == "no GPU"


def test_nothing_waits_for_a_driver_that_hangs(library: Path) -> None:
    found = run_script(library, HANG, hang=60)
    assert (found["lost"], found["driver"]) == (True, "the driver has not answered for 0 s")
    assert found["value"] is None
    assert found["took"] < 0.1


def test_the_latest_utilisation_is_used_until_it_is_too_old() -> None:
    clock, hangs = FakeTime(), threading.Event()
    answers = iter([60.0])

    def sample() -> float:
        for answer in answers:
            return answer
        hangs.wait(600)
        return 0.0

    with UtilisationSampler(sample, 0.01, clock) as sampler:
        deadline = time.monotonic() + 300
        while sampler.read() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert sampler.read() == 60.0
        clock.advance(61)
        assert sampler.read() is None
        hangs.set()
