"""What a file's name promises is looked at before the file is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.input_files import check_input, read_input

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.fixture
def bad(tmp_path: Path) -> dict[str, Path]:
    """What is no file to read, by what is wrong with it."""
    for name in ("folder", "fifo", "huge", "pointer"):
        (tmp_path / name).touch() if name != "folder" else (tmp_path / name).mkdir()
    (tmp_path / "fifo").unlink()
    os.mkfifo(tmp_path / "fifo")
    os.truncate(tmp_path / "huge", 1 << 40)
    (tmp_path / "pointer").write_bytes(POINTER)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "device").symlink_to("/dev/zero")
    found = {
        name: tmp_path / name for name in ("folder", "fifo", "huge", "pointer", "loop", "device", "nothing", "dangling")
    }
    return found | {"nul": Path("a\0b"), "long": tmp_path / ("x" * 300)}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("folder", "is a folder"),
        ("fifo", "is not a regular file"),
        ("device", "is not a regular file"),
        ("huge", "is larger than 1 MiB"),
        ("pointer", "is a git-LFS pointer"),
        ("loop", "cannot be read: Too many levels"),
        ("dangling", "is a link to none"),
        ("nothing", "cannot be read: No such file"),
        ("nul", "cannot be read: "),
        ("long", "cannot be read: File name too long"),
    ],
)
def test_what_is_no_file_to_read_is_refused_with_what_to_do(bad: dict[str, Path], name: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as caught:
        read_input(bad[name], 1 << 20, option="EVENT")
    assert caught.value.where.startswith("EVENT: ")
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_file_may_have_as_many_bytes_as_it_may(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 5)
    assert read_input(file, 5) == b"x" * 5
    with pytest.raises(InvalidInput, match=r"is larger than 4 bytes \(shorten it\)"):
        read_input(file, 4)
    with pytest.raises(InvalidInput, match=r"is larger than 4 bytes \(name another\)"):
        read_input(file, 4, remedy="name another")


def test_a_link_to_a_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    check_input(tmp_path / "link")
    assert read_input(tmp_path / "link", 1) == b"x"


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(mode=0)
    if os.access(file, os.R_OK):
        pytest.skip("root may read everything")
    with pytest.raises(InvalidInput, match="cannot be read: Permission denied"):
        check_input(file)
