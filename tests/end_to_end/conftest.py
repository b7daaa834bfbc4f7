"""Seven runs and an orphan instance on the embedded AWS, all at the same time, each run in its own lane."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.bootstrap.operator import OperatorWorld, operator_world
from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.instance import owner_tags
from chronos_ec2.domain.records.run import Run
from chronos_ec2.local.lifecycle import LocalAws
from chronos_ec2.services.run_queries import find_run

DATA = "data: {path: training-data/waves/}\nprediction_length: 8\n"
TINY = (
    DATA
    + """\
context_length: 32
model: {from_scratch: {d_model: 16, d_kv: 8, d_ff: 32, num_layers: 1, num_heads: 2, patch: 4}}
training: {steps: 30, batch_size: 8, learning_rate: 1e-3, checkpoint_steps: 15}
evaluation: {season_length: 8}
"""
)
PROBE = "trainer: probe\nprobe: {{ending: {ending}, steps: {steps}, step_seconds: 0.2}}\n"
CONFIGS = {
    "main": TINY,
    "hang": DATA + PROBE.format(ending="hang", steps=10),
    "crash": DATA + PROBE.format(ending="crash", steps=10),
    "killed": DATA + PROBE.format(ending="ok", steps=3000),
    "dead": DATA + PROBE.format(ending="ok", steps=3000),
    "frozen": DATA + PROBE.format(ending="ok", steps=3000),
    "resumed": DATA + PROBE.format(ending="ok", steps=100).replace("step_seconds", "checkpoint_steps: 5, step_seconds"),
}
CRASHES = {"resumed": "1"}
_TIMEOUT_SECONDS = 900


@dataclass
class Launched:
    run_id: str
    instance_id: str


@dataclass
class Runs:
    """The embedded AWS and the launched runs, by lane."""

    aws: LocalAws
    world: OperatorWorld
    launched: dict[str, Launched]
    queue: str

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "chronos_ec2.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=self.aws.environ(), check=False)

    def wait_for(self, what: str, condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + _TIMEOUT_SECONDS
        while not (found := condition()):
            assert time.monotonic() < end, f"waited {_TIMEOUT_SECONDS} s for {what}"
            time.sleep(0.5)
        return found

    def training(self, lane: str, saved: bool = False) -> bool:
        """Whether a run has made a step; with `saved`, whether it has a checkpoint in the bucket."""
        heartbeat = find_run(self.world.store, "local", self.launched[lane].run_id).heartbeat
        if not isinstance(heartbeat, HeartbeatReceived):
            return False
        return heartbeat.heartbeat.step > 0 and (not saved or heartbeat.heartbeat.checkpoint_age is not None)

    def final_record(self, lane: str) -> Run:
        """Wait until the lock of a lane's run is released, by when its instance is gone. Returns the final record."""
        launched = self.launched[lane]
        self.wait_for(f"{lane} to end", lambda: not find_run(self.world.store, "local", launched.run_id).active)
        instance = self.world.fleet.find("local", launched.instance_id)
        assert instance is None or not instance.alive
        return find_run(self.world.store, "local", launched.run_id).run

    def inject_faults(self) -> None:
        """Kill two agents, which ends their instances; freeze one, whose instance stays up; end one run with `kill`."""
        self.wait_for("dead to train", lambda: self.training("dead"))
        os.kill(self.agent_pid("dead"), signal.SIGKILL)
        self.wait_for("resumed to save", lambda: self.training("resumed", saved=True))
        os.kill(self.agent_pid("resumed"), signal.SIGKILL)
        self.wait_for("frozen to train", lambda: self.training("frozen"))
        os.killpg(self.agent_pid("frozen"), signal.SIGSTOP)
        self.wait_for("killed to train", lambda: self.training("killed"))
        assert self.cli("kill", self.launched["killed"].run_id, "--reason", "wrong data").returncode == 0

    def agent_pid(self, lane: str) -> int:
        return int((self.aws.disk(self.launched[lane].instance_id) / "agent.pid").read_text())


@pytest.fixture(scope="session")
def launched_runs(embedded_aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Launched once a session: other tests run while the slow endings are pending."""
    folder = tmp_path_factory.mktemp("runs")
    write_waves(folder / "data")
    with embedded_aws.exported():
        world = operator_world(embedded_aws.environment)
        runs = Runs(embedded_aws, world, {}, subscribe(world.stack.topic_arn))
        runs.cli("upload", "data", str(folder / "data"), "waves")
        for lane, config in CONFIGS.items():
            path = folder / f"{lane}.yaml"
            path.write_text(config)
            more = ["--lane", lane, "--crashes", CRASHES.get(lane, "0"), "--allow-cpu", "--json"]
            done = runs.cli("launch", "--config", str(path), *more)
            assert done.returncode == 0, done.stderr
            document = json.loads(done.stdout)
            runs.launched[lane] = Launched(document["run_id"], document["instance_id"])
        launch_orphan(world)
        runs.inject_faults()
    return runs


@pytest.fixture
def runs(launched_runs: Runs) -> Iterator[Runs]:
    """The launched runs, with this process pointed at the embedded AWS."""
    with launched_runs.aws.exported():
        yield launched_runs


def write_waves(folder: Path) -> None:
    """Write six series of 96 points with a season of 8."""
    folder.mkdir()
    time_axis = np.arange(96)
    noise = np.random.default_rng(1)
    table = pa.table(
        {
            "item_id": np.repeat([f"wave-{n}" for n in range(6)], 96),
            "timestamp": np.tile(np.datetime64("2026-01-01", "D") + time_axis, 6).astype("datetime64[ms]"),
            "target": np.concatenate(
                [10 + n + np.sin(time_axis * np.pi / 4) + noise.normal(0, 0.1, 96) for n in range(6)]
            ).astype("float32"),
        }
    )
    pq.write_table(table, folder / "waves.parquet")


def subscribe(topic_arn: str) -> str:
    sqs = client("sqs")
    queue: str = sqs.create_queue(QueueName="end-to-end")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    client("sns").subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn)
    return queue


def launch_orphan(world: OperatorWorld) -> str:
    tags = [{"Key": key, "Value": value} for key, value in owner_tags(world.stack.project, "local").items()]
    response = client("ec2").run_instances(
        ImageId="ami-12345678", MinCount=1, MaxCount=1, InstanceType="g4dn.2xlarge",
        IamInstanceProfile={"Arn": world.stack.instance_profile_arn},
        TagSpecifications=[{"ResourceType": "instance", "Tags": [*tags, {"Key": "Lane", "Value": "orphan"}]}],
    )  # fmt: skip
    return str(response["Instances"][0]["InstanceId"])
