"""The probe's harm to its own instance, which no other trainer can be told to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.trainer import probe
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.parse import parse_training

HARM = ("kill-agent", "freeze-agent", "keep-power")
_INSTANCE = """
import subprocess, sys
trainer = "from agent.trainer import probe; probe._ENDINGS[sys.argv[1]](1)"
agent = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[2], sys.argv[1]]); sys.exit(7)"
sys.exit(subprocess.run([sys.executable, "-c", agent, sys.argv[1], "import sys; " + trainer]).returncode)
"""
"""An instance's process with its agent, which has a trainer."""


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def instance(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", _INSTANCE, request.param], start_new_session=True) as process:
        yield process
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("instance", ["kill-agent"], indirect=True)
def test_a_killed_agent_is_gone_and_its_instance_sees_it(instance: subprocess.Popen[bytes]) -> None:
    wait_for(lambda: state_of(instance.pid) == "Z")
    assert instance.poll() == 256 - signal.SIGKILL  # what the agent ended with, as an exit status


@pytest.mark.parametrize("instance", ["freeze-agent"], indirect=True)
def test_a_frozen_agent_stands_still_and_its_instance_lives(instance: subprocess.Popen[bytes]) -> None:
    wait_for(lambda: children(instance.pid))
    (agent,) = children(instance.pid)
    wait_for(lambda: state_of(agent) == "T")
    assert instance.poll() is None


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="a machine with systemd would not power off any more")
@pytest.mark.parametrize("instance", ["keep-power"], indirect=True)
def test_an_instance_that_keeps_its_power_does_not_see_the_end_of_its_agent(instance: subprocess.Popen[bytes]) -> None:
    wait_for(lambda: state_of(instance.pid) == "T")
    wait_for(lambda: all(state_of(agent) == "Z" for agent in children(instance.pid)))
    assert instance.poll() is None


@pytest.mark.parametrize("ending", HARM)
def test_no_run_of_another_kind_can_be_told_to(ending: str) -> None:
    """The orders are endings of the probe: every other section refuses them, and only the probe's trainer reads it."""
    data = {"data": {"path": "training-data/x/"}, "prediction_length": 6}
    for elsewhere in (
        {"trainer": ending}, {"ending": ending}, {"training": {"ending": ending}}, {"model": {"ending": ending}},
        {"evaluation": {"ending": ending}}, {"job": ending},
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            parse_training(data | elsewhere, "test")
    assert parse_training(data | {"trainer": "probe", "probe": {"ending": ending}}, "test").probe.ending == ending


def test_nothing_else_of_the_agent_reads_the_probes_endings() -> None:
    readers = {
        path.relative_to(Path(probe.__file__).parents[1]).as_posix()
        for path in Path(probe.__file__).parents[1].rglob("*.py")
        if any(word in path.read_text() for word in ("_kill_agent", "_freeze_agent", "_keep_power", "probe.ending"))
    }
    assert readers == {"trainer/probe.py"}
