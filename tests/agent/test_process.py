"""The agent as a process: its imports, arguments and signals; and the model loaded back from S3."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
from moto import mock_aws

from agent import __main__ as agent_process
from agent.chronos.evaluate import forecast_plot
from agent.chronos.model.from_scratch import new_pipeline
from agent.lifecycle import FENCED
from agent.protocol.workdir import Workdir
from agent.results.upload import Results
from chronos_ec2.aws.clients import client
from chronos_ec2.aws.clocks import SystemClock
from chronos_ec2.aws.s3_objects import S3Objects, S3Transfer
from chronos_ec2.domain.facts import Found, HeartbeatReceived
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import claim_key, outcome_key, run_key
from chronos_ec2.domain.records.status import Cause, Outcome, Verdict
from chronos_ec2.job_config.schema import FromScratch
from chronos_ec2.services.checkpoints import stored_checkpoints
from chronos_ec2.testing.aws_answers import upload_until_it_breaks
from chronos_ec2.testing.aws_server import BUCKET, store, unfinished_uploads
from chronos_ec2.testing.builders import launching
from chronos_ec2.worker.progress import Progress
from chronos_ec2.worker.run_session import Identity, RunSession
from tests.agent.builders import (
    FAST,
    INSTANCE,
    LANE,
    RUN_ID,
    World,
    a_config,
    a_run,
    launch,
    put_toy_series,
    toy_series,
)
from tests.template.calls import Recorder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def in_an_hour() -> datetime:
    """By the real clock, which these agents use."""
    return datetime.now(UTC) + timedelta(hours=1)


@pytest.mark.parametrize(("module", "more"), [("agent.__main__", ("numpy", "pyarrow")), ("agent.trainer.__main__", ())])
def test_it_starts_without_what_takes_long_to_import(module: str, more: tuple[str, ...]) -> None:
    heavy = ("torch", "chronos", "transformers", "pandas", "matplotlib", *more)
    code = f"import sys, {module}; assert sys.modules.keys().isdisjoint({heavy})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_missing_argument_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        agent_process.main(["--bucket", "b"])
    assert "--environment, --run-id, --instance-id" in capsys.readouterr().err


@mock_aws
@pytest.mark.usefixtures("signals")
def test_the_agent_runs_against_a_simulated_aws(tmp_path: Path, calls: Recorder) -> None:
    world = World()
    put_toy_series(world, tmp_path)
    probe = {"steps": 3, "step_seconds": 0.01, "checkpoint_steps": 2}
    launch(world, a_config(probe=probe), log_group="/chronos-ec2-dev/agent", deadline=in_an_hour())
    logs = boto3.client("logs", region_name="us-east-1")
    logs.create_log_group(logGroupName="/chronos-ec2-dev/agent")
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket=BUCKET)
    for key, _ in world.memory.objects.keys(""):
        s3.put_object(Bucket=BUCKET, Key=key, Body=world.memory.objects.body(key))
    lock = world.memory.objects.body(LANE.state_key)
    arguments = ["--bucket", BUCKET, "--environment", "dev", "--run-id", RUN_ID, "--instance-id", INSTANCE]
    arguments += ["--attempt", "1"]

    with calls.acting("InstanceRole"):
        code = agent_process.main([*arguments, "--workdir", str(tmp_path / "workdir")])

    assert ("InstanceRole", "s3.PutObject") in calls.heard
    outcome = json.loads(s3.get_object(Bucket=BUCKET, Key=outcome_key("dev", RUN_ID, 1))["Body"].read())
    claim = json.loads(s3.get_object(Bucket=BUCKET, Key=claim_key("dev", RUN_ID, 1))["Body"].read())
    summary = s3.get_object(Bucket=BUCKET, Key=run_key("dev", RUN_ID, "training.json"))["Body"].read()
    assert (code, outcome["outcome"], claim["instance_id"]) == (0, Outcome.SUCCEEDED, INSTANCE)
    assert s3.get_object(Bucket=BUCKET, Key=LANE.state_key)["Body"].read() == lock
    assert json.loads(summary)["outcome"] == "succeeded"
    copied = logs.get_log_events(logGroupName="/chronos-ec2-dev/agent", logStreamName=f"{RUN_ID}/1/agent.log")
    assert any(f"claimed run {RUN_ID}" in event["message"] for event in copied["events"])


class Instance:
    """A real agent process against an AWS behind an endpoint."""

    def __init__(self, tmp_path: Path, probe: dict[str, Any]) -> None:
        world = World()
        put_toy_series(world, tmp_path)
        launch(world, a_config(probe=probe), replace(FAST, grace=timedelta(seconds=120)), deadline=in_an_hour())
        client("s3").create_bucket(Bucket=BUCKET)
        for key, _ in world.memory.objects.keys(""):
            store().objects.write(key, world.memory.objects.body(key))
        arguments = ["--bucket", BUCKET, "--environment", "dev", "--run-id", RUN_ID, "--instance-id", INSTANCE]
        arguments += ["--attempt", "1"]
        self.log = Workdir(tmp_path / RUN_ID).agent_log
        self.agent = subprocess.Popen(
            [sys.executable, "-m", "agent", *arguments, "--workdir", str(tmp_path)], cwd=ROOT, stderr=subprocess.DEVNULL
        )
        self.wait_until(lambda: self._steps() > 0)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 300
        while not holds():
            assert time.monotonic() < deadline
            assert self.agent.poll() is None
            time.sleep(0.05)

    def _steps(self) -> int:
        found = store().read_heartbeat("dev", RUN_ID)
        return found.heartbeat.step if isinstance(found, HeartbeatReceived) else 0

    @property
    def verdict(self) -> Verdict | None:
        outcome = store().read_outcome(a_run())
        return outcome.document.verdict if isinstance(outcome, Found) else None


@pytest.mark.usefixtures("aws")
def test_an_instance_that_shuts_down_saves_its_work_and_writes_a_verdict(tmp_path: Path) -> None:
    instance = Instance(tmp_path, {"steps": 10_000, "step_seconds": 0.05, "checkpoint_steps": 10_000})
    instance.agent.send_signal(signal.SIGTERM)
    assert instance.agent.wait(timeout=300) == 1
    verdict = instance.verdict
    assert verdict is not None
    # The watchdog starts another attempt for this cause.
    assert (verdict.outcome, verdict.cause) == (Outcome.FAILED, Cause.INFRA)
    assert verdict.message == "the instance is shutting down (SIGTERM)"
    assert [stored.manifest.step for stored in stored_checkpoints(store().objects, f"dev/{RUN_ID}/checkpoints/")] != []


@pytest.mark.usefixtures("aws")
def test_a_second_signal_fences_the_agent(tmp_path: Path) -> None:
    instance = Instance(tmp_path, {"ending": "hang", "steps": 1, "step_seconds": 0.01})
    instance.agent.send_signal(signal.SIGTERM)
    instance.wait_until(lambda: "stop requested" in instance.log.read_text())
    instance.agent.send_signal(signal.SIGTERM)
    assert instance.agent.wait(timeout=300) == FENCED
    assert instance.verdict is None


@mock_aws
@pytest.mark.usefixtures("signals")
def test_an_agent_without_a_run_is_fenced(tmp_path: Path, calls: Recorder) -> None:
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=BUCKET)
    arguments = ["--bucket", BUCKET, "--environment", "dev", "--run-id", RUN_ID, "--instance-id", INSTANCE]
    arguments += ["--attempt", "1"]
    with calls.acting("InstanceRole"):
        assert agent_process.main([*arguments, "--workdir", str(tmp_path / "workdir")]) == 3


@mock_aws
def test_an_agent_of_another_lane_claims_its_own_lock(calls: Recorder) -> None:
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=BUCKET)
    second = Lane("dev", "second")
    store().create_lock(launching(lane=second))
    with calls.acting("InstanceRole"):
        identity = Identity("dev", launching().run_id, INSTANCE, "boot", 1)
        RunSession(store(), SystemClock(), second, identity).claim()
    claim = store().read_claim(launching(lane=second))
    assert isinstance(claim, Found)
    assert claim.document.instance_id == INSTANCE


@mock_aws
def test_a_failed_multipart_upload_leaves_no_parts(tmp_path: Path, calls: Recorder) -> None:
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=BUCKET)
    with calls.acting("InstanceRole"):
        upload_until_it_breaks(run_key("dev", RUN_ID, "checkpoints/100/model.safetensors"), tmp_path)
    assert ("InstanceRole", "s3.AbortMultipartUpload") in calls.heard
    assert unfinished_uploads() == []


@mock_aws
def test_a_model_in_s3_is_loaded_and_its_forecast_plotted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = FromScratch(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, patch=6, dropout=0.0)
    new_pipeline(shape, context_length=24, prediction_length=6).model.save_pretrained(tmp_path / "model")
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket=BUCKET)
    Results(S3Objects(s3, BUCKET), S3Transfer(s3, BUCKET), "dev", RUN_ID, Progress()).model(tmp_path / "model")
    pq.write_table(toy_series(), tmp_path / "toy.parquet")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    picture = tmp_path / "out" / "forecast.png"

    code = forecast_plot.main(
        ["--model", f"s3://{BUCKET}/dev/{RUN_ID}/models/", "--data", str(tmp_path / "toy.parquet"),
         "--prediction-length", "6", "--season-length", "6", "--output", str(picture)]
    )  # fmt: skip

    found = json.loads(capsys.readouterr().out)
    assert (code, found["pipeline"], found["series"]) == (0, "Chronos2Pipeline", 12)
    assert found["mase_seasonal_naive"] < 2
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_data_that_is_too_short_to_forecast_is_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(toy_series(2, 5), tmp_path / "toy.parquet")
    arguments = ["--model", "nowhere", "--data", str(tmp_path / "toy.parquet"), "--prediction-length", "6"]
    assert forecast_plot.main([*arguments, "--output", str(tmp_path / "x.png")]) == 2
    assert "2 of 2 series have fewer than the 7 points" in capsys.readouterr().err
