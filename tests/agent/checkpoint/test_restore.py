"""The next attempt resumes from the latest complete checkpoint."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent.checkpoint.restore import restore, restore_metrics
from agent.checkpoint.upload import store_checkpoint
from agent.data.hashing import sha256_of
from agent.protocol.checkpoint_dir import folder_of, steps_in
from chronos_ec2.aws.clients import client
from chronos_ec2.bootstrap.agent import agent_world
from chronos_ec2.domain.errors import Fenced, InvalidDocument, ServiceUnavailable
from chronos_ec2.domain.records.checkpoint import MANIFEST, Manifest
from chronos_ec2.domain.records.s3_keys import log_key
from chronos_ec2.services.checkpoints import stored_checkpoints
from chronos_ec2.testing import MemoryAws, MemoryTransfer
from tests.agent.builders import RUN_ID, a_run

ROOT = Path(__file__).parents[3]
PREFIX = "dev/run/checkpoints/"
PARTS = {"model.safetensors": b"weights", "sub/rng.pth": b"state"}


class Run:
    """A run with checkpoints in S3, and the empty folder of a fresh instance."""

    def __init__(self, tmp_path: Path, *steps: int) -> None:
        self.world = MemoryAws()
        self.objects = self.world.objects
        self.folder = tmp_path / "instance"
        self.folder.mkdir()
        self.moved: list[int] = []
        for step in steps:
            self.save(tmp_path / "earlier", step)

    def save(self, folder: Path, step: int) -> None:
        for name, body in PARTS.items():
            path = folder_of(folder, step) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        store_checkpoint(self.objects, self.world.transfer, PREFIX, folder, step, self.moved.append)

    def restore(self) -> int | None:
        return restore(
            self.objects, self.world.transfer, PREFIX, self.folder, self.moved.append, lambda: None, lambda _: None
        )


def test_the_latest_checkpoint_is_restored_as_it_was_saved(tmp_path: Path) -> None:
    run = Run(tmp_path, 9, 10)
    assert run.restore() == 10
    folder = run.folder / "checkpoint-10"
    assert {name: (folder / name).read_bytes() for name in PARTS} == PARTS
    assert steps_in(run.folder) == [10]


def test_without_checkpoints_nothing_is_restored(tmp_path: Path) -> None:
    assert Run(tmp_path).restore() is None


def test_a_checkpoint_without_a_manifest_is_skipped(tmp_path: Path) -> None:
    run = Run(tmp_path, 10, 20)
    run.objects.remove(f"{PREFIX}20/{MANIFEST}")
    assert run.restore() == 10


@pytest.mark.parametrize("body", [b"weight", b"WEIGHTS", None])
def test_a_checkpoint_with_a_missing_or_changed_part_is_skipped(tmp_path: Path, body: bytes | None) -> None:
    run = Run(tmp_path, 10, 20)
    key = f"{PREFIX}20/model.safetensors"
    run.objects.remove(key) if body is None else run.objects.write(key, body)
    assert run.restore() == 10
    # The trainer takes the latest folder: nothing of the skipped checkpoint may remain.
    assert [path.name for path in run.folder.iterdir()] == ["checkpoint-10"]


def test_a_failed_download_does_not_skip_a_checkpoint(tmp_path: Path) -> None:
    class Silent:
        def download_piece(self, key: str, path: Path, piece: range | None, on_bytes: object) -> None:
            raise ServiceUnavailable("no answer")

    run = Run(tmp_path, 10)
    with pytest.raises(ServiceUnavailable):
        restore(run.objects, Silent(), PREFIX, run.folder, run.moved.append, lambda: None, lambda _: None)  # type: ignore[arg-type]


def test_a_fence_ends_the_restore(tmp_path: Path) -> None:
    def fenced() -> None:
        raise Fenced("not ours")

    run = Run(tmp_path, 10)
    with pytest.raises(Fenced):
        restore(run.objects, run.world.transfer, PREFIX, run.folder, run.moved.append, fenced)
    assert steps_in(run.folder) == []


def test_the_list_of_checkpoints_says_when_each_was_written(tmp_path: Path) -> None:
    run = Run(tmp_path, 9, 100)
    found = list(stored_checkpoints(run.objects, PREFIX))
    assert [stored.manifest.step for stored in found] == [100, 9]
    assert found[0].written_at == run.world.clock.now()


def test_a_torn_checkpoint_is_not_listed(tmp_path: Path) -> None:
    """From the list the first heartbeat says that there is a checkpoint to resume from."""
    run = Run(tmp_path, 9, 100)
    run.objects.write(f"{PREFIX}100/model.safetensors", b"weight")
    assert [stored.manifest.step for stored in stored_checkpoints(run.objects, PREFIX)] == [9]


def metrics_of(step: int) -> bytes:
    return f'{{"step": {step}, "total_steps": 9}}\n'.encode()


def test_a_third_attempt_continues_the_metrics_of_the_second(tmp_path: Path) -> None:
    """Those of the second begin with the lines of the first."""
    aws, metrics = MemoryAws(), tmp_path / "metrics.jsonl"
    aws.objects.write(f"dev/{RUN_ID}/logs/metrics.jsonl", metrics_of(1))
    aws.objects.write(f"dev/{RUN_ID}/logs/metrics-2.jsonl", metrics_of(1) + metrics_of(2))
    restore_metrics(aws.objects, aws.transfer, a_run(attempt=3), 2, metrics)
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 2]
    assert lines[-1] == {"event": "attempt", "attempt": 3, "step": 2}


def test_metrics_that_cannot_be_downloaded_do_not_end_the_attempt(tmp_path: Path) -> None:
    class Silent(MemoryTransfer):
        """Breaks off after some bytes."""

        def download(self, key: str, path: Path, on_bytes: object) -> None:
            path.write_text('{"st')
            raise ServiceUnavailable("no answer")

    aws, metrics = MemoryAws(), tmp_path / "metrics.jsonl"
    aws.objects.write(f"dev/{RUN_ID}/logs/metrics.jsonl", metrics_of(1))
    restore_metrics(aws.objects, Silent(aws.objects), a_run(attempt=2), 1, metrics)
    assert not metrics.exists()


UPLOAD = """
import os, signal, sys, threading
from pathlib import Path
from agent.checkpoint.upload import store_checkpoint
from chronos_ec2.bootstrap.agent import agent_world
prefix, folder, last = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
world, sent, lock = agent_world("bucket"), 0, threading.Lock()

def on_bytes(count):
    global sent
    with lock:
        sent += count
        if sent >= last:
            os.kill(os.getpid(), signal.SIGKILL)

store_checkpoint(world.store.objects, world.transfer, prefix, folder, 20, on_bytes)
"""
PART = 20_000_000
"""Bytes of each of two parts, which are uploaded in several pieces at a time."""


@pytest.mark.parametrize(
    ("last", "restores"),
    [(1, 10), (PART // 2, 10), (PART, 10), (3 * PART // 2, 10), (2 * PART, 10), (2 * PART + 1, 20)],
    ids=["first byte", "first part", "between", "second part", "before the manifest", "not killed"],
)
def test_an_instance_killed_during_a_multipart_upload_leaves_no_torn_checkpoint(
    aws: str, tmp_path: Path, last: int, restores: int
) -> None:
    client("s3").create_bucket(Bucket="bucket")
    world = agent_world("bucket")
    folder = folder_of(tmp_path / "earlier", 20)
    folder.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt"):
        (folder / name).write_bytes(random.Random(name).randbytes(PART))
    earlier = {one.name: sha256_of(one) for one in folder.iterdir()}
    run = Run(tmp_path, 10)
    for key, _ in run.objects.keys(PREFIX):
        world.store.objects.write(key, run.objects.body(key))
    command = [sys.executable, "-c", UPLOAD, PREFIX, str(tmp_path / "earlier"), str(last)]
    agent = subprocess.run(command, cwd=ROOT, check=False)
    assert agent.returncode == (0 if restores == 20 else -signal.SIGKILL)

    restored = restore(world.store.objects, world.transfer, PREFIX, run.folder, lambda _: None, lambda: None)

    assert restored == restores
    if restored == 20:
        assert {one.name: sha256_of(one) for one in folder_of(run.folder, 20).iterdir()} == earlier


def a_manifest(*names: str, **changes: object) -> bytes:
    parts = [{"name": name, "bytes": 1, "sha256": "0" * 64} for name in names]
    return json.dumps({"schema_version": 1, "step": 10, "parts": parts} | changes).encode()


def test_a_manifest_survives_a_round_trip() -> None:
    manifest = Manifest.from_json(a_manifest("a", "sub/b"), 10)
    assert Manifest.from_json(manifest.to_json(), 10) == manifest


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        a_manifest(),
        a_manifest("a", "a"),
        a_manifest("/etc/passwd"),
        a_manifest("../checkpoint-99/model"),
        a_manifest("a/../../b"),
        a_manifest("./a"),
        a_manifest(MANIFEST),
        a_manifest("a", step=11),
        a_manifest("a", schema_version=2),
    ],
)
def test_an_invalid_manifest_is_unreadable(raw: bytes) -> None:
    with pytest.raises(InvalidDocument):
        Manifest.from_json(raw, 10)


def test_the_metrics_of_the_attempt_before_are_restored_from_all_their_parts(tmp_path: Path) -> None:
    world = MemoryAws()
    third = a_run(run_id=RUN_ID, attempt=3)
    for attempt, part, body in (
        (1, 1, b'{"step": 1}\n'), (2, 1, b'{"step": 2}\n'), (2, 2, b'{"step": 3}\n'), (2, 10, b'{"step": 4}\n'),
    ):  # fmt: skip
        world.objects.write(log_key("dev", RUN_ID, "metrics.jsonl", attempt, part), body)
    metrics = tmp_path / "metrics.jsonl"
    restore_metrics(world.objects, world.transfer, third, 3, metrics)
    *steps, attempt = map(json.loads, metrics.read_text().splitlines())
    assert steps == [{"step": 2}, {"step": 3}, {"step": 4}]
    assert (attempt["event"], attempt["attempt"], attempt["step"]) == ("attempt", 3, 3)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["metrics.jsonl"]
