"""The probe, the smoke test's trainer: takes steps, learns nothing, and ends as configured.

Like a real trainer it saves checkpoints and resumes from the latest one; its only state is the step. For the drill it
may harm its own instance at its end; no other trainer can be told to.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.protocol.checkpoint_dir import folder_of, steps_in
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import LossNotFinite, StopSignal
from agent.protocol.workdir import Workdir
from chronos_ec2.job_config.schema import Ending, Probe

_MB = 10**6
_SLOW_FACTOR = 10


class ProbeCrash(Exception):
    """The configured crash."""


def run(workdir: Workdir, probe: Probe, metrics: Metrics, stop: StopSignal) -> dict[str, Any]:
    """Take the steps, then end as configured."""
    first = 1 + max(steps_in(workdir.checkpoints), default=0)
    for step in range(first, probe.steps + 1):
        time.sleep(probe.step_seconds * (_SLOW_FACTOR if probe.ending == "slow" else 1))
        metrics.step(step, probe.steps, loss=1.0 / step, lr=0.0)
        if stop.asked or stop.take_save_request() or step % probe.checkpoint_steps == 0:
            _save(workdir.checkpoints, step, probe.checkpoint_mb, metrics)
        if stop.asked:
            return {"stopped_early": True, "steps": step}
    _ENDINGS[probe.ending](probe.steps)
    return {"stopped_early": False, "steps": probe.steps}


def _save(checkpoints: Path, step: int, megabytes: int, metrics: Metrics) -> None:
    """Write a checkpoint of a given size atomically."""
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
    """Wait forever and ignore SIGTERM, like a collective that hangs in C code: only SIGKILL ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Event().wait()


def _run_out_of_memory(_steps: int) -> None:
    """Exceed a memory limit of this process, so that the kernel kills nothing else on the instance."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 100 * _MB, resource.RLIM_INFINITY))
    blocks = []
    while True:
        blocks.append(bytearray(_MB))


def _diverge(steps: int) -> None:
    raise LossNotFinite(f"the loss of step {steps} is nan, as the probe was told")


def _kill_agent(steps: int) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    _hang(steps)


def _freeze_agent(steps: int) -> None:
    os.kill(os.getppid(), signal.SIGSTOP)
    _hang(steps)


def _keep_power(_steps: int) -> None:
    """Have the instance ignore that its agent has ended: nothing on it powers it off."""
    if Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "mask", "--runtime", "poweroff.target"], check=True)
        return
    # The embedded AWS has a process for each instance, which ends with its agent.
    agent = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()
    os.kill(int(agent[1]), signal.SIGSTOP)


def _succeed(_steps: int) -> None:
    """End normally."""


_ENDINGS: dict[Ending, Callable[[int], None]] = {
    "ok": _succeed,
    "crash": _crash,
    "hang": _hang,
    "oom": _run_out_of_memory,
    "nan": _diverge,
    "slow": _succeed,
    "kill-agent": _kill_agent,
    "freeze-agent": _freeze_agent,
    "keep-power": _keep_power,
}
