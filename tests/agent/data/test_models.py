"""A model is loaded only if each of its files is what the request says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.data.models import ModelSync
from agent.errors import RunFailed
from chronos_ec2.domain.errors import Fenced, ServiceUnavailable
from chronos_ec2.domain.records.request import ModelReference
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.ports import Source
from chronos_ec2.testing import Faults, MemoryAws, MemoryObjects, MemoryTransfer

FILES = {"config.json": b"{}", "model.safetensors": b"weights", "adapter/base.json": b"{ }"}
PREFIX = "dev/20260131T120000Z-1a2b3c/models/"
MODEL = ModelReference(
    "run:20260131T120000Z-1a2b3c",
    f"s3://bucket/{PREFIX}",
    tuple((name, hashlib.sha256(body).hexdigest()) for name, body in FILES.items()),
)


def no_stop() -> None:
    """Never raises."""


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def aws(faults: Faults) -> MemoryAws:
    made = MemoryAws(faults)
    for name, body in FILES.items():
        made.objects.write(PREFIX + name, body)
    return made


def sync(aws: MemoryAws, check: Callable[[], None] = no_stop) -> ModelSync:
    return ModelSync(aws.objects, aws.transfer, "bucket", lambda _: None, check, sleep=lambda _: None)


def failure(aws: MemoryAws, folder: Path, model: ModelReference = MODEL) -> RunFailed:
    with pytest.raises(RunFailed) as failed:
        sync(aws).download(model, folder)
    return failed.value


def test_a_model_that_is_what_it_was_is_downloaded_whole(aws: MemoryAws, tmp_path: Path) -> None:
    sync(aws).download_all([MODEL], lambda given: tmp_path / given)
    for name, body in FILES.items():
        assert (tmp_path / MODEL.given / name).read_bytes() == body


def overwritten(objects: MemoryObjects) -> None:
    objects.write(f"{PREFIX}model.safetensors", b"WEIGHTS")


def longer(objects: MemoryObjects) -> None:
    objects.write(f"{PREFIX}config.json", b'{"auto_map": {}}')


def removed(objects: MemoryObjects) -> None:
    objects.remove(f"{PREFIX}adapter/base.json")


def added(objects: MemoryObjects) -> None:
    objects.write(f"{PREFIX}pytorch_model.bin", b"\x80\x04")


def added_first(objects: MemoryObjects) -> None:
    objects.write(f"{PREFIX}adapter_config.json", b"{}")


def replaced(objects: MemoryObjects) -> None:
    removed(objects)
    added(objects)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (overwritten, "model.safetensors has the SHA-256 "),
        (longer, "config.json has the SHA-256 "),
        (removed, "adapter/base.json is missing"),
        (added, "pytorch_model.bin was added"),
        (added_first, "adapter_config.json was added"),
        (replaced, "adapter/base.json is missing"),
    ],
)
def test_a_changed_missing_or_additional_file_ends_the_run(
    aws: MemoryAws, tmp_path: Path, change: Callable[[MemoryObjects], None], problem: str
) -> None:
    change(aws.objects)
    verdict = failure(aws, tmp_path).verdict
    assert verdict.cause is Cause.USER_CODE
    assert verdict.message.startswith(f"model run:20260131T120000Z-1a2b3c: {problem}")
    assert verdict.message.endswith("It is not what it was at the launch, so nothing of it was loaded; launch again")


class Late(MemoryTransfer):
    """A file changes after it was listed."""

    def download_piece(self, key: str, path: Path, piece: range | None, on_bytes: Callable[[int], None]) -> Source:
        self._objects.write(f"{PREFIX}model.safetensors", b"WEIGHTS")
        return super().download_piece(key, path, piece, on_bytes)


def test_a_file_that_changes_between_list_and_download_ends_the_run(aws: MemoryAws, tmp_path: Path) -> None:
    aws.transfer = Late(aws.objects)
    assert "model.safetensors was overwritten" in failure(aws, tmp_path).verdict.message


def test_a_folder_of_a_million_files_is_not_listed_to_its_end(aws: MemoryAws, tmp_path: Path) -> None:
    for number in range(50):
        aws.objects.write(f"{PREFIX}n{number:02}", b"")
    assert "n00 was added" in failure(aws, tmp_path).verdict.message


def test_a_model_of_another_bucket_is_refused(aws: MemoryAws, tmp_path: Path) -> None:
    other = replace(MODEL, uri=f"s3://bucket-of-a-thief/{PREFIX}")
    assert "is not in the bucket of this run" in failure(aws, tmp_path, other).verdict.message


def test_a_bucket_that_does_not_answer_is_no_fault_of_the_model(aws: MemoryAws, faults: Faults, tmp_path: Path) -> None:
    faults.fail("objects.listed", ServiceUnavailable)
    assert failure(aws, tmp_path).verdict.cause is Cause.INFRA


def test_a_stop_ends_the_download(aws: MemoryAws, tmp_path: Path) -> None:
    def stop() -> None:
        raise Fenced("another instance has the run")

    with pytest.raises(Fenced):
        sync(aws, stop).download(MODEL, tmp_path)
