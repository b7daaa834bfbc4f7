"""Data sets and configurations."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import check_name, one_line
from chronos_ec2.domain.records.request import DataObject
from chronos_ec2.domain.records.s3_keys import shared_key, success_key
from chronos_ec2.input_files import check_input, shown, unreadable
from chronos_ec2.job_config.parse import parse_yaml, read_config
from chronos_ec2.ports import ObjectTransfer
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.launch.dataset import PARQUET
from chronos_ec2.services.publish.wheels import file_sha256

_PARALLEL_FILES = 8
_MAGIC = b"PAR1"
"""A Parquet file begins and ends with it."""
TEXT_TABLES, ARROW_TABLES = frozenset({".csv", ".tsv"}), frozenset({".feather", ".arrow", ".ipc"})
_COMPRESSED = (".gz", ".bz2", ".zst")
_MAX_KEY_BYTES = 1024
_DIGITS, _READABLE = 10, 20
"""How much a data set's name has of its hash and of its folder's name."""
_NAMED = 5
"""How many file names a message lists."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """An uploaded data set: its `data.path`, its number of files, and how many files of an earlier upload are gone."""

    data_path: str
    files: int
    removed: int


def upload_data(
    folder: Path,
    name: str,
    environment: str,
    store: RunStore,
    transfer: ObjectTransfer,
    on_bytes: Callable[[int], None],
    *,
    replace: bool = False,
) -> Uploaded:
    """Upload every Parquet file below a folder, with its SHA-256 for the instance to verify.

    All files are checked before the first is sent. With `replace`, files of an earlier upload that the folder no longer
    has are removed afterwards. The mark that the data set is whole, `_SUCCESS`, is removed first and written last.

    Raises:
        InvalidInput: the folder has no Parquet file or an unusable one, or without `replace` files of an earlier upload
            would stay in the data set.
    """
    check_name(name, "NAME")
    data_path = f"training-data/{name}/"
    prefix = shared_key(environment, data_path)
    files = {_key(prefix, path, folder): path for path in find_files(folder)}
    stale = [key for key, _ in store.objects.keys(prefix) if key.endswith(PARQUET) and key not in files]
    if stale and not replace:
        listed = _listed([key.removeprefix(prefix) for key in stale])
        problem = f"data set {name} has {len(stale)} files that {shown(folder)} has not, and runs would train on both"
        raise InvalidInput("NAME", f"{problem}: {listed}", "give --replace to remove them, or another NAME")

    # Without the mark no schedule takes the data, and its event starts those that wait for them.
    mark = success_key(environment, data_path)
    store.objects.remove(mark)
    _in_parallel(lambda key: _upload(files[key], key, transfer, on_bytes), files)
    _in_parallel(store.objects.remove, stale)
    store.objects.write(mark, b"", "application/octet-stream")
    return Uploaded(data_path, len(files), len(stale))


@dataclass(frozen=True, slots=True)
class LocalData:
    """A data set on this machine, which a launch uploads: its `data.path`, and each file by its key in the bucket.

    The path has the hash of the files, so that no later launch changes the data of this one.
    """

    data_path: str
    files: Mapping[str, Path]

    def objects(self) -> tuple[DataObject, ...]:
        """The files as they will be in the bucket; without ETags, because they are not there yet."""
        return tuple(DataObject(key, path.stat().st_size, "") for key, path in self.files.items())

    def upload(self, store: RunStore, transfer: ObjectTransfer, on_bytes: Callable[[int], None]) -> None:
        """Upload what the bucket does not have."""
        prefix = next(iter(self.files)).partition(self.data_path)[0] + self.data_path
        there = dict(store.objects.keys(prefix))

        missing = [key for key, path in self.files.items() if there.get(key) != path.stat().st_size]
        _in_parallel(lambda key: _upload(self.files[key], key, transfer, on_bytes), missing)


def local_data(folder: Path, name: str, environment: str) -> LocalData:
    """The Parquet files below a folder as a data set named after `name`. Raises InvalidInput, see `find_files`."""
    paths = find_files(folder)
    try:
        hashes = [f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths]
    except OSError as error:
        raise unreadable(shown(Path(error.filename or folder)), error) from error
    digest = hashlib.sha256("".join(hashes).encode()).hexdigest()[:_DIGITS]
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_READABLE].strip("-")
    data_path = f"training-data/{readable or 'data'}-{digest}/"
    prefix = shared_key(environment, data_path)
    return LocalData(data_path, {_key(prefix, path, folder): path for path in paths})


def _upload(path: Path, key: str, transfer: ObjectTransfer, on_bytes: Callable[[int], None]) -> None:
    try:
        transfer.upload(path, key, on_bytes, sha256=file_sha256(path))
    except OSError as error:
        raise unreadable(shown(path), error) from error


def _in_parallel(action: Callable[[str], None], keys: Iterable[str]) -> None:
    """Call `action` for each key. The first error, or Ctrl-C, drops what has not begun."""
    pool = ThreadPoolExecutor(_PARALLEL_FILES)
    try:
        for done in [pool.submit(action, key) for key in keys]:
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def find_files(folder: Path) -> list[Path]:
    """The Parquet files below a folder, also in linked subfolders, each looked into.

    Raises:
        InvalidInput: there is none, or one of them or its folder cannot be used.
    """
    if not folder.is_dir():
        raise InvalidInput(shown(folder), "is not a folder", "name the folder that holds the files")
    files = sorted(_walk(folder), key=PurePath.as_posix)
    if not files:
        raise InvalidInput(shown(folder), f"holds no {PARQUET} files", "CSV and Feather files are converted too")
    for path in files:
        _check(path, folder)
    return files


def _walk(folder: Path) -> Iterator[Path]:
    """What ends in .parquet, whatever its case. Nothing is found twice, because a run would train on both."""
    found: dict[Path, Path] = {}

    def fail(error: OSError) -> None:
        raise unreadable(shown(Path(error.filename or folder)), error)

    def once(path: Path) -> Path:
        before = found.setdefault(_real(path), path)
        if before != path:
            raise InvalidInput(shown(path), f"is the same as {shown(before)}, by a link", "remove the link")
        return path

    for root, folders, names in os.walk(once(folder), onerror=fail, followlinks=True):
        for path in [Path(root, name) for name in folders]:
            if _real(folder).is_relative_to(_real(path)):
                raise InvalidInput(shown(path), "is a link to a folder that it is in itself", "remove the link")
            once(path)
        yield from (once(Path(root, name)) for name in names if name.lower().endswith(PARQUET))


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # unlike Path.resolve, also of a link to itself


def _check(path: Path, folder: Path) -> None:
    """Refuse what no instance could train on, before it is paid for."""
    where = shown(path)
    if not str(path.relative_to(folder)).isprintable():
        raise InvalidInput(where, "its name has a character that cannot be printed, or is not UTF-8", "rename it")
    if path.name.startswith("._"):
        raise InvalidInput(
            where, "is metadata that macOS keeps, not data", "delete it; `dot_clean` deletes all of them"
        )
    if not path.name.endswith(PARQUET):
        raise InvalidInput(where, f"its name does not end in {PARQUET}, so no run would read it", "rename it")
    check_input(path)
    start, end, size = _ends(path)
    if size == 0:
        raise InvalidInput(where, "is empty", "delete it, or write it again")
    if start != _MAGIC or end != _MAGIC or size < 3 * len(_MAGIC):
        raise InvalidInput(where, "is no whole Parquet file: it lacks PAR1 at its start or end", "write it again")


def _ends(path: Path) -> tuple[bytes, bytes, int]:
    """The first and last bytes of a file, and its size."""
    try:
        with path.open("rb") as stream:
            start = stream.read(len(_MAGIC))
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - len(_MAGIC)))
            return start, stream.read(), size
    except OSError as error:
        raise unreadable(shown(path), error) from error


def _key(prefix: str, path: PurePath, folder: PurePath) -> str:
    """The key of a file, with slashes on every system."""
    key = prefix + path.relative_to(folder).as_posix()
    if len(key.encode()) > _MAX_KEY_BYTES:
        problem = f"its key would have {len(key.encode())} bytes, and S3 allows {_MAX_KEY_BYTES}"
        raise InvalidInput(shown(path), problem, "shorten its path")
    return key


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(one_line(name, 80) for name in names[:_NAMED]) + more


def table_kind(path: PurePath) -> str | None:
    """The suffix of a file that can be converted to Parquet, such as .csv of SALES.CSV.GZ; None of any other."""
    name = path.name.lower()
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    kind = PurePath(name).suffix
    return kind if kind in TEXT_TABLES | ARROW_TABLES else None


def upload_config(path: Path, environment: str, store: RunStore) -> str:
    """Check and upload a configuration. Returns its key. Raises InvalidInput."""
    content = read_config(path)
    parse_yaml(content, shown(path))
    if not path.name.isprintable():
        raise InvalidInput(shown(path), "its name has a character that cannot be printed, or is not UTF-8", "rename it")
    key = shared_key(environment, f"configs/{path.name}")
    store.objects.write(key, content, "application/yaml")
    return key
