"""The user's own trainer: one module beside the configuration, uploaded as an archive named by its hash.

Like the agent, it is stored where the instance may read but not write: what runs is what was launched.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path, PurePath

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.records.s3_keys import code_key
from chronos_ec2.input_files import read_input, shown
from chronos_ec2.run_store import RunStore

MAX_CODE_BYTES = 8 * 1024 * 1024
MAX_UNPACKED_BYTES, MAX_CODE_FILES = 64 * 1024 * 1024, 5000
"""What an archive may become: whoever unpacks one compares before."""
"""Limit of an archive. Anything larger is data and belongs in the data set."""
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def find_code(module: str | None, config: Path | None) -> bytes | None:
    """A module that is beside a configuration, as an archive. None if there is no module.

    Raises:
        InvalidInput: the module does not exist or is too large.
    """
    if module is None:
        return None
    if config is None:
        raise InvalidInput("trainer", f"module {module} must be beside a configuration", "give --config FILE")
    return pack(module, config.resolve().parent)


def publish_code(module: str | None, config: Path | None, store: RunStore) -> str | None:
    """Upload what `find_code` finds. Returns its SHA-256, None if there is nothing. Raises InvalidInput."""
    archive = find_code(module, config)
    if archive is None:
        return None
    sha256 = hashlib.sha256(archive).hexdigest()
    store.objects.write(code_key(sha256), archive, "application/zip")
    return sha256


def pack(module: str, folder: Path) -> bytes:
    """Build a zip with `module.py` or all files of the package `module/`; the same files give the same bytes.

    Raises:
        InvalidInput: the folder has no such module, or it is too large.
    """
    single, package = folder / f"{module}.py", folder / module
    if single.is_file():
        files = [single]
    elif (package / "__init__.py").is_file():
        found = sorted(package.rglob("*"), key=PurePath.as_posix)
        files = [path for path in found if path.is_file() and "__pycache__" not in path.parts]
    else:
        problem = f"no {module}.py in {shown(folder)}, where the configuration is, nor {module}/__init__.py"
        raise InvalidInput("trainer", problem, "put the module of the trainer beside the configuration")
    if len(files) > MAX_CODE_FILES or sum(path.stat().st_size for path in files) > MAX_UNPACKED_BYTES:
        limit = f"{MAX_CODE_FILES:,} files or {MAX_UNPACKED_BYTES // 2**20} MiB"
        raise InvalidInput("trainer", f"{module} has more than {limit}", "put data into the data set")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _ZIP_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, read_input(path, MAX_UNPACKED_BYTES))
            if archive.tell() > MAX_CODE_BYTES:
                limit = f"{MAX_CODE_BYTES // 2**20} MiB"
                raise InvalidInput("trainer", f"{module} packs to more than {limit}", "put data into the data set")
    return archive.getvalue()
