"""A simulated instance boots from the bundle of its request, with this machine's packages."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from chronos_ec2.domain.records.s3_keys import bundle_key, run_key
from chronos_ec2.local.ec2.instance_process import BootFailed, fetch_bundle
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.publish.agent import build_bundle, publish_bundle
from chronos_ec2.testing import MemoryAws
from chronos_ec2.testing.builders import RUN_ID

REQUEST = run_key("local", RUN_ID, "request.json")


def boot(disk: Path, packages_in_image: bool) -> Path:
    world = MemoryAws()
    sha256 = publish_bundle(RunStore(world.objects), build_bundle(packages_in_image))
    world.objects.write(REQUEST, json.dumps({"bundle_sha256": sha256}).encode())
    return fetch_bundle(world.objects, world.transfer, REQUEST, disk)


def test_a_bundle_without_packages_uses_those_of_this_machine(tmp_path: Path) -> None:
    assert (boot(tmp_path, packages_in_image=True) / "agent" / "__main__.py").is_file()


def test_a_bundle_that_needs_packages_installed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BootFailed, match="AgentPackages=image"):
        boot(tmp_path, packages_in_image=False)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../escaped", tarfile.REGTYPE),
        ("agent/../../escaped", tarfile.REGTYPE),
        ("/tmp/escaped", tarfile.REGTYPE),
        ("agent/link", tarfile.SYMTYPE),
        ("agent/hard", tarfile.LNKTYPE),
        ("agent/pipe", tarfile.FIFOTYPE),
    ],
)
def test_a_bundle_with_anything_but_regular_files_below_its_folder_is_refused(
    tmp_path: Path, name: str, kind: bytes
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, "/etc/passwd"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(entry)
    world, sha256 = MemoryAws(), hashlib.sha256(buffer.getvalue()).hexdigest()
    world.objects.write(bundle_key(sha256), buffer.getvalue())
    world.objects.write(REQUEST, json.dumps({"bundle_sha256": sha256}).encode())
    with pytest.raises(BootFailed, match="not a regular file"):
        fetch_bundle(world.objects, world.transfer, REQUEST, tmp_path)
    assert not list((tmp_path / "bundle").rglob("*"))
