"""Checkpoints in S3: the manifest last, the newest first, and a failure is not the end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.checkpoint.upload import CheckpointUploader
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.ports import Source
from chronos_ec2.testing import MemoryAws, MemoryTransfer
from chronos_ec2.worker.progress import Progress


class RecordingTransfer:
    """Keeps the order of uploads, and fails the first few."""

    def __init__(self, inner: MemoryTransfer, failures: int = 0) -> None:
        self._inner = inner
        self.failures = failures
        self.keys: list[str] = []

    def download(self, key: str, path: Path, on_bytes: Callable[[int], None]) -> None:
        raise NotImplementedError

    def download_piece(self, key: str, path: Path, piece: range | None, on_bytes: Callable[[int], None]) -> Source:
        raise NotImplementedError

    def upload(self, path: Path, key: str, on_bytes: Callable[[int], None], *, expires: bool = False) -> None:
        if self.failures:
            self.failures -= 1
            raise ServiceUnavailable("no answer")
        self._inner.upload(path, key, on_bytes, expires=expires)
        self.keys.append(key)


class Box:
    def __init__(self, tmp_path: Path, failures: int = 0) -> None:
        self.world = MemoryAws()
        self.folder = tmp_path
        self.transfer = RecordingTransfer(self.world.transfer, failures)
        self.progress = Progress()
        self.uploader = CheckpointUploader(
            self.world.objects, self.transfer, lambda name: f"dev/run/{name}", tmp_path, self.progress
        )

    def save(self, step: int) -> None:
        folder = self.folder / f"checkpoint-{step}"
        (folder / "sub").mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "sub" / "rng.pth").write_bytes(b"state")

    def stored(self) -> list[str]:
        return [key for key, _ in self.world.objects.keys("dev/run/checkpoints/")]


def test_the_manifest_names_every_part_and_goes_last(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.save(10)
    with box.uploader as uploader:
        uploader.offer(10)
        assert uploader.drain(10)
    assert box.transfer.keys == ["dev/run/checkpoints/10/model.safetensors", "dev/run/checkpoints/10/sub/rng.pth"]
    manifest = json.loads(box.world.objects.body("dev/run/checkpoints/10/manifest.json"))
    weights = {"name": "model.safetensors", "bytes": 7, "sha256": hashlib.sha256(b"weights").hexdigest()}
    assert manifest["step"] == 10
    assert manifest["parts"][0] == weights
    assert box.progress.snapshot().checkpoint_age is not None
    assert box.world.transfer.expiring == set(box.transfer.keys)


@pytest.mark.parametrize(("best", "left"), [(None, {20, 30}), (9, {9, 20, 30}), (30, {20, 30})])
def test_on_disk_the_newest_two_stay_and_the_best(tmp_path: Path, best: int | None, left: set[int]) -> None:
    box = Box(tmp_path)
    with box.uploader as uploader:
        for step in (9, 10, 20, 30):
            box.save(step)
            uploader.offer(step, step == best)
            assert uploader.drain(10)
    assert {int(path.name.removeprefix("checkpoint-")) for path in tmp_path.iterdir()} == left


def test_a_newer_checkpoint_that_waits_for_its_upload_stays(tmp_path: Path) -> None:
    box = Box(tmp_path)
    for step in (9, 10, 20, 30):
        box.save(step)
    with box.uploader as uploader:
        uploader.offer(10)
        assert uploader.drain(10)
    assert {path.name for path in tmp_path.iterdir()} == {f"checkpoint-{step}" for step in (9, 10, 20, 30)}


def test_a_failed_upload_leaves_no_manifest_and_the_next_one_goes_on(tmp_path: Path) -> None:
    box = Box(tmp_path, failures=1)
    with box.uploader as uploader:
        box.save(10)
        uploader.offer(10)
        assert uploader.drain(10)
        assert box.stored() == []
        box.save(20)
        uploader.offer(20)
        assert uploader.drain(10)
    assert uploader.uploaded == [20]
    assert "dev/run/checkpoints/20/manifest.json" in box.stored()


def test_a_checkpoint_that_waits_is_replaced_by_a_newer_one(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.save(10)
    box.save(20)
    box.uploader.offer(10)
    box.uploader.offer(20)
    with box.uploader as uploader:
        assert uploader.drain(10)
    assert uploader.uploaded == [20]
    assert not uploader.alive
