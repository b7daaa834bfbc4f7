"""Data sets that are uploaded: what is refused before a byte is sent, and what of an earlier upload would stay."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

import pytest

from chronos_ec2.domain.errors import InvalidInput, ServiceUnavailable
from chronos_ec2.domain.records.s3_keys import SUCCESS
from chronos_ec2.services.publish.data import Uploaded, _key, upload_config, upload_data
from chronos_ec2.testing import Environment

PREFIX = "cached-datasets/dev/training-data/toy/"
ROWS = b"PAR1 rows of a file PAR1"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1\nsize 12345\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "mine"
    (found / "2025").mkdir(parents=True)
    (found / "2025" / "a.parquet").write_bytes(ROWS)
    (found / "notes.txt").write_text("not data")
    return found


def upload(env: Environment, folder: Path, *, replace: bool = False) -> Uploaded:
    return upload_data(folder, "toy", "dev", env.store, env.aws.transfer, lambda _: None, replace=replace)


def keys(env: Environment) -> list[str]:
    return [name for key, _ in env.objects.keys(PREFIX) if (name := key.removeprefix(PREFIX)) != SUCCESS]


def link(at: Path, to: Path) -> None:
    at.symlink_to(to, target_is_directory=to.is_dir())


def unreadable(path: Path) -> None:
    path.write_bytes(ROWS)
    path.unlink()
    path.symlink_to(path)  # root may read any file, but nobody follows this


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda at: (at / "b.parquet").touch(), ["b.parquet", "is empty"]),
        (lambda at: (at / "b.parquet").write_bytes(LFS), ["b.parquet", "git-LFS pointer", "git lfs pull"]),
        (lambda at: (at / "b.parquet").write_bytes(b"PAR1 torn"), ["b.parquet", "PAR1"]),
        (lambda at: (at / "b.parquet").write_bytes(b"PAR1 rows of a torn file"), ["b.parquet", "PAR1"]),
        (lambda at: (at / "b.parquet").write_bytes(b"torn PAR1"), ["b.parquet", "PAR1"]),
        (lambda at: (at / "b.parquet").write_bytes(b"PAR1"), ["b.parquet", "PAR1"]),
        (lambda at: (at / "._a.parquet").write_bytes(ROWS), ["._a.parquet", "macOS", "dot_clean"]),
        (lambda at: (at / "b.PARQUET").write_bytes(ROWS), ["b.PARQUET", "does not end in .parquet", "rename"]),
        (lambda at: (at / "b\x1b[2J.parquet").write_bytes(ROWS), ["b", "cannot be printed", "rename"]),
        (lambda at: link(at / "b.parquet", at / "gone"), ["b.parquet", "a link to none"]),
        (lambda at: unreadable(at / "b.parquet"), ["b.parquet"]),
        (lambda at: os.mkfifo(at / "b.parquet"), ["b.parquet", "is not a regular file"]),
        (lambda at: link(at / "b.parquet", at / "a.parquet"), ["b.parquet", "is the same as", "a.parquet", "link"]),
        (lambda at: link(at / "loop", at), ["loop", "is the same as", "remove the link"]),
        (lambda at: link(at / "up", at.parent.parent), ["up", "a folder that it is in itself"]),
        (lambda at: link(at.parent / "latest", at), ["latest", "is the same as", "2025", "remove the link"]),
    ],
)
def test_a_file_that_no_run_could_read_is_refused_before_a_byte_is_sent(
    env: Environment, folder: Path, spoil: Callable[[Path], object], words: list[str]
) -> None:
    spoil(folder / "2025")
    with pytest.raises(InvalidInput) as refused:
        upload(env, folder)
    assert all(word in str(refused.value) for word in words), str(refused.value)
    assert str(refused.value).isprintable()
    assert keys(env) == []


def test_a_name_that_is_not_utf_8_is_an_error_line(env: Environment, folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/b\xff.parquet")).write_bytes(ROWS)
    with pytest.raises(InvalidInput, match=r"b\\udcff\.parquet: its name .* is not UTF-8"):
        upload(env, folder)
    config = Path(os.fsdecode(os.fsencode(folder) + b"/\xff.yaml"))
    config.write_text("{data: {path: training-data/toy/}, prediction_length: 6}")
    with pytest.raises(InvalidInput, match="is not UTF-8"):
        upload_config(config, "dev", env.store)


def test_a_folder_that_cannot_be_read_is_an_error_line(
    env: Environment, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: str) -> object:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(InvalidInput, match=r"mine: cannot be read: Permission denied"):
        upload(env, folder)


def test_a_file_that_goes_away_meanwhile_is_an_error_line(env: Environment, folder: Path) -> None:
    env.faults.hook("objects.keys", lambda _prefix: (folder / "2025" / "a.parquet").unlink())
    with pytest.raises(InvalidInput, match=r"a\.parquet: cannot be read: No such file"):
        upload(env, folder)


def test_linked_folders_and_files_are_followed(env: Environment, folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "deep" / "b.parquet").write_bytes(ROWS)
    link(folder / "2024", elsewhere)
    (tmp_path / "c").write_bytes(ROWS)
    link(folder / "c.parquet", tmp_path / "c")
    assert upload(env, folder) == Uploaded("training-data/toy/", 3, 0)
    assert keys(env) == ["2024/deep/b.parquet", "2025/a.parquet", "c.parquet"]


def test_files_of_an_earlier_upload_are_named_and_stay_until_they_are_to_be_replaced(
    env: Environment, folder: Path
) -> None:
    for index in range(7):
        (folder / f"{index}.parquet").write_bytes(ROWS)
    upload(env, folder)
    for index in range(7):
        (folder / f"{index}.parquet").unlink()
    (folder / "new.parquet").write_bytes(ROWS)
    with pytest.raises(
        InvalidInput, match=r"7 files that .*mine has not.*0\.parquet.*and 2 more .*--replace"
    ) as refused:
        upload(env, folder)
    assert "6.parquet" not in str(refused.value)
    assert "new.parquet" not in keys(env)
    assert upload(env, folder, replace=True) == Uploaded("training-data/toy/", 2, 7)
    assert keys(env) == ["2025/a.parquet", "new.parquet"]


def test_the_same_files_and_others_besides_are_uploaded_again(env: Environment, folder: Path) -> None:
    upload(env, folder)
    (folder / "b.parquet").write_bytes(ROWS)
    assert upload(env, folder).files == 2


def test_old_files_are_removed_only_after_all_new_ones_are_there(env: Environment, folder: Path) -> None:
    (folder / "old.parquet").write_bytes(ROWS)
    upload(env, folder)
    (folder / "old.parquet").unlink()
    env.faults.fail("objects.write", ServiceUnavailable)
    with pytest.raises(ServiceUnavailable):
        upload(env, folder, replace=True)
    assert "old.parquet" in keys(env)


def test_a_key_has_slashes_on_every_system() -> None:
    folder = PureWindowsPath(r"C:\Users\me\data")
    assert _key(PREFIX, folder / "2025" / "a.parquet", folder) == f"{PREFIX}2025/a.parquet"


def test_a_path_that_is_too_long_for_s3_is_named() -> None:
    folder = PureWindowsPath(r"C:\data")
    with pytest.raises(InvalidInput, match="S3 allows 1024"):
        _key(PREFIX, folder / ("ä" * 500 + ".parquet"), folder)


def test_a_data_set_is_marked_as_whole_after_its_files_and_not_while_they_are_replaced(folder: Path) -> None:
    env = Environment()
    upload(env, folder)
    upload(env, folder)
    written = [key.removeprefix(PREFIX) for operation, key in env.faults.calls if "read" not in operation]
    assert [name for name in written if name] == 2 * [SUCCESS, "2025/a.parquet", SUCCESS]
    env.faults.fail("objects.write", on="*.parquet")
    with pytest.raises(ServiceUnavailable):
        upload(env, folder)
    assert env.objects.read(PREFIX + SUCCESS) is None
