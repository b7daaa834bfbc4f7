"""The logs of a run, as far as they have reached the bucket. The agent uploads a log whole each time it has grown."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from chronos_ec2.domain.lane import run_key
from chronos_ec2.ports import ObjectStore, ObjectTransfer

_FOLDER, _SUFFIX = "logs/", ".log"


def log_names(objects: ObjectStore, environment: str, run_id: str) -> tuple[str, ...]:
    """The logs that a run has in the bucket, such as `agent` and `trainer`. Raises ServiceUnavailable."""
    prefix = run_key(environment, run_id, _FOLDER)
    keys = (key.removeprefix(prefix) for key, _ in objects.keys(prefix))
    return tuple(key.removesuffix(_SUFFIX) for key in keys if key.endswith(_SUFFIX))


@dataclass(slots=True)
class LogReader:
    """Reads one log of a run from its beginning, piece by piece as it grows."""

    objects: ObjectStore
    transfer: ObjectTransfer
    environment: str
    run_id: str
    name: str
    _read: int = field(default=0, init=False)

    def more(self) -> list[str]:
        """The lines that have come since the last call. Raises ServiceUnavailable."""
        key = run_key(self.environment, self.run_id, f"{_FOLDER}{self.name}{_SUFFIX}")
        if dict(self.objects.keys(key)).get(key, 0) <= self._read:
            return []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "log"
            self.transfer.download(key, path, lambda _bytes: None)
            body = path.read_bytes()
        # A line whose end is not there yet is for the next call.
        end = body.rfind(b"\n") + 1
        fresh, self._read = body[self._read : end], max(self._read, end)
        return fresh.decode(errors="replace").splitlines()
