"""What systemd hears of the agent: that it is up, and that it lives. Where no systemd asks, nobody hears anything."""

from __future__ import annotations

import logging
import os
import socket
import threading

_log = logging.getLogger(__name__)


def ready() -> None:
    """The run is claimed: what waited for the agent's start may go on, and the watchdog begins to wait for pings."""
    _tell("READY=1")


def alive() -> None:
    """The agent lives. Says nothing once the main thread is gone: threads that are left over keep no box."""
    if threading.main_thread().is_alive():
        _tell("WATCHDOG=1")


def _tell(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            # A leading @ stands for the null byte of a name that lies in no file system.
            systemd.connect("\0" + address[1:] if address[0] == "@" else address)
            systemd.send(state.encode())
    except OSError as error:
        # Whether a ping that was lost matters is for the watchdog to say.
        _log.warning("systemd was not told %s: %s", state, error)
