"""Runs on the embedded AWS with the deployed functions and the real agent.

Each test checks how one run ended; runs that take minutes to end are in `test_slow_endings.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.domain.records.status import Cause, Outcome
from tests.end_to_end.conftest import TINY, Runs, write_waves

pytestmark = [pytest.mark.embedded_aws, pytest.mark.thorough]


def test_a_second_launch_is_refused_while_a_run_is_active(runs: Runs, tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(TINY)
    done = runs.cli("launch", "--config", str(config), "--lane", "frozen", "--allow-cpu")
    assert done.returncode == 2
    assert runs.launched["frozen"].run_id in done.stderr


def test_kill_ends_a_run_gracefully(runs: Runs) -> None:
    verdict = runs.final_record("killed").verdict
    assert verdict is not None
    assert (verdict.outcome, verdict.cause, verdict.decided_by) == (Outcome.KILLED, Cause.REQUESTED, "agent")


def test_a_successful_run_leaves_a_model_and_all_documents(runs: Runs) -> None:
    run = runs.final_record("main")
    assert run.verdict is not None, run
    assert run.verdict.outcome is Outcome.SUCCEEDED, run.verdict
    assert [str(status) for status, _ in run.phases] == [
        "initialization", "data_sync", "training", "results_sync", "cleanup",
    ]  # fmt: skip
    prefix = f"local/{run.run_id}/"
    keys = {key.removeprefix(prefix) for key, _ in runs.world.store.objects.keys(prefix)}
    assert keys >= {
        "request.json", "heartbeat.json", "state.json", "run.json", "training.json", "cleanup_status.json",
        "metrics.jsonl",
        "models/config.json", "models/model.safetensors", "logs/agent.log", "logs/trainer.log", "plots/loss.png",
    }  # fmt: skip
    training, started = (
        json.loads(client("s3").get_object(Bucket=runs.world.stack.bucket, Key=prefix + name)["Body"].read())
        for name in ("training.json", "run.json")
    )
    assert np.isfinite([training["metrics"][name] for name in ("mase", "wql", "mase_seasonal_naive")]).all()
    assert started["allow_cpu"] is True


def test_the_model_forecasts_from_s3(runs: Runs, tmp_path: Path) -> None:
    run = runs.final_record("main")
    write_waves(tmp_path / "data")
    command = [
        sys.executable, "-m", "agent.chronos.evaluate.forecast_plot",
        "--model", f"s3://{runs.world.stack.bucket}/local/{run.run_id}/models/",
        "--data", str(tmp_path / "data" / "waves.parquet"), "--prediction-length", "8", "--season-length", "8",
        "--output", str(tmp_path / "forecast.png"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=runs.aws.environ(), check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "forecast.png").stat().st_size > 10_000


def test_a_crash_of_the_trainer_is_blamed_on_user_code(runs: Runs) -> None:
    verdict = runs.final_record("crash").verdict
    assert verdict is not None
    assert (verdict.outcome, verdict.cause) == (Outcome.FAILED, Cause.USER_CODE)


def test_the_deployed_watchdog_ends_a_hung_run(runs: Runs) -> None:
    verdict = runs.final_record("hang").verdict
    assert verdict is not None
    assert (verdict.cause, verdict.decided_by) == (Cause.HUNG, "watchdog")
    assert "no progress in training" in verdict.message
