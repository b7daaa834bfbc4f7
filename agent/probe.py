"""The stand-in trainer: takes steps, learns nothing, and ends as it is told. It tries an account for cents."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

from agent.child import Metrics, StopSignal
from chronos_ec2.training_config import Probe


class ProbeCrash(Exception):
    """The scripted crash."""


def run(probe: Probe, metrics: Metrics, stop: StopSignal) -> dict[str, Any]:
    """Take the steps, then end as scripted. The result says how many were taken."""
    for step in range(1, probe.steps + 1):
        if stop.asked:
            return {"stopped_early": True, "steps": step - 1}
        time.sleep(probe.step_seconds)
        metrics.step(step, probe.steps, loss=1.0 / step, lr=0.0)
    if probe.ending == "crash":
        raise ProbeCrash(f"the probe was told to crash after {probe.steps} steps")
    if probe.ending == "hang":
        _hang()
    return {"stopped_early": False, "steps": probe.steps, "device": "none"}


def _hang() -> None:
    """Wait for ever and ignore SIGTERM, as a hung collective does inside its C code: only SIGKILL ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Event().wait()
