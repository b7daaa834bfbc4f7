"""Data sets and configurations."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import check_name
from chronos_ec2.domain.records.lane import CACHED
from chronos_ec2.ports import ObjectTransfer
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.launch.dataset import PARQUET
from chronos_ec2.services.publish.wheels import file_sha256
from chronos_ec2.training_config.parse import load_config

_PARALLEL_FILES = 8


def upload_data(folder: Path, name: str, transfer: ObjectTransfer, on_bytes: Callable[[int], None]) -> tuple[str, int]:
    """Upload every Parquet file below a folder, with its SHA-256 for the instance to verify.

    Returns the `data.path` of the data set and the number of files.

    Raises:
        InvalidInput: the folder does not exist, has no Parquet file, or has an empty one.
    """
    check_name(name, "NAME")
    if not folder.is_dir():
        raise InvalidInput(str(folder), "is not a folder")
    files = sorted(path for path in folder.rglob(f"*{PARQUET}") if path.is_file())
    if not files:
        raise InvalidInput(str(folder), f"holds no {PARQUET} files")
    if empty := [path for path in files if path.stat().st_size == 0]:
        raise InvalidInput(str(empty[0]), "is empty")
    data_path = f"training-data/{name}/"

    def put(path: Path) -> None:
        key = f"{CACHED}/{data_path}{path.relative_to(folder).as_posix()}"
        transfer.upload(path, key, on_bytes, sha256=file_sha256(path))

    with ThreadPoolExecutor(_PARALLEL_FILES) as pool:
        for done in [pool.submit(put, path) for path in files]:
            done.result()
    return data_path, len(files)


def upload_config(path: Path, store: RunStore) -> str:
    """Check and upload a configuration. Returns its key. Raises InvalidInput."""
    load_config(path)
    key = f"{CACHED}/configs/{path.name}"
    store.objects.write(key, path.read_bytes(), "application/yaml")
    return key
