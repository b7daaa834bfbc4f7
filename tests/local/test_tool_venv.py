"""Tools in environments of their own: an incomplete installation is never used."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronos_ec2.local import LocalAwsFailed, tool_venv


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


def test_the_error_has_the_output_of_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(LocalAwsFailed, match="could not install the tool"):
        tool_venv._install("tool", tmp_path / "home", "chronos-ec2-no-such-package==1\n", tmp_path / "log")
    assert not (tmp_path / "home" / ".complete").exists()
