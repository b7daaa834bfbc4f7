"""What systemd hears of the agent, over a socket of the kind that systemd gives its units."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.boot import systemd


@pytest.fixture(params=["in the file system", "abstract"])
def systemd_socket(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """The listening end, named in the environment."""
    name = str(tmp_path / "notify") if request.param == "in the file system" else f"@chronos-ec2-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1))
        listener.settimeout(0.2)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield listener


def test_it_hears_that_the_agent_is_up_and_that_it_lives(systemd_socket: socket.socket) -> None:
    systemd.ready()
    systemd.alive()
    assert [systemd_socket.recv(100), systemd_socket.recv(100)] == [b"READY=1", b"WATCHDOG=1"]


def test_it_hears_nothing_of_an_agent_whose_main_thread_is_gone(systemd_socket: socket.socket) -> None:
    left_over = "import threading; from agent.boot import systemd; threading.Timer(0.3, systemd.alive).start()"
    subprocess.run([sys.executable, "-c", left_over], check=True)
    with pytest.raises(TimeoutError):
        systemd_socket.recv(100)


def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.ready()
    systemd.alive()


def test_a_word_that_does_not_arrive_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    systemd.alive()
    assert "systemd was not told WATCHDOG=1" in caplog.text
