"""Every option that takes a file refuses what is none, before anything is asked or sent. None is waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import CONFIG, Command

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
OPTIONS = (
    "launch --config",
    "forecast --data sales --horizon 3 --config",
    "evaluate --data sales --horizon 3 --config",
    "schedule create nightly --rate 1d --config",
    "schedule create nightly --rate 1d --config good.yaml --then",
    "data check data --config",
    "upload config",
    "local invoke Sweep",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with good and bad files."""
    monkeypatch.chdir(tmp_path)
    Path("good.yaml").write_text(CONFIG)
    Path("data").mkdir()
    os.mkfifo("fifo.yaml")
    Path("huge.yaml").touch()
    os.truncate("huge.yaml", 1 << 40)
    Path("pointer.yaml").write_bytes(POINTER)
    Path("binary.yaml").write_bytes(bytes(range(256)))
    Path("zero.yaml").symlink_to("/dev/zero")
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ["fifo", "huge", "pointer", "binary", "zero", "none"])
def test_what_is_no_file_to_read_is_refused(run: Command, option: str, name: str) -> None:
    result = run(*option.split(), f"{name}.yaml")
    assert (result.code, result.out) == (2, "")
    lines = result.err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["error", "hint"]
    assert f"{name}.yaml" in lines[0]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("kind", ["csv", "csv.gz", "feather", "parquet"])
@pytest.mark.parametrize(
    "command", ["data check data", "upload data data sales", "launch --config good.yaml --data ./data"]
)
def test_a_table_that_is_none_is_refused(run: Command, deployed: str, kind: str, command: str) -> None:
    for make, problem in (
        (os.mkfifo, "is not a regular file"),
        (lambda path: Path(path).write_bytes(POINTER), "is a git-LFS pointer"),
        (lambda path: Path(path).symlink_to("/dev/zero"), "is not a regular file"),
        (lambda path: Path(path).symlink_to("nowhere"), "is a link to none"),
    ):
        path = f"data/sales.{kind}"
        make(path)
        result = run(*command.split())
        assert result.code == 2
        assert problem in result.err + result.out
        Path(path).unlink()


@pytest.mark.usefixtures("folder")
def test_windows_line_ends_and_a_mark_of_the_byte_order_are_read(run: Command, deployed: str) -> None:
    for encoding in ("utf-8-sig", "utf-16"):
        Path("windows.yaml").write_bytes(CONFIG.replace("\n", "\r\n").encode(encoding))
        result = run("upload", "config", "windows.yaml")
        assert result.code == 0, result.err
