"""Notifications to systemd (sd_notify(3)). Without `NOTIFY_SOCKET` in the environment they do nothing."""

from __future__ import annotations

import logging
import os
import socket
import threading

_log = logging.getLogger(__name__)


def ready() -> None:
    """Report that the run is claimed: the unit counts as started, and its watchdog begins to expect pings."""
    _notify("READY=1")


def ping_watchdog() -> None:
    """Report that the agent is alive. Does nothing once the main thread is gone: other threads keep no instance."""
    if threading.main_thread().is_alive():
        _notify("WATCHDOG=1")


def _notify(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            # A leading @ stands for the null byte of an abstract socket name.
            systemd.connect("\0" + address[1:] if address[0] == "@" else address)
            systemd.send(state.encode())
    except OSError as error:
        # systemd's watchdog decides whether a lost ping matters.
        _log.warning("systemd not notified of %s: %s", state, error)
