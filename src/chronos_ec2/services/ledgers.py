"""Orders and ledgers in the bucket: written once, and replaced on condition. A retry finds its own write."""

from __future__ import annotations

from dataclasses import dataclass

from chronos_ec2.domain.errors import LostRace
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES
from chronos_ec2.domain.schedules.ledger import Ledger
from chronos_ec2.ports import ObjectStore


@dataclass(frozen=True, slots=True)
class LedgerRead:
    """A ledger as it was read, and its ETag; None if there is none yet."""

    ledger: Ledger
    etag: str | None


def read_ledger(objects: ObjectStore, key: str) -> LedgerRead:
    """A ledger. Raises InvalidDocument, ServiceUnavailable, NotAllowed."""
    found = objects.read(key, MAX_REQUEST_BYTES)
    return LedgerRead(Ledger.from_json(found.body), found.etag) if found else LedgerRead(Ledger(), None)


def write_ledger(objects: ObjectStore, key: str, ledger: Ledger, expected: LedgerRead) -> None:
    """Write the next version of a ledger. Raises LostRace if it was written since, ServiceUnavailable, NotAllowed."""
    if expected.etag is None:
        create_once(objects, key, ledger.to_json())
        return
    try:
        objects.replace(key, ledger.to_json(), expected.etag)
    except LostRace:
        if not _is_ours(objects, key, ledger.to_json()):
            raise


def create_once(objects: ObjectStore, key: str, body: bytes) -> None:
    """Create an object. Raises LostRace if there is another at its key, ServiceUnavailable, NotAllowed."""
    try:
        objects.create(key, body)
    except LostRace:
        if not _is_ours(objects, key, body):
            raise


def _is_ours(objects: ObjectStore, key: str, body: bytes) -> bool:
    found = objects.read(key, MAX_REQUEST_BYTES)
    return found is not None and found.body == body
