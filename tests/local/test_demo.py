"""A demo that fails says why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chronos_ec2.local.demo import newest_logs
from chronos_ec2.local.state_dir import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.log("ec2").write_text("i-1 is up\n")
    return layout


def write_logs(layout: Layout, instance_id: str, age: int, **logs: str) -> None:
    disk = layout.instances / instance_id
    (disk / "work" / "logs").mkdir(parents=True)
    for name, text in logs.items():
        (disk / ("boot.log" if name == "boot" else "work/logs/trainer.log")).write_text(text)
    os.utime(disk, (10**9 - age, 10**9 - age))


def test_the_last_lines_of_the_newest_instance_are_shown(layout: Layout) -> None:
    write_logs(layout, "i-old", age=10, boot="the one before\n")
    write_logs(layout, "i-new", age=0, boot="\n".join(map(str, range(100))), trainer="Traceback\nValueError: no\n")
    shown = newest_logs(layout)
    assert "the one before" not in shown
    assert f"{layout.instances / 'i-new' / 'boot.log'}:\n85\n" in shown
    assert shown.endswith("trainer.log:\nTraceback\nValueError: no")


def test_an_instance_that_did_not_come_to_training_has_one_log(layout: Layout) -> None:
    write_logs(layout, "i-new", age=0, boot="TypeError: no filter\n")
    assert newest_logs(layout) == f"\n\n{layout.instances / 'i-new' / 'boot.log'}:\nTypeError: no filter"


def test_without_an_instance_ec2_says_what_it_did(layout: Layout) -> None:
    assert newest_logs(layout).endswith("ec2.log:\ni-1 is up")
