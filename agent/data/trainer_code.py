"""Download the code of a custom trainer, verified by its hash."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

from agent.errors import RunFailed
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.records.s3_keys import code_key
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.ports import ObjectStore
from chronos_ec2.services.publish.trainer import MAX_CODE_BYTES, MAX_CODE_FILES, MAX_UNPACKED_BYTES


def fetch_code(objects: ObjectStore, sha256: str, folder: Path) -> None:
    """Extract the code into a folder. Raises RunFailed."""
    key = code_key(sha256)
    try:
        found = objects.read(key, MAX_CODE_BYTES)
    except ServiceUnavailable as error:
        raise RunFailed(Cause.INFRA, f"trainer code: {error}") from error
    if found is None or hashlib.sha256(found.body).hexdigest() != sha256:
        problem = "is missing" if found is None else "was changed since the launch"
        raise RunFailed(Cause.USER_CODE, f"trainer code: {key} {problem}, launch again")
    with zipfile.ZipFile(io.BytesIO(found.body)) as archive:
        files = archive.infolist()
        # No more than these sizes is extracted, whatever the archive has.
        if len(files) > MAX_CODE_FILES or sum(file.file_size for file in files) > MAX_UNPACKED_BYTES:
            raise RunFailed(Cause.USER_CODE, f"trainer code: {key} is too large once it is unpacked")
        archive.extractall(folder)
