"""A half installation is never taken for a whole one."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronos_ec2.local import LocalAwsFailed, tool_venv


def test_an_installation_without_its_marker_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Path] = []

    def killed_half_way(_tool: str, home: Path, _lock: str, _log: Path) -> None:
        begun.append(home)
        (home / "bin").mkdir(parents=True, exist_ok=True)
        (home / "bin" / "python").touch()
        if len(begun) == 1:
            raise KeyboardInterrupt
        (home / ".complete").touch()

    monkeypatch.setattr(tool_venv, "_install", killed_half_way)
    with pytest.raises(KeyboardInterrupt):
        tool_venv.isolated_python("tool", "", lambda _line: None, tmp_path)
    python = tool_venv.isolated_python("tool", "", lambda _line: None, tmp_path)
    assert tool_venv.isolated_python("tool", "", lambda _line: None, tmp_path) == python
    assert len(begun) == 2


def test_what_pip_said_is_in_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(LocalAwsFailed, match="could not install the tool"):
        tool_venv._install("tool", tmp_path / "home", "chronos-ec2-no-such-package==1\n", tmp_path / "log")
    assert not (tmp_path / "home" / ".complete").exists()
