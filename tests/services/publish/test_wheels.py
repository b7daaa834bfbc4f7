"""The packages that travel with the agent: a whole lock, fetched once, the same bytes for the same lock."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import Environment, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from chronos_ec2.domain.errors import InvalidInput, UserError
from chronos_ec2.domain.records.lane import CACHED
from chronos_ec2.domain.records.s3_keys import bundle_key, python_env_key
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.publish.agent import CHECKOUT, build_bundle, publish_bundle
from chronos_ec2.services.publish.wheels import (
    CLAIM_PACKAGES,
    LOCK,
    REFERENCE,
    PythonEnv,
    download_wheels,
    file_sha256,
    pack,
    publish_python_env,
    read_python_env,
)
from chronos_ec2.testing import MemoryAws

# What the AMI brings, and what torch alone would bring with it.
IMAGE = re.compile(r"torch|triton|nvidia-(?!ml-py)|cuda-")


def locked() -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (CHECKOUT / LOCK).read_text(), flags=re.MULTILINE))


def wanted(requirements: list[str]) -> list[Requirement]:
    """The requirements that hold on the image, torch aside."""
    version = read_python_env(CHECKOUT).python
    image: Environment = default_environment()
    image |= {"python_version": version, "python_full_version": f"{version}.0", "sys_platform": "linux",
              "platform_system": "Linux", "platform_machine": "x86_64", "implementation_name": "cpython"}  # fmt: skip
    found = [Requirement(text) for text in requirements]
    return [
        one
        for one in found
        if not IMAGE.match(canonicalize_name(one.name)) and (one.marker is None or one.marker.evaluate(dict(image)))
    ]


def lacking(requirements: list[Requirement]) -> list[str]:
    have = locked()
    return [str(one) for one in requirements if not one.specifier.contains(have.get(canonicalize_name(one.name), "0"))]


def test_the_lock_has_everything_that_the_project_asks_for_its_agent() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert lacking(wanted(project["dependencies"] + project["optional-dependencies"]["agent"])) == []


@pytest.mark.parametrize("package", sorted(locked()))
def test_the_lock_has_everything_that_its_packages_need(package: str) -> None:
    assert lacking(wanted(metadata.requires(package) or [])) == []


def test_the_lock_has_one_hash_for_each() -> None:
    text = (CHECKOUT / LOCK).read_text()
    entry = r"[a-z0-9-]+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}\n"
    assert re.fullmatch(rf"(#.*\n)+({entry})+", text)


def test_torch_and_what_it_brings_are_the_images() -> None:
    assert [name for name in locked() if IMAGE.match(name)] == []


def test_the_reference_is_of_this_lock() -> None:
    assert read_python_env(CHECKOUT).lock_sha256 == file_sha256(CHECKOUT / LOCK)


class Checkout:
    """A checkout with a lock of two wheels, and an index that has them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fetched = 0
        (root / "agent").mkdir()
        (root / LOCK).write_text("a lock\n")
        wheels = root / "wheels"
        wheels.mkdir()
        self.fill(wheels)
        pack(wheels, root / "archive.tar")
        pack(wheels, root / "claim.tar", CLAIM_PACKAGES)
        hashes = (file_sha256(root / name) for name in ("claim.tar", "archive.tar", LOCK))
        self.env = PythonEnv("3.13", *hashes)
        (root / REFERENCE).write_text(str(self.env))
        self.world = MemoryAws()
        self.store = RunStore(self.world.objects)
        self.said: list[str] = []

    def fill(self, folder: Path) -> None:
        for name in ("b-1-py3-none-any.whl", "Pydantic_Core-1-py3-none-any.whl"):
            (folder / name).write_bytes(name.encode())

    def fetch(self, lock: Path, python: str, folder: Path) -> None:
        assert (lock, python) == (self.root / LOCK, "3.13")
        self.fetched += 1
        self.fill(folder)

    def names(self, sha256: str) -> list[str]:
        """The wheels in an archive in the bucket."""
        body = self.world.objects.body(python_env_key(sha256))
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            return archive.getnames()

    def publish(self) -> None:
        publish_python_env(self.root, self.store, self.world.transfer, self.said.append, self.fetch)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_the_packages_are_fetched_and_uploaded_once_for_each_lock(checkout: Checkout) -> None:
    checkout.publish()
    checkout.publish()
    assert checkout.fetched == 1
    assert checkout.said[0].startswith("downloading")
    assert "uploading" in checkout.said[-1]
    assert checkout.names(checkout.env.sha256) == ["Pydantic_Core-1-py3-none-any.whl", "b-1-py3-none-any.whl"]


def test_an_archive_of_its_own_has_what_the_agent_claims_its_run_with(checkout: Checkout) -> None:
    checkout.publish()
    assert checkout.names(checkout.env.claim_sha256) == ["Pydantic_Core-1-py3-none-any.whl"]


def test_an_archive_that_is_missing_is_uploaded_again(checkout: Checkout) -> None:
    checkout.publish()
    checkout.world.objects.remove(python_env_key(checkout.env.claim_sha256))
    checkout.publish()
    assert checkout.names(checkout.env.claim_sha256) == ["Pydantic_Core-1-py3-none-any.whl"]


def test_the_agent_claims_and_reports_with_nothing_but_what_it_has_then() -> None:
    names = "print(*{name.partition('.')[0] for name in sys.modules})"
    code = f"import sys, agent.__main__, agent.report.page, agent.report.sections; {names}"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    modules = set(done.stdout.split()) & metadata.packages_distributions().keys()
    imported = {canonicalize_name(name) for one in modules for name in metadata.packages_distributions()[one]}
    ours = {"chronos-ec2"}
    assert imported & locked().keys() - ours <= CLAIM_PACKAGES
    needed = {canonicalize_name(one.name) for name in CLAIM_PACKAGES for one in wanted(metadata.requires(name) or [])}
    assert needed <= CLAIM_PACKAGES <= locked().keys()


def test_packages_that_are_not_what_the_reference_names_are_not_uploaded(checkout: Checkout) -> None:
    (checkout.root / REFERENCE).write_text(str(replace(checkout.env, sha256="0" * 64)))
    with pytest.raises(InvalidInput, match="make lock"):
        checkout.publish()
    assert list(checkout.world.objects.keys(CACHED)) == []


def test_a_lock_that_was_changed_alone_is_refused_before_anything_is_fetched(checkout: Checkout) -> None:
    (checkout.root / LOCK).write_text("another lock\n")
    with pytest.raises(InvalidInput, match=f"{LOCK}: is not the lock"):
        checkout.publish()
    assert checkout.fetched == 0


@pytest.mark.parametrize("text", ["", "PYTHON_VERSION=3.13; reboot\n", "PYTHON_VERSION=3.13\nPYTHON_ENV_SHA256=1\n"])
def test_a_damaged_reference_is_refused(checkout: Checkout, text: str) -> None:
    (checkout.root / REFERENCE).write_text(text)
    with pytest.raises(InvalidInput, match="is not four lines"):
        checkout.publish()


def test_pip_that_cannot_fetch_is_one_line_that_names_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"./no-such-file.whl --hash=sha256:{'0' * 64}\n")
    with pytest.raises(UserError, match=LOCK) as refusal:
        download_wheels(lock, "3.13", tmp_path)
    assert "\n" not in str(refusal.value)


def test_an_environment_without_pip_is_no_index_that_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    with pytest.raises(UserError, match="has none") as refusal:
        download_wheels(tmp_path / "requirements.txt", "3.13", tmp_path)
    assert "ensurepip" in refusal.value.hint
    assert "index" not in str(refusal.value)


@pytest.mark.parametrize("packages_in_image", [True, False])
def test_a_bundle_names_packages_unless_the_image_brings_them(packages_in_image: bool) -> None:
    bundle = build_bundle(packages_in_image)
    with tarfile.open(fileobj=io.BytesIO(bundle)) as archive:
        assert (REFERENCE in archive.getnames()) is not packages_in_image
        assert {LOCK, "agent/__main__.py", "chronos_ec2/user_data/user-data.yaml"} <= set(archive.getnames())
    store = RunStore(MemoryAws().objects)
    assert store.objects.read(bundle_key(publish_bundle(store, bundle))) is not None
