"""The stand-in trainer: takes steps, learns nothing, and ends as it is told. It tries an account for cents.

It saves checkpoints and goes on from the newest one, as a real trainer does: all that it knows is its step.
"""

from __future__ import annotations

import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.protocol.checkpoint_dir import folder_of, steps_in
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import LossNotFinite, StopSignal
from agent.protocol.workdir import Workdir
from chronos_ec2.training_config.schema import Ending, Probe

_MB = 10**6
_SLOWNESS = 10


class ProbeCrash(Exception):
    """The scripted crash."""


def run(workdir: Workdir, probe: Probe, metrics: Metrics, stop: StopSignal) -> dict[str, Any]:
    """Take the steps, then end as scripted. The result says how many were taken."""
    first = 1 + max(steps_in(workdir.checkpoints), default=0)
    for step in range(first, probe.steps + 1):
        time.sleep(probe.step_seconds * (_SLOWNESS if probe.ending == "slow" else 1))
        metrics.step(step, probe.steps, loss=1.0 / step, lr=0.0)
        if stop.asked or stop.take_save_request() or step % probe.checkpoint_steps == 0:
            _save(workdir.checkpoints, step, probe.checkpoint_mb, metrics)
        if stop.asked:
            return {"stopped_early": True, "steps": step}
    _ENDINGS[probe.ending](probe.steps)
    return {"stopped_early": False, "steps": probe.steps}


def _save(checkpoints: Path, step: int, megabytes: int, metrics: Metrics) -> None:
    """A checkpoint of a given size, whole before it has its name."""
    draft = checkpoints / f"draft-{step}"
    draft.mkdir()
    with (draft / "model.safetensors").open("wb") as stream:
        for index in range(megabytes):
            stream.write(bytes([index % 256]) * _MB)
    draft.replace(folder_of(checkpoints, step))
    metrics.event("checkpoint", step=step)


def _crash(steps: int) -> None:
    raise ProbeCrash(f"the probe was told to crash after {steps} steps")


def _hang(_steps: int) -> None:
    """Wait for ever and ignore SIGTERM, as a hung collective does inside its C code: only SIGKILL ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Event().wait()


def _run_out_of_memory(_steps: int) -> None:
    """Of its own: with a limit on this process, so that nothing else on the box is killed for it."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 100 * _MB, resource.RLIM_INFINITY))
    hoard = []
    while True:
        hoard.append(bytearray(_MB))


def _diverge(steps: int) -> None:
    raise LossNotFinite(f"the loss at step {steps} is nan, as the probe was told")


def _end_well(_steps: int) -> None:
    """Nothing is wrong."""


_ENDINGS: dict[Ending, Callable[[int], None]] = {
    "ok": _end_well,
    "crash": _crash,
    "hang": _hang,
    "oom": _run_out_of_memory,
    "nan": _diverge,
    "slow": _end_well,
}
