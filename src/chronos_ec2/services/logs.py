"""The logs of a run that are in the bucket. A log grows in its latest part, which the agent uploads again each time.

Each attempt has its own logs: `logs/trainer.log` and `logs/trainer.log.0002` are the parts of the first attempt's,
`logs/trainer-2.log` is that of the second.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from chronos_ec2.domain.records.s3_keys import LOGS, log_of_part, run_key
from chronos_ec2.ports import ObjectStore, ObjectTransfer

_SUFFIX = ".log"
_Logs = dict[str, dict[int, list[tuple[str, int]]]]
"""Key and size in bytes of the parts of each log, by name and attempt."""
_NUMBERED = re.compile(r"(?P<name>.+)-(?P<attempt>[1-9][0-9]*)")


def log_names(objects: ObjectStore, environment: str, run_id: str) -> tuple[str, ...]:
    """Names of the logs of a run, such as `agent` and `trainer` for the latest attempt's.

    With several attempts, each attempt's log is also listed, such as `trainer-1`. Raises ServiceUnavailable.
    """
    return tuple(_names(_logs(objects, run_key(environment, run_id, LOGS))))


def _names(logs: _Logs) -> Iterator[str]:
    for name, attempts in logs.items():
        yield name
        if len(attempts) > 1:
            yield from (f"{name}-{attempt}" for attempt in sorted(attempts))


def _logs(objects: ObjectStore, prefix: str) -> _Logs:
    found: _Logs = {}
    # Not in the order of their names: .9999 comes before .10000 in time, and after it in a listing.
    for key, size in sorted(objects.keys(prefix), key=lambda part: log_of_part(part[0])):
        log, _ = log_of_part(key)
        if log.endswith(_SUFFIX):
            name, attempt = _split(PurePosixPath(log).stem)
            found.setdefault(name, {}).setdefault(attempt or 1, []).append((key, size))
    return found


def _split(name: str) -> tuple[str, int | None]:
    numbered = _NUMBERED.fullmatch(name)
    return (numbered["name"], int(numbered["attempt"])) if numbered else (name, None)


@dataclass(slots=True)
class LogReader:
    """Follows one log of a run: the latest attempt's, or that of the attempt in the name."""

    objects: ObjectStore
    transfer: ObjectTransfer
    environment: str
    run_id: str
    name: str
    _key: str = field(default="", init=False)
    _read: int = field(default=0, init=False)

    def more(self) -> list[str]:
        """The lines added since the last call. Raises ServiceUnavailable.

        A new attempt's log, or one that has become shorter, is read from the beginning.
        """
        name, attempt = _split(self.name)
        attempts = _logs(self.objects, run_key(self.environment, self.run_id, LOGS + name)).get(name, {})
        parts = attempts.get(attempt or max(attempts, default=0), [])
        known = next((index for index, (key, _) in enumerate(parts) if key == self._key), None)
        if known is None:
            self._read = 0
        lines: list[str] = []
        for key, size in parts[known or 0 :]:
            if key != self._key or size < self._read:
                self._key, self._read = key, 0
            if size > self._read:
                lines += self._lines(key, growing=key == parts[-1][0])
        return lines

    def _lines(self, key: str, *, growing: bool) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "log"
            self.transfer.download(key, path, lambda _bytes: None)
            body = path.read_bytes()
        # An incomplete last line is left for the next call, or for the next part, which begins with it.
        end = body.rfind(b"\n") + 1 if growing else len(body)
        fresh, self._read = body[self._read : end], max(self._read, end)
        return fresh.decode(errors="replace").splitlines()
