"""Tools in environments of their own: an incomplete installation is never used."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from chronos_ec2.local import LocalAwsFailed, tool_venv

NO_SUCH = f"chronos-ec2-no-such-package==1 --hash=sha256:{'0' * 64}\n"


def test_an_interrupted_installation_is_started_again(tmp_path: Path) -> None:
    started: list[Path] = []

    def install(_tool: str, home: Path, _lock: str, _log: Path) -> None:
        started.append(home)
        (home / "bin").mkdir(parents=True, exist_ok=True)
        (home / "bin" / "python").touch()
        if len(started) == 1:
            raise KeyboardInterrupt
        (home / ".complete").touch()

    def python() -> Path:
        return tool_venv.isolated_python("tool", "", lambda _line: None, tmp_path, install)

    with pytest.raises(KeyboardInterrupt):
        python()
    assert python() == python()
    assert len(started) == 2


@pytest.mark.thorough
def test_the_error_has_the_output_of_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(LocalAwsFailed, match="could not install the tool"):
        tool_venv._install("tool", tmp_path / "home", NO_SUCH, tmp_path / "log")
    assert not (tmp_path / "home" / ".complete").exists()


@pytest.mark.thorough
def test_what_is_set_for_another_pip_or_python_does_not_reach_a_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_TARGET", "PYTHONPATH", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "1")
    tool_venv._install("tool", tmp_path / "home", "", tmp_path / "log")
    assert (tmp_path / "home" / ".complete").exists()


def test_a_python_that_cannot_make_environments_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    with pytest.raises(LocalAwsFailed, match="could not make an environment for the tool") as caught:
        tool_venv._install("tool", tmp_path / "a-file" / "home", "", tmp_path / "log")
    assert "python3-venv" in caught.value.hint


def test_an_index_that_cannot_be_reached_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(LocalAwsFailed) as caught:
        tool_venv._install("tool", tmp_path / "home", NO_SUCH, tmp_path / "log")
    assert "package index must be reachable" in caught.value.hint


@pytest.mark.thorough
def test_a_lock_without_hashes_installs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A wheel that pip would install if it did not ask for its hash.
    wheel = tmp_path / "nothing-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("nothing.py", "")
        archive.writestr("nothing-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: nothing\nVersion: 1\n")
        archive.writestr("nothing-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("nothing-1.dist-info/RECORD", "")
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LocalAwsFailed, match="hash"):
        tool_venv._install("tool", tmp_path / "home", "nothing==1\n", tmp_path / "log")
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    tool_venv._install("tool", tmp_path / "home", f"nothing==1 --hash=sha256:{right}\n", tmp_path / "log")
    assert (tmp_path / "home" / ".complete").exists()
