"""`python -m agent`: the process that trains on the instance.

It neither calls EC2 nor powers off: its role may not. Whatever started it (the systemd unit, or the local EC2
simulator) powers the instance off when it exits, for any reason.
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

from agent.boot.imds import Metadata, MetadataUnavailable
from agent.boot.packages import Packages
from agent.boot.request import connect
from agent.boot.spot import InterruptionWatch
from agent.lifecycle import FENCED, run_agent
from agent.logs.shipper import log_to
from agent.protocol.workdir import Workdir
from chronos_ec2.bootstrap.agent import agent_world
from chronos_ec2.domain.errors import ChronosError
from chronos_ec2.domain.records.status import Cause, Stop
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.run_session import Identity

_EXIT_AFTER_FENCE_SECONDS = 30.0
"""From a fence to the forced exit of the process: a call that hangs must not keep the instance alive."""
_SHUTDOWN_SECONDS = 30.0
"""From SIGTERM to the fence. systemd kills the unit after `TimeoutStopSec` (45 s)."""


def main(arguments: list[str] | None = None) -> int:
    """Run the agent, and return the exit code: 0 succeeded, 1 failed or killed, 3 fenced."""
    options = _options(arguments)
    # A folder of its own, because its contents are deleted at the end.
    workdir = Workdir(options.workdir / options.run_id)
    workdir.create()
    close_log = log_to(workdir.agent_log)
    try:
        return _run(options, workdir)
    finally:
        close_log()


def _run(options: argparse.Namespace, workdir: Workdir) -> int:
    control = Control(on_fence=lambda: _later(_EXIT_AFTER_FENCE_SECONDS, os._exit, FENCED))
    _handle_shutdown(control)
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
    # Started first: a spot instance can be interrupted while it boots.
    with InterruptionWatch(metadata, control, world.clock.now):
        packages = Packages.of_bundle(os.environ.get("PYTHON_ENV_SHA256"), Path(__file__).resolve().parents[1])
        return run_agent(world, options.bucket, identity, workdir, control, packages)


def _handle_shutdown(control: Control) -> None:
    """On the first SIGTERM save the work, and fence on the second. The attempt counts as lost, as if it had crashed."""
    signals = itertools.count()

    def handle(signum: int, _frame: FrameType | None) -> None:
        reason = f"the instance is shutting down ({signal.Signals(signum).name})"
        if next(signals):
            control.fence(f"second signal: {reason}")
            return
        control.request_stop(Stop(Cause.INFRA, reason, datetime.now(UTC)), within=timedelta(seconds=_SHUTDOWN_SECONDS))
        _later(_SHUTDOWN_SECONDS, control.fence, f"{reason}, and its time is over")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="agent", description=__doc__)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--environment", required=True)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--instance-id", required=True)
    parser.add_argument("--attempt", type=int, required=True, help="the only attempt to claim")
    parser.add_argument("--boot-id", default=_boot_id())
    parser.add_argument("--workdir", type=Path, default=Path("/var/lib/chronos-ec2"))
    return parser.parse_args(arguments)


def _instance_type(metadata: Metadata | None) -> str | None:
    try:
        return None if metadata is None else metadata.get("instance-type")
    except MetadataUnavailable:
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
    # Not sys.exit: it would wait for a download thread that hangs in a socket, and keep the instance alive.
    os._exit(code)
