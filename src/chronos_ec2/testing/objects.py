"""S3 in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import count
from pathlib import Path

from chronos_ec2.domain.errors import LostRace
from chronos_ec2.domain.parsing.codec import MAX_DOCUMENT_BYTES
from chronos_ec2.ports import Clock, ListedObject, Source, StoredObject, Upload
from chronos_ec2.testing.faults import Faults, Interceptor


class MemoryObjects:
    """One bucket. An ETag is a hash of the content, as S3's is, so equal content has an equal ETag."""

    def __init__(self, clock: Clock, faults: Interceptor | None = None) -> None:
        self._clock = clock
        self._faults = faults or Faults()
        self._objects: dict[str, StoredObject] = {}
        self._upload_ids = count(1)
        self.begun: dict[Upload, datetime] = {}
        """Unfinished multipart uploads, and when each was begun."""
        self._withheld: set[str] = set()

    def read(self, key: str, limit: int = MAX_DOCUMENT_BYTES) -> StoredObject | None:
        """A document, None when the key does not exist. Of a larger one, `limit` + 1 bytes."""
        self._faults.before("objects.read", key)
        found = self._objects.get(key)
        if found is not None and key in self._withheld:
            found = replace(found, body=b"")
        if found is not None and len(found.body) > limit:
            found = replace(found, body=found.body[: limit + 1])
        self._faults.after("objects.read", key)
        return found

    def tail(self, key: str, limit: int) -> bytes | None:
        """The last `limit` bytes of an object, or all of it; None when the key does not exist."""
        self._faults.before("objects.tail", key)
        found = self._objects.get(key)
        self._faults.after("objects.tail", key)
        return None if found is None else found.body[-limit:]

    def piece(self, key: str, start: int, limit: int) -> bytes | None:
        """At most `limit` bytes of an object from `start` on; None when the key does not exist."""
        self._faults.before("objects.piece", key)
        found = self._objects.get(key)
        self._faults.after("objects.piece", key)
        return None if found is None else found.body[start : start + limit]

    def write(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        """Put an object, whatever is there."""
        del content_type
        self._faults.before("objects.write", key)
        self._put(key, body)
        self._faults.after("objects.write", key)

    def create(self, key: str, body: bytes) -> str:
        """Put an object where none is; its ETag."""
        return self._put_if("objects.create", key, body, None)

    def replace(self, key: str, body: bytes, etag: str) -> str:
        """Put an object in place of the one with this ETag; the new ETag."""
        return self._put_if("objects.replace", key, body, etag)

    def _put_if(self, operation: str, key: str, body: bytes, etag: str | None) -> str:
        self._faults.before(operation, key)
        found = self._objects.get(key)
        if (None if found is None else found.etag) != etag:
            raise LostRace(f"{key} was written by somebody else")
        new = self._put(key, body)
        self._faults.after(operation, key)
        return new

    def _put(self, key: str, body: bytes) -> str:
        # S3 keeps whole seconds.
        new = StoredObject(bytes(body), _etag(body), self._clock.now().replace(microsecond=0))
        self._objects[key] = new
        self._withheld.discard(key)
        return new.etag

    def remove(self, key: str, etag: str | None = None) -> None:
        """Delete an object, with an ETag only that one. A missing key is no error."""
        self._faults.before("objects.remove", key)
        found = self._objects.get(key)
        if found is not None and etag not in (None, found.etag):
            raise LostRace(f"{key} was written by somebody else")
        self._objects.pop(key, None)
        self._faults.after("objects.remove", key)

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """(key, size in bytes) of every object below a prefix, in key order."""
        self._faults.before("objects.keys", prefix)
        for key in sorted(self._objects):
            if key.startswith(prefix):
                yield key, len(self._objects[key].body)

    def listed(self, prefix: str) -> Iterator[ListedObject]:
        """Every object below a prefix, in key order, with its ETag."""
        self._faults.before("objects.listed", prefix)
        for key in sorted(self._objects):
            if key.startswith(prefix):
                yield ListedObject(key, len(self._objects[key].body), self._objects[key].etag)

    def children(self, prefix: str, after: str = "", limit: int | None = None) -> tuple[str, ...]:
        """The folder names one level below a prefix, in key order, at most `limit` after `after`."""
        self._faults.before("objects.children", prefix)
        rests = [key[len(prefix) :] for key in self._objects if key.startswith(prefix)]
        folders = sorted({rest.split("/", 1)[0] + "/" for rest in rests if "/" in rest})
        return tuple(folder[:-1] for folder in folders if not after or folder > f"{after}/")[:limit]

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Every unfinished upload below a prefix."""
        self._faults.before("objects.uploads", prefix)
        yield from [upload for upload in self.begun if upload.key.startswith(prefix)]

    def abort(self, upload: Upload) -> None:
        """Discard an upload's parts. A missing upload is no error."""
        self._faults.before("objects.abort", upload.key)
        self.begun.pop(upload, None)
        self._faults.after("objects.abort", upload.key)

    def begin(self, key: str) -> Upload:
        """Begin a multipart upload that nobody completes."""
        upload = Upload(key, f"upload-{next(self._upload_ids)}")
        self.begun[upload] = self._clock.now()
        return upload

    def withhold(self, key: str, body: bytes) -> None:
        """Put an object that nobody else can read: archived, or encrypted with a key of one's own."""
        self._put(key, body)
        self._withheld.add(key)

    def body(self, key: str) -> bytes:
        """The whole content of an object, for transfers and assertions. Raises KeyError."""
        return self._objects[key].body


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


class MemoryTransfer:
    """Files to and from a MemoryObjects."""

    def __init__(self, objects: MemoryObjects) -> None:
        self._objects = objects
        self.expiring: set[str] = set()
        """The keys that a lifecycle rule will delete."""
        self._hashes: dict[str, tuple[str, str | None]] = {}

    def download(self, key: str, path: Path, on_bytes: Callable[[int], None]) -> None:
        """Write an object to a file."""
        body = self._objects.body(key)
        path.write_bytes(body)
        on_bytes(len(body))

    def download_piece(self, key: str, path: Path, piece: range | None, on_bytes: Callable[[int], None]) -> Source:
        """Write some bytes of an object, or all, to the same place in a file."""
        body = self._objects.body(key)
        wanted = range(len(body)) if piece is None else piece
        path.touch()
        with path.open("r+b") as stream:
            stream.seek(wanted.start)
            written = stream.write(body[wanted.start : wanted.stop])
        on_bytes(written)
        etag, sha256 = self._hashes.get(key, ("", None))
        # Overwriting an object without a hash removes the old hash.
        return Source(_etag(body), len(body), sha256 if etag == _etag(body) else None)

    def upload(
        self,
        path: Path,
        key: str,
        on_bytes: Callable[[int], None],
        *,
        expires: bool = False,
        sha256: str | None = None,
    ) -> None:
        """Write a file to an object."""
        body = path.read_bytes()
        self._objects.write(key, body)
        self._hashes[key] = (_etag(body), sha256)
        if expires:
            self.expiring.add(key)
        on_bytes(len(body))
