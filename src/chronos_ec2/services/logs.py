"""The logs of a run, as far as they have reached the bucket. The agent uploads a log whole each time it has grown.

Each attempt has logs of its own: the first one's are `logs/trainer.log`, the second one's `logs/trainer-2.log`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from chronos_ec2.domain.records.s3_keys import LOGS, run_key
from chronos_ec2.ports import ObjectStore, ObjectTransfer

_SUFFIX = ".log"
_NUMBERED = re.compile(r"(?P<name>.+)-(?P<attempt>[1-9][0-9]*)")


def log_names(objects: ObjectStore, environment: str, run_id: str) -> tuple[str, ...]:
    """The logs that a run has in the bucket, such as `agent` and `trainer`, the newest of each.

    Where there is more than one, each by its attempt too, such as `trainer-1`. Raises ServiceUnavailable.
    """
    return tuple(_names(_logs(objects, run_key(environment, run_id, LOGS))))


def _names(logs: dict[str, dict[int, tuple[str, int]]]) -> Iterator[str]:
    for name, attempts in logs.items():
        yield name
        if len(attempts) > 1:
            yield from (f"{name}-{attempt}" for attempt in sorted(attempts))


def _logs(objects: ObjectStore, prefix: str) -> dict[str, dict[int, tuple[str, int]]]:
    """Key and bytes of each log, by name and attempt."""
    found: dict[str, dict[int, tuple[str, int]]] = {}
    for key, size in objects.keys(prefix):
        if key.endswith(_SUFFIX):
            name, attempt = _parted(PurePosixPath(key).stem)
            found.setdefault(name, {})[attempt or 1] = (key, size)
    return found


def _parted(name: str) -> tuple[str, int | None]:
    numbered = _NUMBERED.fullmatch(name)
    return (numbered["name"], int(numbered["attempt"])) if numbered else (name, None)


@dataclass(slots=True)
class LogReader:
    """Reads one log of a run piece by piece as it grows: the newest attempt's, or the one that the name names."""

    objects: ObjectStore
    transfer: ObjectTransfer
    environment: str
    run_id: str
    name: str
    _key: str = field(default="", init=False)
    _read: int = field(default=0, init=False)

    def more(self) -> list[str]:
        """The lines that have come since the last call. Raises ServiceUnavailable.

        A log that has got shorter, or a new attempt's, is another log: it is read from its beginning.
        """
        name, attempt = _parted(self.name)
        attempts = _logs(self.objects, run_key(self.environment, self.run_id, LOGS + name)).get(name, {})
        key, size = attempts.get(attempt or max(attempts, default=0), ("", 0))
        if key != self._key or size < self._read:
            self._key, self._read = key, 0
        if size <= self._read:
            return []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "log"
            self.transfer.download(key, path, lambda _bytes: None)
            body = path.read_bytes()
        # A line whose end is not there yet is for the next call.
        end = body.rfind(b"\n") + 1
        fresh, self._read = body[self._read : end], max(self._read, end)
        return fresh.decode(errors="replace").splitlines()
