"""Training time under the whole agent, with heartbeats, monitoring and log shipping, against the bare trainer."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from agent.lifecycle import run_agent
from agent.protocol.workdir import Workdir
from benchmarks.publish import AGENT_FIGURES, ROOT, record
from benchmarks.training.accuracy.m3 import EXAMPLE, prepare
from benchmarks.training.workload import ROUNDS, Section
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import REQUEST, Request
from chronos_ec2.domain.records.run import LAUNCHING, Run
from chronos_ec2.domain.records.s3_keys import run_key, shared_key
from chronos_ec2.domain.records.status import Status
from chronos_ec2.job_config.parse import load_config
from chronos_ec2.ports import LogStreams
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.launch.dataset import find_dataset
from chronos_ec2.testing import MemoryAws
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.run_session import Identity

_TARGET_PERCENT = 0.5
_STEPS = 600
_LANE, _RUN_ID, _INSTANCE_TYPE = Lane("dev"), "20260131T120000Z-1a2b3c", "g4dn.2xlarge"
_DATA = "training-data/m3-monthly/"


def agent() -> Section:
    """Training seconds of M3 under the agent and without it."""
    supervised: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        data = prepare(Path(name) / "data")
        config = load_config(EXAMPLE / "demo.yaml").model_dump(mode="json")
        config["training"] |= {"steps": _STEPS, "checkpoint_steps": 10**6}
        for number in range(ROUNDS):
            # Alternate the order, so that a machine that slows down does not favour one of them.
            for train, seconds in ((_supervised, supervised), (_bare, bare))[:: -1 if number % 2 else 1]:
                seconds.append(train(Path(name) / f"{train.__name__}-{number}", data, config))
    percent = round(100 * (statistics.median(one / two for one, two in zip(supervised, bare, strict=True)) - 1), 2)
    text = f"{percent:+.2f} % training time (median of pairs); the target is less than {_TARGET_PERCENT} %. {_STEPS} "
    text += f"steps of M3 monthly take {statistics.median(supervised):.2f} s under the agent and "
    text += f"{statistics.median(bare):.2f} s without it (medians; S3 in memory). A negative figure is noise."
    record({"agent_overhead_percent": percent}, ROOT / AGENT_FIGURES)
    return Section("Agent overhead", {"agent_overhead_percent": percent}, text)


class _World:
    """What the agent needs of AWS, in memory."""

    def __init__(self) -> None:
        self.memory = MemoryAws()
        self.store = RunStore(self.memory.objects)
        self.transfer, self.clock = self.memory.transfer, self.memory.clock

    def log_streams(self, group: str) -> LogStreams:  # noqa: ARG002 - there is only one
        return self.memory.streams

    def launch(self, data: Path, config: dict[str, Any]) -> Identity:
        """What `chronos-ec2 launch` leaves in the bucket; the identity of the run's instance."""
        objects, now = self.memory.objects, self.clock.now()
        objects.write(shared_key(_LANE.environment, f"{_DATA}m3-monthly.parquet"), data.read_bytes())
        keys = find_dataset(self.store, _LANE.environment, _DATA)
        request = Request(_RUN_ID, _LANE, config, (_INSTANCE_TYPE,), "0" * 64, keys, Limits(), allow_cpu=True)
        objects.write(run_key("dev", _RUN_ID, REQUEST), request.to_json())
        run = Run(
            run_id=_RUN_ID, lane=_LANE, status=Status.INITIALIZATION, current_step=LAUNCHING, attempt=1, seq=1,
            nonce="n", instance_type=_INSTANCE_TYPE, created_at=now, updated_at=now,
            deadline=now + timedelta(hours=12), phases=((Status.INITIALIZATION, now),),
        )  # fmt: skip
        self.store.create_lock(run)
        return Identity("dev", _RUN_ID, "i-0123456789abcdef0", "boot-1", 1)


def _supervised(folder: Path, data: Path, config: dict[str, Any]) -> float:
    world, workdir = _World(), Workdir(folder)
    workdir.create()
    identity = world.launch(data, config)
    assert run_agent(world, "bucket", identity, workdir, Control()) == 0
    summary = json.loads(world.memory.objects.body(run_key("dev", _RUN_ID, "training.json")))
    return float(summary["training_seconds"]["training"])


def _bare(folder: Path, data: Path, config: dict[str, Any]) -> float:
    workdir = Workdir(folder)
    workdir.create()
    (workdir.data / data.name).write_bytes(data.read_bytes())
    workdir.config.write_text(json.dumps(config))
    command = [sys.executable, "-m", "agent.trainer", "--workdir", str(workdir.root)]
    subprocess.run(command, check=True, capture_output=True)
    return float(json.loads(workdir.result.read_text())["seconds"]["training"])
