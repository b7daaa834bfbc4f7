"""The agent's bundle, and which commit was launched."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.records.s3_keys import bundle_key
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.publish.agent import build_bundle, commit_of, publish_bundle
from chronos_ec2.testing import Faults, MemoryAws

FILES = {
    "agent/__main__.py": "print('agent')",
    "agent/python-env": "PYTHON_VERSION=3.13",
    "agent/__pycache__/__main__.cpython-313.pyc": "byte code",
    "agent/stale.pyc": "byte code",
    "src/chronos_ec2/run_store.py": "# store",
    "src/chronos_ec2/services/verify.py": "# verify",
    "src/chronos_ec2/cli/app.py": "# cli",
    "src/chronos_ec2/local/demo.py": "# local",
    "src/chronos_ec2/testing/aws.py": "# testing",
    "README.md": "# read me",
    "tests/test_a.py": "# test",
}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "sources" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "sources"


def names(bundle: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(bundle), mode="r:gz") as tar:
        return tar.getnames()


def test_a_bundle_has_the_agent_and_what_it_imports(sources: Path) -> None:
    bundle = build_bundle(packages_in_image=False, checkout=sources)
    assert names(bundle) == [
        "agent/__main__.py", "agent/python-env", "chronos_ec2/run_store.py", "chronos_ec2/services/verify.py",
    ]  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(bundle), mode="r:gz") as tar:
        member = tar.extractfile("agent/__main__.py")
        assert member is not None
        assert member.read() == b"print('agent')"


def test_a_bundle_for_an_image_with_packages_names_none(sources: Path) -> None:
    assert "agent/python-env" not in names(build_bundle(packages_in_image=True, checkout=sources))


def test_the_same_files_make_the_same_bundle_whenever_and_by_whom_they_were_written(sources: Path) -> None:
    """Its hash names it: otherwise each launch would upload another."""
    first = build_bundle(packages_in_image=False, checkout=sources)
    for path in sources.rglob("*"):
        os.utime(path, (1, 1))
    (sources / "agent/__main__.py").chmod(0o755)
    again = build_bundle(packages_in_image=False, checkout=sources)
    assert again == first
    assert first[4:8] == bytes(4), "the time in the header of gzip"


def test_what_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="has no agent/"):
        build_bundle(packages_in_image=False, checkout=tmp_path)


def test_a_bundle_is_uploaded_once() -> None:
    faults = Faults()
    store = RunStore(MemoryAws(faults).objects)
    first, again, other = (publish_bundle(store, body) for body in (b"one", b"one", b"two"))
    assert first == again != other
    assert [key for operation, key in faults.calls if operation == "objects.write"] == [
        bundle_key(first), bundle_key(other),
    ]  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    (tmp_path / "file").write_text("one")
    for command in (
        ("init", "-q"),
        ("add", "."),
        (*who, "commit", "-q", "-m", "one"),
        (*who, "tag", "-a", "v1", "-m", "1"),
    ):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def head(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_named_in_full_and_a_changed_file_shows(checkout: Path) -> None:
    assert commit_of(checkout) == head(checkout)
    (checkout / "file").write_text("two")
    assert commit_of(checkout) == f"{head(checkout)}-dirty"


def test_what_git_does_not_know_has_no_commit(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = checkout / "unpacked"
    inside.mkdir()
    assert commit_of(inside) is None
    monkeypatch.setenv("PATH", "")
    assert commit_of(checkout) is None
