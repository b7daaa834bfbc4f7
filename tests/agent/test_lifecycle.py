"""The lifecycle of the agent against a bucket in memory, with real child processes."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chronos import BaseChronosPipeline

from agent.boot.packages import Packages
from agent.boot.request import read_request
from agent.checkpoint.upload import CheckpointUploader, store_checkpoint
from agent.host import nvml
from agent.lifecycle import FAILED, FENCED, SUCCEEDED, AgentRun, Pacing, run_agent
from agent.logs.shipper import log_to
from agent.protocol.workdir import Workdir
from agent.results.schema import problems
from agent.run_context import compose
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.domain.records.request import ModelReference
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import python_env_key, run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Stop, Verdict
from chronos_ec2.testing import Faults, MemoryAws, MemoryClock, MemoryObjects, MemoryTransfer
from chronos_ec2.worker.control import Control
from chronos_ec2.worker.run_session import RunSession
from tests.agent.builders import (
    DATA_KEY,
    FAST,
    NOW,
    RUN_ID,
    FlakyObjects,
    World,
    a_config,
    a_workdir,
    an_identity,
    launch,
    put_toy_series,
    rewrite,
    the_run,
    tiny_chronos,
    toy_series,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World()
    put_toy_series(made, tmp_path)
    return made


@pytest.fixture
def workdir(tmp_path: Path) -> Iterator[Workdir]:
    made = a_workdir(tmp_path)
    undo = log_to(made.agent_log)
    yield made
    undo()


def run_to_end(world: World, workdir: Workdir, control: Control | None = None, step_seconds: float = 60) -> int:
    identity = an_identity(attempt=the_run(world).attempt)
    return run_agent(world, "bucket", identity, workdir, control or Control(), pacing=Pacing(step_seconds=step_seconds))


def when(world: World, seen: Callable[[Run], bool], then: Callable[[], None]) -> threading.Thread:
    """Act from outside as soon as the run in the lock matches."""

    def watch() -> None:
        deadline = time.monotonic() + 300
        while not seen(the_run(world)) and time.monotonic() < deadline:
            time.sleep(0.02)
        then()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_run_goes_through_all_phases_and_uploads_its_results(world: World, workdir: Workdir) -> None:
    launch(world, a_config())

    assert run_to_end(world, workdir) == SUCCEEDED

    run = the_run(world)
    assert run.verdict == Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, run.verdict.message, DecidedBy.AGENT)  # type: ignore[union-attr]
    assert [status for status, _ in run.phases] == [
        Status.INITIALIZATION, Status.DATA_SYNC, Status.TRAINING, Status.RESULTS_SYNC, Status.CLEANUP
    ]  # fmt: skip
    assert {"training.json", "metrics.jsonl", "outcomes/1.json", "heartbeat.json", "plots/loss.png"} < world.names()
    assert {"logs/agent.log", "logs/trainer.log"} < world.names()


def test_a_model_that_has_changed_ends_the_run_before_anything_of_it_is_loaded(world: World, workdir: Workdir) -> None:
    sha256 = hashlib.sha256(b"weights").hexdigest()
    model = ModelReference("the/base", "s3://bucket/dev/models/base/", (("model.safetensors", sha256),))
    launch(world, a_config(), models=(model,))
    world.memory.objects.write("dev/models/base/model.safetensors", b"WEIGHTS")
    assert run_to_end(world, workdir) == FAILED
    verdict = the_run(world).verdict
    assert verdict is not None
    assert verdict.cause is Cause.USER_CODE
    assert verdict.message.startswith("model the/base: model.safetensors has the SHA-256 ")
    assert "training" not in world.document("training.json")["phases"]


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"trainer": "chronos", "model": {"base": "the/base"}}, "model.base"),
        ({"trainer": "chronos", "model": {"from_scratch": {}}, "evaluation": {"champion": "the/base"}},
         "evaluation.champion"),
    ],
)  # fmt: skip
def test_a_model_that_the_request_does_not_pin_is_never_loaded(
    world: World, workdir: Workdir, config: dict[str, Any], key: str
) -> None:
    launch(world, a_config(**config))
    assert run_to_end(world, workdir) == FAILED
    verdict = the_run(world).verdict
    assert verdict is not None
    assert verdict.message == f"{key}: the request pins no model the/base, so it is not loaded"
    assert "training" not in world.document("training.json")["phases"]


def test_training_json_reports_how_the_run_went(world: World, workdir: Workdir) -> None:
    launch(world, a_config())
    run_to_end(world, workdir)

    summary = world.document("training.json")

    assert summary["schema_version"] == 1
    assert (summary["outcome"], summary["steps"]) == ("succeeded", 3)
    assert list(summary["phases"]) == ["initialization", "data_sync", "training", "results_sync"]
    assert summary["phases"]["data_sync"]["bytes"] == len(world.memory.objects.body(DATA_KEY))
    assert all(phase["seconds"] >= 0 for phase in summary["phases"].values())


@pytest.mark.parametrize("ending", ["ok", "crash"])
def test_run_json_reports_how_the_run_began_however_it_ended(world: World, workdir: Workdir, ending: str) -> None:
    config = a_config(probe={"ending": ending, "steps": 2, "step_seconds": 0.01})
    launch(world, config)
    run_to_end(world, workdir)

    began = world.document("run.json")

    assert {check["name"] for check in began["preflight"]} > {"versions", "disk", "clock", "gpu", "cuda"}
    assert (began["data"]["files"][0]["key"], began["data"]["rows"]) == (DATA_KEY, 720)
    assert began["versions"]["chronos-forecasting"].startswith("2.")
    assert began["hardware"]["cpus"] >= 1
    assert (began["attempt"], began["market"], began["allow_cpu"]) == (1, "on-demand", True)
    assert began["config"] == config
    shared = began.keys() & world.document("training.json").keys()
    assert shared == {"schema_version", "run_id", "job", "attempt", "instance_id", "instance_type"}


@pytest.mark.parametrize(("ending", "sentence"), [("ok", "Succeeded"), ("crash", "Failed (user-code)")])
def test_a_run_leaves_a_report_however_it_ended(world: World, workdir: Workdir, ending: str, sentence: str) -> None:
    launch(world, a_config(probe={"ending": ending, "steps": 2, "step_seconds": 0.01}))
    run_to_end(world, workdir)
    report = world.memory.objects.body(run_key("dev", RUN_ID, "report.html")).decode()
    assert sentence in report
    assert all(part in report for part in ("Time line", "data_sync", "Loss", "<svg", "step_seconds: 0.01"))


def test_packages_that_cannot_be_installed_end_the_run_on_this_instance(
    world: World, workdir: Workdir, tmp_path: Path
) -> None:
    launch(world, a_config())
    packages = Packages("0" * 64, tmp_path / "requirements.txt", tmp_path / "packages")
    world.memory.objects.write(python_env_key("0" * 64), b"forged")
    assert run_agent(world, "bucket", an_identity(), workdir, Control(), packages) == FAILED
    verdict = the_run(world).verdict
    assert verdict is not None
    assert verdict.cause is Cause.INFRA
    assert verdict.message.startswith("the trainer's packages: their archive has the SHA-256 ")
    document = world.document("training.json")
    assert document["retry_elsewhere"] is True
    assert "training" not in document["phases"]


@pytest.mark.skipif(nvml.utilisation() is not None, reason="this machine has a GPU")
def test_a_failed_preflight_reports_its_checks_and_whether_another_instance_may_work(
    world: World, workdir: Workdir
) -> None:
    launch(world, a_config(), allow_cpu=False)
    assert run_to_end(world, workdir) == FAILED
    checks = {check["name"]: check for check in world.document("run.json")["preflight"]}
    assert (len(checks), checks["disk"]["ok"], checks["gpu"]["ok"]) == (6, True, False)
    assert "launch a GPU instance type" in checks["gpu"]["remedy"]
    assert world.document("training.json")["retry_elsewhere"] is False
    assert problems(world.document("training.json")) == []


@pytest.mark.thorough
def test_run_json_is_written_during_training(world: World, workdir: Workdir) -> None:
    """An instance that is lost later has left it."""
    config = tiny_chronos(steps=100_000, checkpoint_steps=100_000)
    launch(world, config)
    seen: list[dict[str, Any]] = []

    def look() -> None:
        deadline = time.monotonic() + 300
        while "run.json" not in world.names() and time.monotonic() < deadline:
            time.sleep(0.05)
        seen.append(world.document("run.json"))
        rewrite(world, lambda run: replace(run, stop=Stop(Cause.REQUESTED, "a person", NOW)))

    watcher = when(world, lambda run: run.status is Status.TRAINING, look)
    run_to_end(world, workdir, step_seconds=0.3)
    watcher.join()

    (began,) = seen
    assert (began["training"]["series"], began["training"]["frequency"]) == (12, "P1D")
    assert (began["training"]["family"], began["training"]["base"]) == ("chronos-2", None)
    assert began == world.document("run.json")


def test_only_logs_are_left_on_the_instance(world: World, workdir: Workdir) -> None:
    launch(world, a_config())
    threads = threading.active_count()
    run_to_end(world, workdir)

    assert [path.name for path in workdir.root.iterdir()] == ["logs"]
    receipt = world.document("outcomes/1.json")["cleanup"]
    states = {entry["id"]: entry["state"] for entry in receipt["instance"]}
    assert states["trainer"] == "exited"
    assert states["data"] == states["checkpoints"] == "deleted"
    assert receipt["uploads"]["complete"] is True
    assert threading.active_count() == threads


def test_a_crash_of_the_trainer_is_user_code_with_its_exception(world: World, workdir: Workdir) -> None:
    launch(world, a_config(probe={"ending": "crash", "steps": 2, "step_seconds": 0.01}))

    assert run_to_end(world, workdir) == FAILED

    verdict = the_run(world).verdict
    assert verdict is not None
    assert (verdict.outcome, verdict.cause) == (Outcome.FAILED, Cause.USER_CODE)
    assert "ProbeCrash: the probe was told to crash after 2 steps" in verdict.message
    assert {"logs/agent.log", "logs/trainer.log", "training.json", "metrics.jsonl"} < world.names()
    assert world.document("training.json")["cause"] == "user-code"
    assert problems(world.document("training.json")) == []


def has_stepped(world: World) -> bool:
    found = world.store.read_heartbeat("dev", RUN_ID)
    return isinstance(found, HeartbeatReceived) and found.heartbeat.step > 0


def test_a_stop_request_ends_the_trainer_gracefully(world: World, workdir: Workdir) -> None:
    launch(world, a_config(probe={"steps": 1000, "step_seconds": 0.05}))
    stop = Stop(Cause.REQUESTED, "asked for by a person", NOW)
    # Before its first step the trainer has no signal handler, and SIGTERM kills it.
    outside = when(world, lambda _run: has_stepped(world), lambda: rewrite(world, lambda run: replace(run, stop=stop)))

    assert run_to_end(world, workdir) == FAILED

    outside.join()
    run = the_run(world)
    assert (run.status, run.verdict and run.verdict.cause) == (Status.KILLED, Cause.REQUESTED)
    assert world.document("training.json")["stopped_early"] is True


def test_a_hung_trainer_that_ignores_the_stop_request_is_killed(world: World, workdir: Workdir) -> None:
    launch(world, a_config(probe={"ending": "hang", "steps": 1, "step_seconds": 0.01}))
    stop = Stop(Cause.OVER_DEADLINE, "the deadline is near", NOW)
    outside = when(
        world, lambda run: run.status is Status.TRAINING, lambda: rewrite(world, lambda run: replace(run, stop=stop))
    )

    assert run_to_end(world, workdir) == FAILED

    outside.join()
    run = the_run(world)
    assert (run.status, run.verdict and run.verdict.cause) == (Status.FAILED, Cause.OVER_DEADLINE)


@pytest.mark.parametrize(
    ("limit", "cause", "message"),
    [
        ({"deadline": NOW + timedelta(seconds=4)}, Cause.OVER_DEADLINE, "the deadline 2026-01-31 12:00:04Z is near"),
        ({"price_per_hour_usd": 3600.0, "max_cost_usd": 4.0}, Cause.OVER_BUDGET, "the cap of $4.00 is near"),
    ],
)
def test_the_agent_enforces_deadline_and_price_cap_without_the_watchdog(
    world: World, workdir: Workdir, limit: dict[str, Any], cause: Cause, message: str
) -> None:
    launch(world, a_config(probe={"steps": 10_000, "step_seconds": 0.02, "checkpoint_steps": 10_000}), **limit)

    assert run_to_end(world, workdir) == FAILED

    verdict = the_run(world).verdict
    assert verdict is not None
    assert (verdict.cause, verdict.message) == (cause, message)
    assert f"checkpoints/{world.document('training.json')['steps']}/manifest.json" in world.names()


def test_the_cap_of_a_second_attempt_counts_its_own_time_and_what_the_first_has_cost(
    world: World, workdir: Workdir
) -> None:
    """Created ten hours ago at a dollar an hour: by the creation of the run the cap of $5 were spent twice over."""
    phases = ((Status.INITIALIZATION, NOW - timedelta(hours=10)), (Status.INITIALIZATION, NOW - timedelta(hours=2)))
    second: dict[str, Any] = {
        "created_at": NOW - timedelta(hours=10), "attempt": 2, "spent_usd": 3.0, "phases": phases, "updated_at": NOW,
        "price_per_hour_usd": 1.0,
    }  # fmt: skip
    launch(world, a_config(), max_cost_usd=5.0, **second)
    assert run_to_end(world, workdir) == SUCCEEDED


@pytest.mark.parametrize(("spent", "over"), [(3.9995, True), (0.0, False)])
def test_what_earlier_attempts_have_cost_is_spent(world: World, workdir: Workdir, spent: float, over: bool) -> None:
    probe = {"steps": 10_000 if over else 3, "step_seconds": 0.02, "checkpoint_steps": 10_000}
    launch(
        world, a_config(probe=probe), attempt=2, spent_usd=spent, max_cost_usd=4.0, price_per_hour_usd=0.4,
        created_at=NOW - timedelta(hours=10), launched_at=NOW,
    )  # fmt: skip
    assert run_to_end(world, workdir) == (FAILED if over else SUCCEEDED)
    verdict = the_run(world).verdict
    assert verdict is not None
    assert (verdict.cause is Cause.OVER_BUDGET) is over


def test_a_wrong_clock_of_the_instance_does_not_affect_deadline_and_price_cap(world: World, workdir: Workdir) -> None:
    """The clock of the instance is an hour ahead of S3's: by it the deadline has passed."""
    probe = {"steps": 100, "step_seconds": 0.02}
    launch(world, a_config(probe=probe), deadline=NOW + timedelta(minutes=30))
    world.wall_clock = MemoryClock(NOW + timedelta(hours=1))
    assert run_to_end(world, workdir) == SUCCEEDED


def test_a_bucket_that_hangs_while_a_step_is_recorded_does_not_delay_a_stop(world: World, workdir: Workdir) -> None:
    class Hanging(FlakyObjects):
        """Blocks writes of training steps until it is released."""

        def __init__(self, objects: MemoryObjects) -> None:
            super().__init__(objects)
            self.released, self.hangs = threading.Event(), threading.Event()

        def write(self, key: str, body: bytes, content_type: str = "application/json") -> None:
            if key.endswith("status.json") and json.loads(body)["step"].startswith("step_"):
                self.hangs.set()
                self.released.wait(60)
            super().write(key, body, content_type)

    launch(world, a_config(probe={"steps": 10_000, "step_seconds": 0.02, "checkpoint_steps": 10_000}))
    world.objects = slow = Hanging(world.memory.objects)
    control, began = Control(), list[float]()

    def notice() -> None:
        slow.hangs.wait(30)
        began.append(time.monotonic())
        control.request_stop(Stop(Cause.PREEMPTED, "EC2 interrupts it", NOW))

    watcher = threading.Thread(target=notice)
    watcher.start()
    assert run_to_end(world, workdir, control, step_seconds=0.2) == FAILED
    took = time.monotonic() - began[0]
    ended = the_run(world)
    slow.released.set()
    watcher.join()
    assert took < 20
    assert (ended.current_step, ended.verdict and ended.verdict.cause) == ("ended_preempted", Cause.PREEMPTED)
    assert world.document("training.json")["stopped_early"] is True
    # The step that hung arrives after the outcome, and changes nothing.
    wait_for_threads("record-step")
    assert the_run(world) == ended


def wait_for_threads(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(30)


def test_systemd_is_notified_of_the_claim_before_any_other_request_to_s3(
    world: World, workdir: Workdir, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Listing(FlakyObjects):
        """Receives the notification before the first list, which fails."""

        def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
            received.append(systemd.recv(100))
            raise ServiceUnavailable("no list")

    received: list[bytes] = []
    launch(world, a_config(trainning={}))
    world.objects = Listing(world.memory.objects)
    monkeypatch.setenv("NOTIFY_SOCKET", str(workdir.root / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(workdir.root / "notify"))
        systemd.settimeout(5)
        run_to_end(world, workdir)
    assert received[0] == b"READY=1"


def test_an_agent_whose_run_the_watchdog_ended_only_uploads_its_logs(world: World, workdir: Workdir) -> None:
    launch(world, a_config(probe={"ending": "hang", "steps": 1, "step_seconds": 0.01}))
    verdict = Verdict(Outcome.FAILED, Cause.HUNG, "no progress", DecidedBy.WATCHDOG)
    outside = when(
        world, lambda run: run.status is Status.TRAINING, lambda: rewrite(world, lambda run: run.end(verdict, NOW))
    )

    assert run_to_end(world, workdir) == FENCED

    outside.join()
    assert the_run(world).verdict == verdict
    assert "logs/agent.log" in world.names()
    assert "training.json" not in world.names()


def test_an_agent_that_cannot_claim_touches_nothing(world: World, workdir: Workdir) -> None:
    launch(world, a_config(), instance_id="i-0ffffffffffffffff")
    before = the_run(world)

    assert run_to_end(world, workdir) == FENCED

    assert the_run(world) == before
    assert world.names() == {"request.json"}


def test_the_first_request_is_retried(world: World, workdir: Workdir) -> None:
    launch(world, a_config())
    flaky = FlakyObjects(world.memory.objects)
    flaky.reads_refused, world.objects = 3, flaky
    slept: list[float] = []

    assert run_agent(world, "bucket", an_identity(), workdir, Control(), pacing=Pacing(slept.append)) == SUCCEEDED

    assert slept == [1, 2, 4]


def test_without_a_request_there_is_no_claim(world: World, workdir: Workdir) -> None:
    assert run_agent(world, "bucket", an_identity(), workdir, Control()) == FENCED


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (a_config(data={"path": "training-data/toy/", "target": "sales"}), "has no column 'sales' for data.target"),
        (a_config(data={"path": "training-data/toy/", "target": "item_id"}), "column 'item_id' is named twice"),
        (a_config(trainning={}), "unknown key trainning, did you mean training?"),
    ],
)
def test_an_invalid_configuration_is_reported_in_one_line(
    world: World, workdir: Workdir, config: dict[str, object], message: str
) -> None:
    launch(world, config)

    assert run_to_end(world, workdir) == FAILED

    verdict = the_run(world).verdict
    assert verdict is not None
    assert verdict.cause is Cause.USER_CODE
    assert message in verdict.message


def test_a_data_set_that_changed_since_the_launch_is_refused(world: World, workdir: Workdir) -> None:
    launch(world, a_config())
    body = world.memory.objects.body(DATA_KEY)
    world.memory.objects.write(DATA_KEY, body + b"more")

    assert run_to_end(world, workdir) == FAILED

    assert "changed since the launch, launch again" in the_run(world).verdict.message  # type: ignore[union-attr]


def test_an_unexpected_error_ends_with_a_verdict(world: World, workdir: Workdir) -> None:
    launch(world, a_config())
    workdir.data.rmdir()
    workdir.data.write_text("a file where the folder should be")

    assert run_to_end(world, workdir) == FAILED

    verdict = the_run(world).verdict
    assert verdict is not None
    assert verdict.cause is Cause.INFRA
    assert verdict.message.startswith("the agent failed in data_sync: NotADirectoryError")


def test_a_verdict_has_no_secrets(world: World, workdir: Workdir) -> None:
    secret = "hf_" + "S" * 30
    launch(world, a_config() | {secret: 1})

    assert run_to_end(world, workdir) == FAILED

    verdict = the_run(world).verdict
    assert verdict is not None
    assert secret not in verdict.message
    assert "[hidden]" in verdict.message


@pytest.mark.thorough
def test_series_that_are_too_short_are_user_code(tmp_path: Path, workdir: Workdir) -> None:
    world = World()
    put_toy_series(world, tmp_path, toy_series(count=3, length=10))
    launch(world, tiny_chronos())

    assert run_to_end(world, workdir) == FAILED

    verdict = the_run(world).verdict
    assert verdict is not None
    assert verdict.cause is Cause.USER_CODE
    assert "3 of 3 series have fewer than the 12 points" in verdict.message


def test_a_chronos_2_is_trained_and_loads_from_its_results(world: World, workdir: Workdir, tmp_path: Path) -> None:
    launch(world, tiny_chronos())

    assert run_to_end(world, workdir) == SUCCEEDED

    summary = world.document("training.json")
    assert problems(summary) == []
    began = world.document("run.json")["training"]
    assert (summary["steps"], began["series"], began["device"], began["precision"]) == (20, 12, "cpu", "fp32")
    assert 0 < summary["metrics"]["mase"] < 10
    assert 0 < summary["metrics"]["mase_seasonal_naive"] < 2
    assert {"checkpoints/20/manifest.json", "checkpoints/20/optimizer.pt", "models/LICENSE.txt"} < world.names()
    assert {"forecasts.parquet", "plots/forecast.png", "plots/loss.png"} < world.names()
    assert_the_model_forecasts(world, tmp_path)


def assert_the_model_forecasts(world: World, tmp_path: Path) -> None:
    """Load the model as users do. Two forecasts are equal, so dropout is off."""
    folder = tmp_path / "loaded"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(world.memory.objects.body(f"dev/{the_run(world).run_id}/models/{name}"))
    pipeline = BaseChronosPipeline.from_pretrained(folder)
    history = torch.sin(torch.arange(48) * 2 * np.pi / 6)
    once, again = (pipeline.predict_quantiles([history], prediction_length=6)[0][0] for _ in range(2))
    assert once.shape == (1, 6, 9)
    assert torch.equal(once, again)


def store_a_checkpoint(world: World, tmp_path: Path, step: int) -> None:
    folder = tmp_path / "earlier" / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    prefix = f"dev/{RUN_ID}/checkpoints/"
    store_checkpoint(world.memory.objects, world.memory.transfer, prefix, folder.parent, step, lambda _: None)


def test_the_next_attempt_resumes_from_the_latest_checkpoint(world: World, workdir: Workdir, tmp_path: Path) -> None:
    launch(world, a_config(), attempt=2)
    store_a_checkpoint(world, tmp_path, 10)
    store_a_checkpoint(world, tmp_path, 20)

    assert run_to_end(world, workdir) == SUCCEEDED

    assert world.document("training.json")["resumed_from_step"] == 20
    assert "checkpoint 20 restored from S3" in workdir.agent_log.read_text()


def test_the_next_attempt_continues_the_metrics_and_keeps_earlier_logs(
    world: World, workdir: Workdir, tmp_path: Path
) -> None:
    launch(world, a_config(probe={"steps": 22, "step_seconds": 0.01}), attempt=2)
    store_a_checkpoint(world, tmp_path, 20)
    earlier = "".join(f'{{"step": {step}, "total_steps": 22, "loss": 1.0}}\n' for step in range(1, 22))
    world.memory.objects.write(f"dev/{RUN_ID}/logs/metrics.jsonl", earlier.encode() + b'{"step": 22, "tot')
    world.memory.objects.write(f"dev/{RUN_ID}/logs/trainer.log", b"lost\n")

    assert run_to_end(world, workdir) == SUCCEEDED

    lines = world.memory.objects.body(f"dev/{RUN_ID}/metrics.jsonl").decode().splitlines()
    assert lines[:21] == earlier.splitlines()
    assert json.loads(lines[21]) == {"event": "attempt", "attempt": 2, "step": 20}
    assert [json.loads(line)["step"] for line in lines[22:] if "total_steps" in line] == [21, 22]
    assert {"logs/trainer.log", "logs/trainer-2.log", "logs/metrics-2.jsonl"} < world.names()
    assert world.memory.objects.body(f"dev/{RUN_ID}/logs/trainer.log") == b"lost\n"


def test_a_failed_list_of_checkpoints_is_retried_before_training(
    world: World, workdir: Workdir, tmp_path: Path
) -> None:
    """Without a checkpoint in its heartbeat, a lost run gets no next attempt."""

    class Unlisted(FlakyObjects):
        """The first list fails."""

        lists = 0

        def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
            self.lists += 1
            if self.lists == 1:
                raise ServiceUnavailable("no list")
            return world.memory.objects.keys(prefix)

    launch(world, a_config(probe={"steps": 40, "step_seconds": 0.05, "checkpoint_steps": 1000}), attempt=2)
    store_a_checkpoint(world, tmp_path, 20)
    world.objects = Unlisted(world.memory.objects)
    heartbeats: list[Heartbeat] = []
    outside = when(world, lambda _run: record_heartbeat(world, heartbeats) and heartbeats[-1].step > 0, lambda: None)

    assert run_to_end(world, workdir) == SUCCEEDED

    outside.join()
    assert heartbeats[0].checkpoint_age is None
    assert heartbeats[-1].checkpoint_age is not None


def test_the_first_heartbeat_of_the_next_attempt_reports_the_checkpoint(
    world: World, workdir: Workdir, tmp_path: Path
) -> None:
    """The watchdog reads from the latest heartbeat whether a lost attempt left a checkpoint."""
    launch(world, a_config(), attempt=2)
    store_a_checkpoint(world, tmp_path, 20)
    world.memory.clock.advance(timedelta(minutes=5))
    heartbeats: list[Heartbeat] = []
    outside = when(world, lambda _run: record_heartbeat(world, heartbeats), lambda: None)

    assert run_to_end(world, workdir) == SUCCEEDED

    outside.join()
    assert heartbeats[0].status is Status.INITIALIZATION
    assert heartbeats[0].checkpoint_age is not None
    assert heartbeats[0].checkpoint_age >= timedelta(minutes=5)


def record_heartbeat(world: World, heartbeats: list[Heartbeat]) -> bool:
    found = world.store.read_heartbeat("dev", RUN_ID)
    if isinstance(found, HeartbeatReceived):
        heartbeats.append(found.heartbeat)
    return bool(heartbeats)


def test_a_run_whose_results_are_missing_in_s3_fails(world: World, workdir: Workdir) -> None:
    class Forgetful(FlakyObjects):
        """Accepts the metrics, but does not list them."""

        def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
            return ((key, size) for key, size in world.memory.objects.keys(prefix) if "metrics" not in key)

    launch(world, a_config())
    world.objects = Forgetful(world.memory.objects)

    assert run_to_end(world, workdir) == FAILED

    verdict = the_run(world).verdict
    assert verdict is not None
    assert (verdict.cause, verdict.message) == (
        Cause.INFRA, "S3 does not have metrics.jsonl as uploaded: launch again"
    )  # fmt: skip
    assert world.document("training.json")["outcome"] == "failed"


def test_nothing_says_that_a_run_has_completed_before_s3_is_known_to_have_its_results(
    tmp_path: Path, workdir: Workdir
) -> None:
    faults = Faults()
    world, listed, before = World(MemoryAws(faults)), list[set[str]](), list[int]()
    put_toy_series(world, tmp_path)
    launch(world, a_config())
    faults.hook("objects.keys", lambda _prefix: listed.append(world.names()), on=f"*/{RUN_ID}/")
    faults.hook("objects.write", lambda _key: before.append(len(listed)), on="*/training.json")
    faults.hook("objects.create", lambda _key: before.append(len(listed)), on="*/outcomes/1.json")

    assert run_to_end(world, workdir) == SUCCEEDED

    assert before == [1, 1], "training.json, then the outcome"
    assert {"metrics.jsonl", "run.json", "plots/loss.png"} <= listed[0]


def test_a_run_whose_results_are_missing_never_says_that_it_has_completed(tmp_path: Path, workdir: Workdir) -> None:
    faults = Faults()
    world, said = World(MemoryAws(faults)), list[bytes]()
    put_toy_series(world, tmp_path)
    launch(world, a_config())
    # The metrics are uploaded, and are gone when S3 is asked for what it has.
    metrics = run_key("dev", RUN_ID, "metrics.jsonl")
    faults.hook("objects.keys", lambda _prefix: world.memory.objects.remove(metrics), on=f"*/{RUN_ID}/")
    for operation in ("objects.write", "objects.replace"):
        faults.hook(operation, lambda key: said.append(world.memory.objects.body(key)), after=True)

    assert run_to_end(world, workdir) == FAILED

    assert any(b'"failed"' in body for body in said)
    assert not [body for body in said if b"succeeded" in body]


class NeverDone(CheckpointUploader):
    """An upload that does not end. Nobody has to wait for it here: it notes for how long the agent would."""

    waited: timedelta | None = None

    def drain(self, seconds: float) -> bool:
        """Note the time of the first call. The cleanup only asks, and does not wait."""
        self.waited = self.waited or timedelta(seconds=seconds)
        return False


@pytest.mark.parametrize("within", [None, timedelta(seconds=100)])
def test_the_last_upload_of_a_stopping_run_leaves_a_quarter_of_the_stop_time_for_its_verdict(
    world: World, workdir: Workdir, within: timedelta | None
) -> None:
    """What does not fit into the time is lost, but the verdict is not."""
    grace = timedelta(seconds=400)
    launch(world, a_config(), replace(FAST, grace=grace))
    request = read_request(world.store, an_identity(), time.sleep)
    session = RunSession(world.store, world.clock, request.lane, an_identity())
    session.claim()
    control = Control()
    context = compose(world, "bucket", request, session, an_identity(), workdir, control)
    uploader = NeverDone(
        world.memory.objects, world.transfer, context.results.key_of, workdir.checkpoints, context.progress
    )
    control.request_stop(Stop(Cause.PREEMPTED, "a spot notice", NOW), within)

    assert AgentRun(replace(context, checkpoints=uploader)).run() == FAILED

    stop_time = within or grace
    assert uploader.waited is not None
    # As much as half of the stop time may have gone by before the upload.
    assert 0.25 * stop_time < uploader.waited <= 0.75 * stop_time
    verdict = the_run(world).verdict
    assert verdict is not None
    assert verdict.cause is Cause.PREEMPTED


class SlowUploads(MemoryTransfer):
    """Uploads checkpoints slowly."""

    def upload(
        self, path: Path, key: str, on_bytes: Callable[[int], None], *, expires: bool = False, sha256: str | None = None
    ) -> None:
        time.sleep(2.0 if expires else 0)
        super().upload(path, key, on_bytes, expires=expires, sha256=sha256)


def test_the_upload_may_use_the_stop_time_that_the_trainer_has_left(world: World, workdir: Workdir) -> None:
    """Both have three quarters of the grace, 4.5 s: the trainer takes an instant, the upload two seconds."""
    launch(
        world,
        a_config(probe={"steps": 1000, "step_seconds": 0.05, "checkpoint_steps": 1000}),
        replace(FAST, grace=timedelta(seconds=6)),
    )
    world.memory.transfer = SlowUploads(world.memory.objects)
    stop = Stop(Cause.REQUESTED, "asked for by a person", NOW)
    outside = when(world, lambda _run: has_stepped(world), lambda: rewrite(world, lambda run: replace(run, stop=stop)))

    assert run_to_end(world, workdir) == FAILED

    outside.join()
    assert f"checkpoints/{world.document('training.json')['steps']}/manifest.json" in world.names()
