"""The trainer's cgroup, in folders that look like cgroups of either version."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.host.cgroup import DELEGATED, TrainerCgroup, trainer_cgroup, trainer_oom_kills

GIB = 2**30
UNIT = "system.slice/chronos-agent.service"


@dataclass(frozen=True)
class Kernel:
    """A machine with 16 GiB. The kernel creates the files of a new cgroup, so here they exist in advance."""

    root: Path
    home: Path
    limit: str
    own: str

    def trainer(self) -> TrainerCgroup:
        (self.root / "own").write_text(self.own)
        (self.root / "meminfo").write_text(f"MemTotal: {16 * 1024**2} kB\nMemFree: 1 kB\n")
        return trainer_cgroup(self.root, self.root / "own", self.root / "meminfo")

    def allow(self, limit: str) -> None:
        (self.home / self.limit).write_text(f"{limit}\n")


@pytest.fixture(params=[1, 2])
def kernel(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setenv(DELEGATED, "yes")
    if request.param == 1:
        own = f"4:memory:/{UNIT}\n1:name=systemd:/{UNIT}\n0::/{UNIT}\n"
        kernel = Kernel(tmp_path, tmp_path / "memory" / UNIT, "memory.limit_in_bytes", own)
        unlimited = str(2**63 - 4096)
    else:
        kernel = Kernel(tmp_path, tmp_path / UNIT, "memory.max", f"0::/{UNIT}\n")
        unlimited = "max"
        kernel.home.mkdir(parents=True)
        (kernel.home / "cgroup.controllers").write_text("memory\n")
        (kernel.home / "agent").mkdir()
    trainer = kernel.home / "trainer"
    trainer.mkdir(parents=True)
    (trainer / kernel.limit).touch()
    kernel.allow(unlimited)
    return kernel


def test_the_trainer_gets_all_memory_except_one_gibibyte(kernel: Kernel) -> None:
    kernel.trainer()
    assert (kernel.home / "trainer" / kernel.limit).read_text() == str(15 * GIB)


def test_if_the_unit_has_a_limit_the_trainer_gets_three_quarters_of_it(kernel: Kernel) -> None:
    kernel.allow(str(GIB))
    kernel.trainer()
    assert (kernel.home / "trainer" / kernel.limit).read_text() == str(GIB * 3 // 4)


def test_a_command_runs_in_the_cgroup_as_the_process_that_was_started(kernel: Kernel) -> None:
    command = [*kernel.trainer().command_prefix, "sh", "-c", 'test "$1" = "a b" && echo $$', "sh", "a b"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.communicate()[0].strip() == str(process.pid)
    assert (kernel.home / "trainer" / "cgroup.procs").read_text().strip() == str(process.pid)


def test_a_command_runs_even_if_it_cannot_join_the_cgroup(kernel: Kernel) -> None:
    prefix = kernel.trainer().command_prefix
    shutil.rmtree(kernel.home)
    done = subprocess.run([*prefix, "sh", "-c", "exit 7"], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 7
    assert "cgroup.procs" in done.stderr


def test_oom_kills_are_counted(kernel: Kernel) -> None:
    kernel.trainer()
    own = kernel.root / "own"
    assert trainer_oom_kills(kernel.root, own) is None
    if kernel.limit == "memory.max":
        (kernel.home / "trainer" / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\n")
    else:
        (kernel.home / "trainer" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    assert trainer_oom_kills(kernel.root, own) == 2
    own.write_text(kernel.own.replace(".service", ".service/agent"))
    assert trainer_oom_kills(kernel.root, own) == 2


def test_without_delegation_nothing_is_counted(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DELEGATED)
    assert trainer_oom_kills(kernel.root, kernel.root / "own") is None


@pytest.mark.parametrize("kernel", [2], indirect=True)
def test_in_version_2_the_agent_moves_into_a_child_cgroup(kernel: Kernel) -> None:
    shutil.rmtree(kernel.home / "trainer")
    kernel.trainer()
    assert (kernel.home / "agent" / "cgroup.procs").read_text() == str(os.getpid())
    assert (kernel.home / "cgroup.subtree_control").read_text() == "+memory"


def test_a_second_trainer_gets_the_same_cgroup(kernel: Kernel) -> None:
    moved = Kernel(kernel.root, kernel.home, kernel.limit, kernel.own.replace(".service", ".service/agent"))
    assert moved.trainer().path == kernel.trainer().path == kernel.home / "trainer"


def test_without_delegation_no_cgroup_is_created(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DELEGATED)
    assert kernel.trainer().command_prefix == ()


def test_without_a_memory_controller_the_trainer_runs_without_a_limit(
    kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    (kernel.home / "trainer" / kernel.limit).unlink()
    assert kernel.trainer() == TrainerCgroup()
    assert "the trainer's memory is not limited" in caplog.text
