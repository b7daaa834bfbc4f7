"""Uploads of checkpoints: the manifest last, the latest first, and failures do not end the run."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.checkpoint.upload import CheckpointUploader
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.ports import Source
from chronos_ec2.testing import MemoryAws, MemoryTransfer
from chronos_ec2.worker.progress import Progress


class RecordingTransfer:
    """Records the order of uploads, and fails the first ones."""

    def __init__(self, inner: MemoryTransfer, failures: int = 0, error: Exception | None = None) -> None:
        self._inner = inner
        self.failures = failures
        self.error = error or ServiceUnavailable("no answer")
        self.keys: list[str] = []

    def download(self, key: str, path: Path, on_bytes: Callable[[int], None]) -> None:
        raise NotImplementedError

    def download_piece(self, key: str, path: Path, piece: range | None, on_bytes: Callable[[int], None]) -> Source:
        raise NotImplementedError

    def upload(self, path: Path, key: str, on_bytes: Callable[[int], None], *, expires: bool = False) -> None:
        if self.failures:
            self.failures -= 1
            raise self.error
        self._inner.upload(path, key, on_bytes, expires=expires)
        self.keys.append(key)


class Uploads:
    def __init__(self, tmp_path: Path, failures: int = 0, error: Exception | None = None) -> None:
        self.world = MemoryAws()
        self.folder = tmp_path
        self.transfer = RecordingTransfer(self.world.transfer, failures, error)
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


def test_the_manifest_names_every_part_and_is_uploaded_last(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    uploads.save(10)
    with uploads.uploader as uploader:
        uploader.offer(10)
        assert uploader.drain(10)
    assert uploads.transfer.keys == ["dev/run/checkpoints/10/model.safetensors", "dev/run/checkpoints/10/sub/rng.pth"]
    manifest = json.loads(uploads.world.objects.body("dev/run/checkpoints/10/manifest.json"))
    weights = {"name": "model.safetensors", "bytes": 7, "sha256": hashlib.sha256(b"weights").hexdigest()}
    assert manifest["step"] == 10
    assert manifest["parts"][0] == weights
    assert uploads.progress.snapshot().checkpoint_age is not None
    assert uploads.world.transfer.expiring == set(uploads.transfer.keys)


@pytest.mark.parametrize(("best", "left"), [(None, {20, 30}), (9, {9, 20, 30}), (30, {20, 30})])
def test_the_latest_two_and_the_best_stay_on_disk(tmp_path: Path, best: int | None, left: set[int]) -> None:
    uploads = Uploads(tmp_path)
    with uploads.uploader as uploader:
        for step in (9, 10, 20, 30):
            uploads.save(step)
            uploader.offer(step, step == best)
            assert uploader.drain(10)
    assert {int(path.name.removeprefix("checkpoint-")) for path in tmp_path.iterdir()} == left


def test_newer_checkpoints_that_are_not_uploaded_yet_stay_on_disk(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    for step in (9, 10, 20, 30):
        uploads.save(step)
    with uploads.uploader as uploader:
        uploader.offer(10)
        assert uploader.drain(10)
    assert {path.name for path in tmp_path.iterdir()} == {f"checkpoint-{step}" for step in (9, 10, 20, 30)}


@pytest.mark.parametrize("error", [ServiceUnavailable("no answer"), OSError("the disk does not answer")])
def test_a_failed_upload_leaves_no_manifest_and_the_next_one_succeeds(tmp_path: Path, error: Exception) -> None:
    uploads = Uploads(tmp_path, 1, error)
    with uploads.uploader as uploader:
        uploads.save(10)
        uploader.offer(10)
        assert uploader.drain(10)
        assert uploads.stored() == []
        uploads.save(20)
        uploader.offer(20)
        assert uploader.drain(10)
    assert uploader.uploaded == [20]
    assert "dev/run/checkpoints/20/manifest.json" in uploads.stored()


def test_a_newer_checkpoint_replaces_one_that_waits(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path)
    uploads.save(10)
    uploads.save(20)
    uploads.uploader.offer(10)
    uploads.uploader.offer(20)
    with uploads.uploader as uploader:
        assert uploader.drain(10)
    assert uploader.uploaded == [20]
    assert not uploader.alive


def test_the_queue_is_not_empty_while_an_upload_is_in_progress(tmp_path: Path) -> None:
    class Held(MemoryTransfer):
        """Uploads once it is released."""

        def upload(self, path: Path, key: str, on_bytes: Callable[[int], None], *, expires: bool = False) -> None:
            started.set()
            released.wait(60)
            super().upload(path, key, on_bytes, expires=expires)

    started, released = threading.Event(), threading.Event()
    uploads = Uploads(tmp_path)
    uploads.save(10)
    held = Held(uploads.world.objects)
    with CheckpointUploader(uploads.world.objects, held, lambda name: name, tmp_path, uploads.progress) as uploader:
        uploader.offer(10)
        assert started.wait(60)
        assert not uploader.drain(0)
        released.set()
        assert uploader.drain(60)
