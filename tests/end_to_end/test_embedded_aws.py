"""Whole runs on the embedded AWS: the deployed stack watches, the real agent works, nothing is left.

The runs share one AWS and go on at the same time, each in a lane of its own; each test looks at how one of them ended.
"""

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
from chronos_ec2.bootstrap import OperatorWorld, operator_world
from chronos_ec2.domain.facts import Beat
from chronos_ec2.domain.instance import owner_tags
from chronos_ec2.domain.run import Cause, Outcome, Run
from chronos_ec2.local.environment import LocalAws
from chronos_ec2.services.history import look

pytestmark = [pytest.mark.embedded_aws, pytest.mark.timeout(420)]

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
RUNS = {
    "main": TINY,
    "hang": DATA + PROBE.format(ending="hang", steps=10),
    "crash": DATA + PROBE.format(ending="crash", steps=10),
    "killed": DATA + PROBE.format(ending="ok", steps=3000),
    "dead": DATA + PROBE.format(ending="ok", steps=3000),
    "frozen": DATA + PROBE.format(ending="ok", steps=3000),
}
_PATIENCE_SECONDS = 360


@dataclass
class Launched:
    run_id: str
    instance_id: str


@dataclass
class Lab:
    """The embedded AWS with all runs launched."""

    aws: LocalAws
    world: OperatorWorld
    runs: dict[str, Launched]
    queue: str
    orphan: str = ""

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "chronos_ec2.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=self.aws.environ(), check=False)

    def wait_for(self, what: str, condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + _PATIENCE_SECONDS
        while not (found := condition()):
            assert time.monotonic() < end, f"waited {_PATIENCE_SECONDS} s for {what}"
            time.sleep(0.5)
        return found

    def training(self, lane: str) -> bool:
        run_id = self.runs[lane].run_id
        beat = look(self.world.store, "local", run_id).beat
        return isinstance(beat, Beat) and beat.heartbeat.step > 0

    def end_of(self, lane: str) -> Run:
        """The final record of a lane's run, once its lock is released; by then its instance is terminated."""
        launched = self.runs[lane]
        self.wait_for(f"{lane} to end", lambda: not look(self.world.store, "local", launched.run_id).active)
        box = self.world.fleet.find("local", launched.instance_id)
        assert box is None or not box.alive
        return look(self.world.store, "local", launched.run_id).run

    def agent_pid(self, lane: str) -> int:
        return int((self.aws.disk(self.runs[lane].instance_id) / "agent.pid").read_text())


@pytest.fixture(scope="module")
def lab(embedded_aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    write_waves(folder / "data")
    with embedded_aws.exported():
        world = operator_world(embedded_aws.environment)
        lab = Lab(embedded_aws, world, {}, subscribe(world.stack.topic_arn))
        lab.cli("upload", "data", str(folder / "data"), "waves")
        for lane, config in RUNS.items():
            path = folder / f"{lane}.yaml"
            path.write_text(config)
            done = lab.cli("launch", "--config", str(path), "--lane", lane, "--allow-cpu", "--json")
            assert done.returncode == 0, done.stderr
            document = json.loads(done.stdout)
            lab.runs[lane] = Launched(document["run_id"], document["instance_id"])
        lab.orphan = launch_orphan(world)
        yield lab


def write_waves(folder: Path) -> None:
    """Six series of 96 points with a season of 8."""
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
        TagSpecifications=[{"ResourceType": "instance", "Tags": [*tags, {"Key": "Lane", "Value": "orphan"}]}],
    )  # fmt: skip
    return str(response["Instances"][0]["InstanceId"])


def test_a_second_launch_is_refused_while_one_is_active(lab: Lab, tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(TINY)
    done = lab.cli("launch", "--config", str(config), "--lane", "killed")
    assert done.returncode == 2
    assert lab.runs["killed"].run_id in done.stderr


def test_an_agent_killed_hard_takes_its_box_along(lab: Lab) -> None:
    lab.wait_for("dead to train", lambda: lab.training("dead"))
    os.kill(lab.agent_pid("dead"), signal.SIGKILL)


def test_an_agent_that_freezes_leaves_its_box_up(lab: Lab) -> None:
    lab.wait_for("frozen to train", lambda: lab.training("frozen"))
    os.killpg(lab.agent_pid("frozen"), signal.SIGSTOP)


def test_a_kill_from_the_command_line_ends_a_run_gracefully(lab: Lab) -> None:
    lab.wait_for("killed to train", lambda: lab.training("killed"))
    assert lab.cli("kill", lab.runs["killed"].run_id, "--reason", "wrong data").returncode == 0
    verdict = lab.end_of("killed").verdict
    assert verdict is not None
    assert (verdict.outcome, verdict.cause, verdict.judge) == (Outcome.KILLED, Cause.REQUESTED, "agent")


def test_a_successful_run_leaves_a_model_and_all_its_documents(lab: Lab) -> None:
    run = lab.end_of("main")
    assert run.verdict is not None, run
    assert run.verdict.outcome is Outcome.SUCCEEDED, run.verdict
    assert [str(status) for status, _ in run.phases] == [
        "initialization", "data_sync", "training", "results_sync", "cleanup",
    ]  # fmt: skip
    prefix = f"local/{run.run_id}/"
    keys = {key.removeprefix(prefix) for key, _ in lab.world.store.objects.keys(prefix)}
    assert keys >= {
        "request.json", "heartbeat.json", "state.json", "training.json", "cleanup_status.json", "metrics.jsonl",
        "models/config.json", "models/model.safetensors", "logs/agent.log", "logs/trainer.log", "plots/loss.png",
    }  # fmt: skip
    training = json.loads(
        client("s3").get_object(Bucket=lab.world.stack.bucket, Key=f"{prefix}training.json")["Body"].read()
    )
    assert np.isfinite([training["metrics"][name] for name in ("mase", "wql", "mase_seasonal_naive")]).all()
    assert training["allow_cpu"] is True


def test_the_model_forecasts_from_where_it_lies(lab: Lab, tmp_path: Path) -> None:
    run = lab.end_of("main")
    write_waves(tmp_path / "data")
    command = [
        sys.executable, "-m", "agent.forecast", "--model", f"s3://{lab.world.stack.bucket}/local/{run.run_id}/models/",
        "--data", str(tmp_path / "data" / "waves.parquet"), "--prediction-length", "8", "--season-length", "8",
        "--output", str(tmp_path / "forecast.png"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=lab.aws.environ(), check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "forecast.png").stat().st_size > 10_000


def test_a_crash_is_told_apart(lab: Lab) -> None:
    verdict = lab.end_of("crash").verdict
    assert verdict is not None
    assert (verdict.outcome, verdict.cause) == (Outcome.FAILED, Cause.USER_CODE)


def test_a_hang_is_seen_and_ended_by_the_deployed_watchdog(lab: Lab) -> None:
    verdict = lab.end_of("hang").verdict
    assert verdict is not None
    assert (verdict.cause, verdict.judge) == (Cause.HUNG, "watchdog")
    assert "no progress in training" in verdict.message


def test_the_dead_and_the_frozen_are_ended(lab: Lab) -> None:
    for lane, words in (("dead", "without a word"), ("frozen", "no heartbeat")):
        verdict = lab.end_of(lane).verdict
        assert verdict is not None
        assert (verdict.outcome, verdict.cause) == (Outcome.FAILED, Cause.INFRA)
        assert words in verdict.message


def test_an_instance_without_a_record_is_ended(lab: Lab) -> None:
    lab.wait_for("the orphan to end", lambda: not any(box.alive for box in lab.world.fleet.instances("local")))


def test_nothing_is_left_and_every_end_was_told_once(lab: Lab) -> None:
    assert json.loads(lab.cli("verify", "--json").stdout) == {"environment": "local", "left": []}
    told: list[tuple[str, str]] = []

    def ends() -> list[tuple[str, str]]:
        return sorted((lane, kind) for lane, kind in told if kind != "started")

    lab.wait_for("the messages of all ends", lambda: told.extend(messages(lab)) or len(ends()) > len(RUNS))
    assert ends() == [
        ("crash", "failed"), ("dead", "failed"), ("frozen", "failed"), ("hang", "stuck"), ("killed", "killed"),
        ("main", "completed"), ("orphan", "orphan"),
    ]  # fmt: skip
    # A run that crashes or hangs in its first seconds may be suspect before the watchdog has seen it well.
    started = [lane for lane, kind in told if kind == "started" and lane not in ("crash", "hang")]
    assert sorted(started) == ["dead", "frozen", "killed", "main"]


def messages(lab: Lab) -> list[tuple[str, str]]:
    """(lane, kind) of the messages that have arrived since."""
    sqs = client("sqs")
    found = sqs.receive_message(QueueUrl=lab.queue, MaxNumberOfMessages=10).get("Messages", [])
    for message in found:
        sqs.delete_message(QueueUrl=lab.queue, ReceiptHandle=message["ReceiptHandle"])
    attributes = [json.loads(message["Body"])["MessageAttributes"] for message in found]
    return [(told["lane"]["Value"], told["kind"]["Value"]) for told in attributes]
