"""Notifications to systemd, over a socket like the one that systemd gives its units."""

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


def test_start_and_watchdog_pings_are_notified(systemd_socket: socket.socket) -> None:
    systemd.ready()
    systemd.ping_watchdog()
    assert [systemd_socket.recv(100), systemd_socket.recv(100)] == [b"READY=1", b"WATCHDOG=1"]


def test_an_agent_without_its_main_thread_sends_no_pings(systemd_socket: socket.socket) -> None:
    other_thread = (
        "import threading; from agent.boot import systemd; threading.Timer(0.3, systemd.ping_watchdog).start()"
    )
    subprocess.run([sys.executable, "-c", other_thread], check=True)
    with pytest.raises(TimeoutError):
        systemd_socket.recv(100)


def test_without_systemd_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.ready()
    systemd.ping_watchdog()


def test_a_failed_notification_is_only_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    systemd.ping_watchdog()
    assert "systemd not notified of WATCHDOG=1" in caplog.text
