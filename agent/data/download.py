"""Parallel download of objects in pieces, which resume at the byte at which a connection broke.

Sizes are known, so each piece takes one request and no HEAD before it: that makes many small objects fast.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from chronos_ec2.domain.errors import ChronosError, ServiceUnavailable
from chronos_ec2.ports import ObjectTransfer, Source

_log = logging.getLogger(__name__)
PIECE_BYTES = 64 * 1024 * 1024
"""The instance's volume is slower than a few connections: smaller pieces would only add requests."""
_PARALLEL = 16
_CHUNK_BYTES = 256 * 1024
_DELAYS = (2, 5, 10)
_CHECK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Download:
    """An object, its expected size in bytes, the file to write, and the expected ETag, None for any."""

    key: str
    size: int
    path: Path
    etag: str | None = None

    def pieces(self) -> Iterator[range | None]:
        """Byte ranges to request; None for a whole object."""
        if self.size <= PIECE_BYTES:
            yield None
            return
        for start in range(0, self.size, PIECE_BYTES):
            yield range(start, min(start + PIECE_BYTES, self.size))


class ObjectChanged(ChronosError):
    """An object is not the expected one. The text says how it differs."""


def fetch(
    transfer: ObjectTransfer,
    downloads: Sequence[Download],
    on_bytes: Callable[[int], None],
    check: Callable[[], None],
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[str, ...]:
    """Download all objects; returns their SHA-256. `check` is called regularly, and stops the download by raising.

    Raises:
        ServiceUnavailable: an object cannot be downloaded.
        ObjectChanged: an object is not the expected one.
    """
    files = [_File(download) for download in downloads]
    pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="download")
    try:
        pending = {
            pool.submit(_fetch_piece, transfer, file, piece, on_bytes, sleep)
            for file in files
            for piece in file.download.pieces()
        }
        while pending:
            done, pending = wait(pending, timeout=_CHECK_SECONDS, return_when=FIRST_EXCEPTION)
            for task in done:
                task.result()
            check()
    finally:
        # Without waiting: running downloads end with the process.
        pool.shutdown(wait=False, cancel_futures=True)
    return tuple(file.sha256 for file in files)


class _File:
    """The pieces of one object received so far, and their running hash."""

    def __init__(self, download: Download) -> None:
        self.download = download
        self._etag: str | None = None
        self._received: set[int] = set()
        self._hashed = 0
        self._digest = hashlib.sha256()
        self._lock = threading.Lock()

    @property
    def sha256(self) -> str:
        """The hash, once all pieces have been received."""
        return self._digest.hexdigest()

    def received(self, start: int, source: Source) -> None:
        """Record a piece, and hash all pieces up to the first missing one.

        Hashing at the end would use one core, and read a large file from disk instead of from the page cache.

        Raises:
            ObjectChanged: the piece is of another object.
            ServiceUnavailable: the whole object differs from what was uploaded.
        """
        if source.size != self.download.size:
            raise ObjectChanged(f"{self.download.key} has {source.size} bytes, expected {self.download.size}")
        if self.download.etag not in (None, source.etag):
            raise ObjectChanged(f"{self.download.key} was overwritten")
        with self._lock:
            self._etag = self._etag or source.etag
            if source.etag != self._etag:
                raise ObjectChanged(f"{self.download.key} was overwritten during the download")
            self._received.add(start)
            while self._hashed in self._received:
                self._received.remove(self._hashed)
                for chunk in _chunks(self.download.path, self._hashed, PIECE_BYTES):
                    self._digest.update(chunk)
                    self._hashed += len(chunk)
            if self._hashed == self.download.size and source.sha256 not in (None, self.sha256):
                raise ServiceUnavailable(f"the SHA-256 of {self.download.key} differs from the uploaded one")


def _fetch_piece(
    transfer: ObjectTransfer,
    file: _File,
    piece: range | None,
    on_bytes: Callable[[int], None],
    sleep: Callable[[float], None],
) -> None:
    """Download a piece; a retry resumes at the byte at which it broke. A whole object is small and starts over."""
    rest = piece

    def count(size: int) -> None:
        nonlocal rest
        rest = rest and rest[size:]
        on_bytes(size)

    for delay in (*_DELAYS, None):
        try:
            source = transfer.download_piece(file.download.key, file.download.path, rest, count)
            break
        except ServiceUnavailable as error:
            if delay is None:
                raise
            _log.warning("%s; retrying in %s s", error, delay)
            sleep(delay)
    file.received(piece.start if piece else 0, source)


def _chunks(path: Path, start: int, size: int) -> Iterator[bytes]:
    """Up to `size` bytes of a file."""
    with path.open("rb", buffering=0) as stream:
        stream.seek(start)
        while size and (chunk := stream.read(min(_CHUNK_BYTES, size))):
            size -= len(chunk)
            yield chunk
