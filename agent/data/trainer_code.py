"""Download the code of a custom trainer, and check it against the hash in the request."""

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
from chronos_ec2.services.publish.trainer import MAX_CODE_BYTES


def fetch_code(objects: ObjectStore, sha256: str, folder: Path) -> None:
    """Bring the module into a folder of the box. Raises RunFailed."""
    key = code_key(sha256)
    try:
        found = objects.read(key, MAX_CODE_BYTES)
    except ServiceUnavailable as error:
        raise RunFailed(Cause.INFRA, f"the trainer's code: {error}") from error
    if found is None or hashlib.sha256(found.body).hexdigest() != sha256:
        problem = "is gone" if found is None else "is not what was launched"
        raise RunFailed(Cause.USER_CODE, f"the trainer's code: {key} {problem}, launch again")
    with zipfile.ZipFile(io.BytesIO(found.body)) as archive:
        archive.extractall(folder)
