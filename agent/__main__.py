"""`python -m agent`: the process that trains on the instance.

It calls no EC2 and powers nothing off: its role may not. It ends, and whoever started it (the systemd unit, or the
local stand-in for EC2) powers the box off when it does, however it does.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

from agent.boot.imds import Metadata, NoMetadata
from agent.boot.request import connect
from agent.boot.spot import InterruptionWatch
from agent.lifecycle import FENCED, run_agent
from agent.logs.shipper import log_to
from agent.protocol.workdir import Workdir
from chronos_ec2.bootstrap import agent_world
from chronos_ec2.domain.errors import ChronosError
from chronos_ec2.domain.records.status import Cause, Stop
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.run_lock import Identity

_LAST_RESORT_SECONDS = 30.0
"""From a fence to the hard end of the process: a call that hangs may not keep the box."""
_SHUTDOWN_SECONDS = 30.0
"""From SIGTERM to the fence. systemd kills the unit after `TimeoutStopSec` (45 s), and then the box ends anyway."""


def main(arguments: list[str] | None = None) -> int:
    """Compose, run, and return the exit code: 0 succeeded, 1 failed or killed, 3 fenced."""
    options = _options(arguments)
    # A folder of our own: what is in it is removed at the end.
    workdir = Workdir(options.workdir / options.run_id)
    workdir.create()
    close_log = log_to(workdir.agent_log)
    try:
        return _be_the_agent(options, workdir)
    finally:
        close_log()


def _be_the_agent(options: argparse.Namespace, workdir: Workdir) -> int:
    control = Control(on_fence=lambda: _later(_LAST_RESORT_SECONDS, os._exit, FENCED))
    _leave_when_told(control)
    metadata = Metadata.of_environment(os.environ)
    identity = Identity(
        options.environment,
        options.run_id,
        options.instance_id,
        options.boot_id,
        options.attempt,
        _instance_type(metadata),
    )
    try:
        world = connect(lambda: agent_world(options.bucket))
    except ChronosError as error:
        sys.stderr.write(f"{error}\n")
        return FENCED
    # From the first moment on: a spot instance can be taken back while it boots.
    with InterruptionWatch(metadata, control, world.clock.now):
        return run_agent(world, options.bucket, identity, workdir, control)


def _leave_when_told(control: Control) -> None:
    """A box that is shut down leaves time to save the work, once. For the record it is lost like one that died."""
    told = itertools.count()

    def end(signum: int, _frame: FrameType | None) -> None:
        reason = f"the instance is shutting down ({signal.Signals(signum).name})"
        if next(told):
            control.fence(f"told again: {reason}")
            return
        control.request_stop(Stop(Cause.INFRA, reason, datetime.now(UTC)), within=timedelta(seconds=_SHUTDOWN_SECONDS))
        _later(_SHUTDOWN_SECONDS, control.fence, f"{reason}, and its time is over")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="agent", description=__doc__)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--environment", required=True)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--instance-id", required=True)
    parser.add_argument("--attempt", type=int, help="claim only this attempt")
    parser.add_argument("--boot-id", default=_boot_id())
    parser.add_argument("--workdir", type=Path, default=Path("/var/lib/chronos-ec2"))
    return parser.parse_args(arguments)


def _instance_type(metadata: Metadata | None) -> str | None:
    try:
        return None if metadata is None else metadata.get("instance-type")
    except NoMetadata:
        return None


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def _later(seconds: float, call: Callable[..., object], *arguments: object) -> None:
    timer = threading.Timer(seconds, call, arguments)
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stderr.flush()
    # Not sys.exit: that would wait for a download thread that hangs in a socket, and keep the box alive with it.
    os._exit(code)
