"""The packages of trainer and reports are installed beside the work, by pip, from an archive of known content."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.boot.packages import PackageInstallation, Packages
from agent.errors import RunFailed
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.records.s3_keys import python_env_key
from chronos_ec2.domain.records.status import Cause, Stop
from chronos_ec2.services.publish.wheels import file_sha256, pack
from chronos_ec2.testing import MemoryAws, MemoryTransfer
from chronos_ec2.worker.errors import Stopped


def nothing() -> None:
    """No stop is requested."""


class SlowToAnswer(MemoryTransfer):
    """S3, of which the first two downloads fail."""

    failures = 2

    def download(self, key: str, path: Path, on_bytes: Callable[[int], None]) -> None:
        if self.failures:
            self.failures -= 1
            raise ServiceUnavailable("no answer")
        super().download(key, path, on_bytes)


class Bundle:
    """A bundle with a lock of one wheel, whose archive the bucket has."""

    def __init__(self, root: Path) -> None:
        self.aws = MemoryAws()
        self.received: list[int] = []
        self.slept: list[float] = []
        self.folder = root / "packages"
        wheels = root / "source"
        wheels.mkdir()
        wheel = wheels / "late_arrival-1-py3-none-any.whl"
        about = "late_arrival-1.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("late_arrival.py", "here = True\n")
            archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: late-arrival\nVersion: 1\n")
            archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{about}/RECORD", "")
        pack(wheels, root / "archive.tar")
        self.sha256 = file_sha256(root / "archive.tar")
        self.put((root / "archive.tar").read_bytes())
        (root / "bundle/agent").mkdir(parents=True)
        self.lock = root / "bundle/agent/requirements.txt"
        self.lock.write_text(f"late-arrival==1 --hash=sha256:{file_sha256(wheel)}\n")
        self.packages = Packages.of_bundle(self.sha256, root / "bundle")

    def put(self, body: bytes) -> None:
        self.aws.objects.write(python_env_key(self.sha256), body, "application/x-tar")

    def installation(self) -> PackageInstallation:
        return PackageInstallation(self.packages, self.aws.transfer, self.received.append, self.slept.append)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(tmp_path)


def test_the_packages_can_be_imported_after_the_wait(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(bundle.folder))
    with pytest.raises(ModuleNotFoundError):
        __import__("late_arrival")
    with bundle.installation() as installation:
        installation.wait(nothing)
    assert __import__("late_arrival").here
    assert sum(bundle.received) > 0, "bytes received are progress"
    sys.modules.pop("late_arrival")


def test_an_image_that_has_the_packages_installs_none(bundle: Bundle) -> None:
    assert Packages.of_bundle(None, bundle.lock.parents[1]) is None
    assert Packages.of_bundle("", bundle.lock.parents[1]) is None
    with PackageInstallation(None, bundle.aws.transfer, bundle.received.append) as installation:
        installation.wait(nothing)
    assert not bundle.received


def failure(bundle: Bundle) -> RunFailed:
    with bundle.installation() as installation, pytest.raises(RunFailed) as failed:
        installation.wait(nothing)
    assert failed.value.verdict.cause is Cause.INFRA
    assert failed.value.elsewhere
    assert not bundle.folder.exists()
    return failed.value


def test_another_archive_than_the_bundle_names_is_not_installed(bundle: Bundle) -> None:
    bundle.put(b"forged")
    assert f"expected {bundle.sha256}" in str(failure(bundle))


def test_a_lock_without_hashes_installs_nothing(bundle: Bundle) -> None:
    bundle.lock.write_text("late-arrival==1\n")
    failure(bundle)


def test_a_wheel_that_the_lock_does_not_know_is_not_installed(bundle: Bundle) -> None:
    bundle.lock.write_text(f"late-arrival==1 --hash=sha256:{'0' * 64}\n")
    assert str(failure(bundle)).startswith("the trainer's packages: ")


def test_what_the_archive_lacks_does_not_come_from_an_index(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = tmp_path / "index/late-arrival"
    pages.mkdir(parents=True)
    (wheel,) = (tmp_path / "source").iterdir()
    (pages / "index.html").write_text(f'<!DOCTYPE html><a href="{wheel.as_uri()}">{wheel.name}</a>')
    monkeypatch.setenv("PIP_INDEX_URL", pages.parent.as_uri())
    (tmp_path / "none").mkdir()
    (tmp_path / "none/other-1-py3-none-any.whl").touch()
    pack(tmp_path / "none", tmp_path / "archive.tar")
    assert bundle.packages is not None
    bundle.packages = replace(bundle.packages, sha256=file_sha256(tmp_path / "archive.tar"))
    bundle.sha256 = bundle.packages.sha256
    bundle.put((tmp_path / "archive.tar").read_bytes())
    assert "late-arrival" in str(failure(bundle))


def test_a_download_that_fails_is_repeated(bundle: Bundle) -> None:
    transfer = SlowToAnswer(bundle.aws.objects)
    installing = PackageInstallation(bundle.packages, transfer, bundle.received.append, bundle.slept.append)
    with installing as installation:
        installation.wait(nothing)
    assert bundle.slept == [2, 5]
    assert bundle.folder.exists()


def test_a_stop_does_not_wait_for_the_packages(bundle: Bundle) -> None:
    def stop() -> None:
        raise Stopped(Stop(Cause.INFRA, "the instance is shutting down", datetime.now(UTC)))

    installation = bundle.installation()  # not entered: it never ends
    with pytest.raises(Stopped):
        installation.wait(stop)
