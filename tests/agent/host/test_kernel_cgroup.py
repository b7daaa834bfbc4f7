"""The trainer's cgroup in the real cgroup v2 hierarchy of the kernel, which enforces its rules.

If the kernel has mounted memory in version 1, another controller with the same rules is used.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.host.cgroup import DELEGATED

ROOT = Path(__file__).parents[3]
LIMITS = {"memory": "memory.max", "hugetlb": "hugetlb.2MB.max"}
"""Controllers that allow no processes in a cgroup with children."""
AGENT = """
import json, os, subprocess, sys
from pathlib import Path
from agent.host import cgroup
mount, unit, controller, limit, own = sys.argv[1:]

def where():
    return next(line[3:] for line in Path("/proc/self/cgroup").read_text().split() if line.startswith("0::"))

def found():
    Path(own).write_text(f"0::{where()}")  # as if memory were mounted in version 2
    return cgroup.trainer_cgroup(Path(mount), Path(own), controller=cgroup.Controller(controller, (limit,)))

Path(mount, unit, "cgroup.procs").write_text(str(os.getpid()))
try:
    Path(mount, unit, "cgroup.subtree_control").write_text(f"+{controller}")
    enabled = "yes"
except OSError as error:
    enabled = error.strerror
first, second = found(), found()
of_trainer = subprocess.run([*first.command_prefix, "cat", "/proc/self/cgroup"], capture_output=True, text=True).stdout
limits = (first.path / limit).read_text().strip() if first.path else ""
print(json.dumps([enabled, str(first.path), str(second.path), where(), of_trainer.split(), limits]))
"""


@dataclass(frozen=True)
class Unit:
    """A cgroup as systemd creates it for the agent's unit. `path` is below `mount`."""

    mount: Path
    path: str
    controller: str

    @property
    def folder(self) -> Path:
        return self.mount / self.path.lstrip("/")


@pytest.fixture
def unit() -> Iterator[Unit]:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    mount = next((Path(found[1]) for found in mounts if found[2] == "cgroup2"), None)
    if mount is None or not os.access(mount / "cgroup.subtree_control", os.W_OK):
        pytest.skip("no writable cgroup v2 hierarchy")
    there = (mount / "cgroup.controllers").read_text().split()
    controller = next((name for name in LIMITS if name in there), None)
    if controller is None:
        pytest.skip(f"cgroup v2 has none of {', '.join(LIMITS)} here")
    enabled = (mount / "cgroup.subtree_control").read_text().split()
    made = Unit(mount, f"/chronos-ec2-test-{os.getpid()}", controller)
    try:
        (mount / "cgroup.subtree_control").write_text(f"+{controller}")
        made.folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be created here: {error}")
    yield made
    for folder in (made.folder / "agent", made.folder / "trainer", made.folder):
        if folder.exists():
            folder.rmdir()
    if controller not in enabled:
        (mount / "cgroup.subtree_control").write_text(f"-{controller}")


def test_agent_and_trainer_run_in_child_cgroups_of_the_unit_and_the_trainer_has_a_limit(
    unit: Unit, tmp_path: Path
) -> None:
    limit = LIMITS[unit.controller]
    arguments = [str(unit.mount), unit.path.lstrip("/"), unit.controller, limit, str(tmp_path / "own")]
    environment = os.environ | {DELEGATED: "yes", "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    done = subprocess.run(
        [sys.executable, "-c", AGENT, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    enabled, first, second, agent, trainer, limited = json.loads(done.stdout)
    # The rule because of which the agent has to move.
    assert enabled == "Device or resource busy"
    assert first == second == str(unit.folder / "trainer")
    assert agent == f"{unit.path}/agent"
    assert f"0::{unit.path}/trainer" in trainer
    assert int(limited) > 2**30
