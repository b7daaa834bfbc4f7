"""S3 with hooks for what the oracles watch: locks, reports, message markers, heartbeats."""

from __future__ import annotations

from collections.abc import Callable

from chronos_ec2.domain.parsing.codec import MAX_DOCUMENT_BYTES
from chronos_ec2.domain.records.s3_keys import run_of_report
from chronos_ec2.ports import StoredObject
from chronos_ec2.testing import MemoryObjects, VirtualTime
from verification.simulation.faulty_aws import Noise


class SimulatedObjects(MemoryObjects):
    """A bucket with hooks: writes of a lock, before and after them, writes of reports, reads of a heartbeat."""

    def __init__(self, time: VirtualTime, noise: Noise) -> None:
        super().__init__(time, noise)
        self._noise = noise
        self.before_lock: Callable[[str], None] = lambda _key: None
        self.on_lock: Callable[[str], None] = lambda _key: None
        self.on_report: Callable[[str], None] = lambda _key: None
        self.on_release: Callable[[str], None] = lambda _key: None
        self.on_marker: Callable[[str, bool], None] = lambda _key, _pending: None
        self.on_beat_read: Callable[[str], None] = lambda _key: None

    def read(self, key: str, limit: int = MAX_DOCUMENT_BYTES) -> StoredObject | None:
        """As S3 does. Heartbeats that nobody reads in between are not written."""
        if key.endswith("heartbeat.json"):
            self.on_beat_read(key)
        return super().read(key, limit)

    def holds(self, key: str) -> bool:
        """Whether an object exists."""
        return key in self._objects

    def stored(self, key: str) -> StoredObject:
        """An object, without noise. Raises KeyError."""
        return self._objects[key]

    def overwrite(self, key: str, body: bytes | None) -> None:
        """Somebody writes or deletes without a condition and without noise."""
        if body is not None:
            self._put(key, body)
        elif key in self._objects:
            self.before_lock(key)
            del self._objects[key]
            self.on_lock(key)

    def _put_if(self, operation: str, key: str, body: bytes, etag: str | None) -> str:
        self._noise.conditional = True
        try:
            return super()._put_if(operation, key, body, etag)
        finally:
            self._noise.conditional = False

    def _put(self, key: str, body: bytes) -> str:
        if _is_marker(key):
            self.on_marker(key, b"pending" in body)
        if _is_lock(key):
            self.before_lock(key)
        etag = super()._put(key, body)
        if _is_lock(key):
            self.on_lock(key)
        elif run_of_report(key):
            self.on_report(key)
        return etag

    def remove(self, key: str, etag: str | None = None) -> None:
        """As S3 does, and whoever watches locks and markers learns of it."""
        held = self._objects.get(key)
        if _is_marker(key):
            self.on_marker(key, False)
        try:
            super().remove(key, etag)
        finally:
            # Also if the answer was lost.
            if held is not None and key not in self._objects and _is_lock(key):
                self.on_release(key)


def _is_lock(key: str) -> bool:
    return key.endswith("system-state.json")


def _is_marker(key: str) -> bool:
    return "/notified/" in key or "/incidents/" in key
