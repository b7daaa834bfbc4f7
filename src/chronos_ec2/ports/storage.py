"""Objects in S3 and logs in CloudWatch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from chronos_ec2.domain.parsing.codec import MAX_DOCUMENT_BYTES


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it was read: its body, cut one byte above the limit of the read, and S3's time of the write."""

    body: bytes
    etag: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object in a list: its key, its size in bytes and its ETag."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Upload:
    """An unfinished multipart upload. Its parts cost money although no list of objects shows them."""

    key: str
    upload_id: str


class ObjectStore(Protocol):
    """One S3 bucket. Every method raises ServiceUnavailable if S3 does not answer; a write may then have happened.

    `create` requires that the key is absent, `replace` and `remove` that it has the ETag; else they raise LostRace.
    ETags are hashes of the content, so they recur with the content.
    """

    def read(self, key: str, limit: int = MAX_DOCUMENT_BYTES) -> StoredObject | None:
        """A document, or None if the key does not exist. A larger one is cut one byte above the limit.

        One that S3 gives to nobody, because it is archived or encrypted with a key of its writer, is read as empty.
        """

    def tail(self, key: str, limit: int) -> bytes | None:
        """The last `limit` bytes of an object, or None if the key does not exist."""

    def piece(self, key: str, start: int, limit: int) -> bytes | None:
        """At most `limit` bytes of an object from `start` on, none past its end; None if the key does not exist."""

    def write(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        """Put an object unconditionally."""

    def create(self, key: str, body: bytes) -> str:
        """Put an object where none exists, and return its ETag."""

    def replace(self, key: str, body: bytes, etag: str) -> str:
        """Replace the object that has this ETag, and return the new ETag."""

    def remove(self, key: str, etag: str | None = None) -> None:
        """Delete an object, if an ETag is given only that version. A missing key is no error."""

    def keys(self, prefix: str) -> Iterable[tuple[str, int]]:
        """(key, size in bytes) of every object below a prefix, in key order."""

    def listed(self, prefix: str) -> Iterable[ListedObject]:
        """Every object below a prefix, in key order, with its ETag."""

    def children(self, prefix: str, after: str = "", limit: int | None = None) -> tuple[str, ...]:
        """The names of the non-empty prefixes one level below a prefix, in key order and without slashes.

        All of them, or at most `limit` after the one named `after`.
        """

    def uploads(self, prefix: str) -> Iterable[Upload]:
        """Every unfinished upload below a prefix, including those in progress."""

    def abort(self, upload: Upload) -> None:
        """Discard the parts of an upload. A missing upload is no error."""


@dataclass(frozen=True, slots=True)
class Source:
    """The object that a piece was read from: its ETag, its size in bytes, and the hash given at its upload, if any."""

    etag: str
    size: int
    sha256: str | None = None


class ObjectTransfer(Protocol):
    """Large objects, in parallel parts. Raises ServiceUnavailable. Callbacks may come from any thread."""

    def download(self, key: str, path: Path, on_bytes: Callable[[int], None]) -> None:
        """Write an object to a file; `on_bytes` gets the size of each piece received."""
        ...

    def download_piece(self, key: str, path: Path, piece: range | None, on_bytes: Callable[[int], None]) -> Source:
        """Write a range of bytes of an object, or all of it, to the same place in a file; the object it came from.

        A read of the whole object is checked against S3's checksum, if there is one.
        """
        ...

    def upload(
        self, path: Path, key: str, on_bytes: Callable[[int], None], *, expires: bool = False, sha256: str | None = None
    ) -> None:
        """Write a file to an object; `on_bytes` gets the size of each piece sent.

        With `expires` the bucket deletes it after two weeks. `sha256` is stored as metadata and comes back with each
        piece, because S3 has no checksum of a piece.
        """
        ...


class LogStreams(Protocol):
    """One log group of CloudWatch Logs."""

    def append(self, stream: str, lines: Sequence[str], at: datetime) -> None:
        """Add non-empty lines to a stream, which is created if needed.

        Raises ServiceUnavailable and NotAllowed; some lines may have been added.
        """
        ...
