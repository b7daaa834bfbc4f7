"""Data sync downloads exactly the requested files, or fails clearly."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.data.dataset import download
from agent.errors import RunFailed
from chronos_ec2.domain.errors import Fenced, ServiceUnavailable
from chronos_ec2.domain.records.request import DataObject
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.ports import Source
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.publish.data import upload_data
from chronos_ec2.testing import MemoryAws

BODIES = {"d/a.parquet": b"first", "d/sub/a.parquet": b"second", "d/../../etc/passwd": b"third"}
KEYS = tuple(DataObject(key, len(body), "etag") for key, body in BODIES.items())


class Transfer:
    """A bucket that fails the first few times, or never answers."""

    def __init__(self, failures: int = 0, hang: threading.Event | None = None) -> None:
        self.failures = failures
        self.hang = hang

    def download(self, key: str, path: Path, on_bytes: Callable[[int], None]) -> None:
        raise NotImplementedError

    def download_piece(self, key: str, path: Path, piece: range | None, on_bytes: Callable[[int], None]) -> Source:
        assert piece is None
        if self.hang:
            self.hang.wait(30)
        if self.failures:
            self.failures -= 1
            raise ServiceUnavailable(f"could not download {key}")
        path.write_bytes(BODIES[key])
        on_bytes(len(BODIES[key]))
        return Source("etag", len(BODIES[key]))

    def upload(self, path: Path, key: str, on_bytes: Callable[[int], None], *, expires: bool = False) -> None:
        raise NotImplementedError


class Same(Transfer):
    """Two bytes for every key."""

    def download_piece(self, key: str, path: Path, rest: range | None, on_bytes: Callable[[int], None]) -> Source:
        path.write_bytes(b"ok")
        return Source("etag", 2)


def no_stop() -> None:
    """Never raises."""


def test_files_of_the_same_name_do_not_collide_and_none_leaves_the_folder(tmp_path: Path) -> None:
    count: list[int] = []
    data = download(Transfer(), KEYS, tmp_path, count.append, no_stop)
    assert {one.key: one.path.read_bytes() for one in data.files} == BODIES
    assert all(one.path.parent == tmp_path for one in data.files)
    assert sum(count) == data.size == 16
    assert data.files[1].sha256 == hashlib.sha256(b"first").hexdigest()


def test_folders_that_are_columns_stay_in_the_path_and_none_leaves_the_folder(tmp_path: Path) -> None:
    keys = ("data/sales/country=DE/../part.parquet", "data/sales/country=FR/part.parquet", "data/sales/part.parquet")
    data = download(Same(), tuple(DataObject(key, 2, "etag") for key in keys), tmp_path, lambda _: None, no_stop)
    assert [one.path.relative_to(tmp_path).as_posix() for one in data.files] == [
        "00000/country=DE/part.parquet", "00001/country=FR/part.parquet", "00002-part.parquet",
    ]  # fmt: skip


def test_the_hash_of_a_data_set_does_not_depend_on_the_order_of_its_keys(tmp_path: Path) -> None:
    one = download(Transfer(), KEYS, tmp_path, lambda _: None, no_stop)
    other = download(Transfer(), KEYS[::-1], tmp_path, lambda _: None, no_stop)
    assert one.sha256 == other.sha256


def test_a_failed_download_is_retried(tmp_path: Path) -> None:
    slept: list[float] = []
    download(Transfer(failures=2), KEYS[:1], tmp_path, lambda _: None, no_stop, sleep=slept.append)
    assert slept == [2, 5]


def test_a_file_that_cannot_be_downloaded_fails_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunFailed) as caught:
        download(Transfer(failures=99), KEYS, tmp_path, lambda _: None, no_stop, sleep=lambda _: None)
    assert caught.value.verdict.cause is Cause.INFRA


def test_a_file_of_another_size_fails_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="has 5 bytes, expected 6: changed since the launch") as caught:
        download(Transfer(), (DataObject("d/a.parquet", 6, "etag"),), tmp_path, lambda _: None, no_stop)
    assert caught.value.verdict.cause is Cause.USER_CODE


def test_a_file_of_the_same_size_and_other_content_fails_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"d/a\.parquet was overwritten: changed since the launch") as caught:
        download(Transfer(), (DataObject("d/a.parquet", 5, "another"),), tmp_path, lambda _: None, no_stop)
    assert caught.value.verdict.cause is Cause.USER_CODE


def test_a_stop_ends_downloads_that_hang(tmp_path: Path) -> None:
    hang = threading.Event()

    def fence() -> None:
        raise Fenced("not ours")

    with pytest.raises(Fenced):
        download(Transfer(hang=hang), KEYS, tmp_path, lambda _: None, fence)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("download")], "left behind"
    hang.set()


def test_data_uploaded_by_the_cli_has_its_hash_on_the_instance(tmp_path: Path) -> None:
    world, folder = MemoryAws(), tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.parquet").write_bytes(rows := b"PAR1 rows PAR1")
    done = upload_data(folder, "toy", "dev", RunStore(world.objects), world.transfer, lambda _: None)
    source = world.transfer.download_piece(
        f"cached-datasets/dev/{done.data_path}sub/a.parquet", tmp_path / "a", range(2), lambda _: None
    )
    assert (done.files, source.sha256) == (1, hashlib.sha256(rows).hexdigest())
