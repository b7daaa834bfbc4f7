"""Processes are found by the environment that they were started with."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest

from chronos_ec2.local.processes import is_marked, kill_marked, marked
from tests.local.conftest import alive, wait_for

NAME = "CHRONOS_EC2_TEST"
SLEEP = "import time; time.sleep(60)"
LEAVE_A_CHILD = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True)
"""
DIES_WITH_PARENT = """
import os, time
from chronos_ec2.local.processes import die_with_parent
die_with_parent(os.getppid())
print("ready", flush=True)
time.sleep(60)
"""
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {DIES_WITH_PARENT!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def token() -> str:
    return uuid.uuid4().hex


def start(token: str, code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | {NAME: token})


def test_a_grandchild_in_its_own_session_is_killed_too(token: str) -> None:
    with start(token, LEAVE_A_CHILD) as parent:
        parent.wait()
        (grandchild,) = wait_for(lambda: marked(NAME, token))
        assert grandchild != parent.pid
        assert kill_marked(NAME, token) == 1
    assert not alive(grandchild)


def test_a_process_with_another_mark_is_left_alone(token: str) -> None:
    with start(token, SLEEP) as other:
        wait_for(lambda: is_marked(other.pid, NAME, token))
        assert kill_marked(NAME, token + "x") == 0
        assert kill_marked(NAME, token[:-1]) == 0
        assert alive(other.pid)
        kill_marked(NAME, token)


def test_a_child_dies_with_its_killed_parent(token: str) -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, env=os.environ | {NAME: token}, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        wait_for(lambda: not alive(pid))
    assert marked(NAME, token) == []
