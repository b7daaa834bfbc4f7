"""Which commit was launched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from chronos_ec2.services.publish.agent import commit_of


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
