"""A failed demo prints the logs that say why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chronos_ec2.local.demo import newest_logs
from chronos_ec2.local.state_dir import StateDir


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = StateDir(tmp_path)
    state.log("ec2").write_text("i-1 is up\n")
    return state


def write_logs(state: StateDir, instance_id: str, age: int, **logs: str) -> None:
    disk = state.instances / instance_id
    (disk / "work" / "logs").mkdir(parents=True)
    for name, text in logs.items():
        (disk / ("boot.log" if name == "boot" else "work/logs/trainer.log")).write_text(text)
    os.utime(disk, (10**9 - age, 10**9 - age))


def test_the_newest_instance_is_the_one_that_is_shown(state: StateDir) -> None:
    write_logs(state, "i-old", age=10, boot="the one before\n")
    write_logs(state, "i-new", age=0, boot="\n".join(map(str, range(100))), trainer="Traceback\nValueError: no\n")
    shown = newest_logs(state)
    assert "the one before" not in shown
    assert f"{state.instances / 'i-new' / 'boot.log'}:\n85\n" in shown
    assert shown.endswith("trainer.log:\nTraceback\nValueError: no")


def test_an_instance_that_did_not_train_has_one_log(state: StateDir) -> None:
    write_logs(state, "i-new", age=0, boot="TypeError: no filter\n")
    assert newest_logs(state) == f"\n\n{state.instances / 'i-new' / 'boot.log'}:\nTypeError: no filter"


def test_without_an_instance_the_log_of_ec2_is_shown(state: StateDir) -> None:
    assert newest_logs(state).endswith("ec2.log:\ni-1 is up")
