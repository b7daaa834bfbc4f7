"""Runs, requests, data and fakes for the agent's tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.protocol.workdir import Workdir
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.facts import LockHeld, Reports
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.parsing.codec import MAX_DOCUMENT_BYTES
from chronos_ec2.domain.records.capacity import Launching, LaunchOption
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import REQUEST, DataObject, ModelReference, Request
from chronos_ec2.domain.records.run import LAUNCHING, Run
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Status
from chronos_ec2.domain.rules.as_reported import run_as_reported
from chronos_ec2.ports import Clock, LogStreams, ObjectTransfer, StoredObject
from chronos_ec2.run_store import RunStore
from chronos_ec2.testing import MemoryAws, MemoryClock, MemoryObjects
from chronos_ec2.worker.run_session import Identity

RUN_ID = "20260131T120000Z-1a2b3c"
INSTANCE = "i-0123456789abcdef0"
LANE = Lane("dev")
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
FAST = Limits.from_overrides({"heartbeat": 0.1, "heartbeat_retry": 0.05, "grace": 2, "self_fence": 60})
DATA_KEY = "cached-datasets/dev/training-data/toy/part-0.parquet"


@dataclass
class World:
    """The agent's AWS services, in memory."""

    memory: MemoryAws = field(default_factory=MemoryAws)
    objects: Any = None
    wall_clock: MemoryClock | None = None
    """The clock of the instance, if it differs from AWS's."""

    @property
    def store(self) -> RunStore:
        return RunStore(self.objects or self.memory.objects)

    @property
    def transfer(self) -> ObjectTransfer:
        return self.memory.transfer

    @property
    def clock(self) -> Clock:
        return self.wall_clock or self.memory.clock

    def log_streams(self, group: str) -> LogStreams:
        assert group == "/chronos-ec2-dev/agent"
        return self.memory.streams

    def document(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.memory.objects.body(run_key("dev", RUN_ID, name)))
        return document

    def names(self) -> set[str]:
        prefix = run_key("dev", RUN_ID, "")
        return {key.removeprefix(prefix) for key, _ in self.memory.objects.keys(prefix)}


class FlakyObjects:
    """A bucket whose next calls fail. `lost` writes succeed, and only their responses are lost."""

    def __init__(self, objects: MemoryObjects) -> None:
        self._objects = objects
        self.refused = 0
        self.lost = 0
        self.reads_refused = 0
        self.before_create: Callable[[], None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def read(self, key: str, limit: int = MAX_DOCUMENT_BYTES) -> StoredObject | None:
        if self.reads_refused:
            self.reads_refused -= 1
            raise ServiceUnavailable("no answer to a read")
        return self._objects.read(key, limit)

    def write(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        if self.refused:
            self.refused -= 1
            raise ServiceUnavailable("no answer to a write")
        self._objects.write(key, body, content_type)

    def create(self, key: str, body: bytes) -> str:
        if self.before_create:
            hook, self.before_create = self.before_create, None
            hook()
        if self.refused:
            self.refused -= 1
            raise ServiceUnavailable("no answer to a write")
        written = self._objects.create(key, body)
        if self.lost:
            self.lost -= 1
            # The store reads again after a lost response: that read fails too.
            self.reads_refused += 1
            raise ServiceUnavailable("the response was lost")
        return written


class FakeTime:
    """A monotonic clock that moves only by `advance`."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


def a_run(**changes: Any) -> Run:
    values: dict[str, Any] = {
        "run_id": RUN_ID,
        "lane": LANE,
        "status": Status.INITIALIZATION,
        "current_step": LAUNCHING,
        "attempt": 1,
        "seq": 1,
        "nonce": "n",
        "instance_type": "g4dn.2xlarge",
        "created_at": NOW,
        "updated_at": NOW,
        "deadline": NOW + timedelta(hours=12),
        "phases": ((Status.INITIALIZATION, NOW),),
        "launching": Launching(LaunchOption("g4dn.2xlarge", "subnet-a"), NOW),
    }
    return Run(**(values | changes))


def an_identity(**changes: Any) -> Identity:
    values: dict[str, Any] = {
        "environment": "dev",
        "run_id": RUN_ID,
        "instance_id": INSTANCE,
        "boot_id": "boot-1",
        "attempt": 1,
    }
    return Identity(**(values | changes))


def a_config(**changes: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "trainer": "probe",
        "data": {"path": "training-data/toy/"},
        "prediction_length": 6,
        "context_length": 24,
        "evaluation": {"season_length": 6},
        "probe": {"steps": 3, "step_seconds": 0.01},
    }
    return config | changes


def tiny_chronos(**training: Any) -> dict[str, Any]:
    """A Chronos-2 that trains in seconds on one core."""
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "patch": 6}
    settings = {"steps": 20, "batch_size": 8, "learning_rate": 5e-3, "checkpoint_steps": 10}
    # Without AutoETS and AutoTheta: their fits take longer than the training.
    evaluation = {"season_length": 6, "baselines": []}
    return a_config(
        trainer="chronos", model={"from_scratch": shape}, training=settings | training, evaluation=evaluation
    )


def launch(
    world: World,
    config: dict[str, Any],
    limits: Limits = FAST,
    log_group: str | None = None,
    code_sha256: str | None = None,
    allow_cpu: bool = True,
    models: tuple[ModelReference, ...] = (),
    **changes: Any,
) -> Run:
    """Write what `chronos-ec2 launch` writes to the bucket."""
    objects = world.memory.objects
    keys = tuple(DataObject(*astuple(one)) for one in objects.listed("cached-datasets/dev/training-data/toy/"))
    request = Request(
        RUN_ID, LANE, config, ("g4dn.2xlarge",), "0" * 64, keys, limits, allow_cpu=allow_cpu, log_group=log_group,
        code_sha256=code_sha256, models=models,
    )  # fmt: skip
    objects.write(run_key("dev", RUN_ID, REQUEST), request.to_json())
    return RunStore(objects).create_lock(a_run(**changes)).run


def the_run(world: World) -> Run:
    """The run in the lock, as reported by its agent."""
    store = RunStore(world.memory.objects)
    run = Run.from_json(world.memory.objects.body(LANE.state_key), LANE)
    reports = Reports(store.read_claim(run), store.read_status(run), store.read_outcome(run))
    return run_as_reported(run, reports, (), world.memory.clock.now())


def rewrite(world: World, change: Callable[[Run], Run]) -> None:
    """Change the lock from outside, after what the agent has reported."""
    store, reported = RunStore(world.memory.objects), the_run(world)
    held = store.read_lock(LANE)
    assert isinstance(held, LockHeld)
    if reported != held.run:
        held = store.replace_lock(reported, held)
    store.replace_lock(change(held.run), held)


def toy_series(count: int = 12, length: int = 60) -> pa.Table:
    """Noisy sines with a season of six, in long format."""
    generator = np.random.default_rng(7)
    steps = np.arange(length)
    values = [10 + np.sin(2 * np.pi * (steps + shift) / 6) + generator.normal(0, 0.1, length) for shift in range(count)]
    days = np.datetime64("2024-01-01") + steps
    return pa.table(
        {
            "item_id": np.repeat([f"item-{index:02d}" for index in range(count)], length).tolist(),
            "timestamp": np.tile(days.astype("datetime64[ms]"), count),
            "target": np.concatenate(values),
        }
    )


def put_toy_series(world: World, tmp_path: Path, table: pa.Table | None = None) -> None:
    path = tmp_path / "toy.parquet"
    pq.write_table(toy_series() if table is None else table, path)
    world.memory.objects.write(DATA_KEY, path.read_bytes())


def a_workdir(tmp_path: Path) -> Workdir:
    workdir = Workdir(tmp_path / "workdir")
    workdir.create()
    return workdir
