"""Fetches objects in pieces, many at once: what broke goes on where it broke.

One request for each piece and none before it, because sizes are known; that is what makes many small objects quick.
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
"""The volume of an instance is slower than a few connections: smaller pieces would only be more requests."""
_PARALLEL = 16
_CHUNK_BYTES = 256 * 1024
_DELAYS = (2, 5, 10)
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object, the size that it should have, and where it should go."""

    key: str
    size: int
    path: Path

    def pieces(self) -> Iterator[range | None]:
        """What to ask for, one by one; None is all of it."""
        if self.size <= PIECE_BYTES:
            yield None
            return
        for start in range(0, self.size, PIECE_BYTES):
            yield range(start, min(start + PIECE_BYTES, self.size))


class Changed(ChronosError):
    """An object is not the one that is wanted. The text says how it differs."""


def fetch(
    transfer: ObjectTransfer,
    wanted: Sequence[Wanted],
    on_bytes: Callable[[int], None],
    check: Callable[[], None],
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[str, ...]:
    """Download all that is wanted; the SHA-256 of each. `check` is called all the time and raises to end it.

    Raises:
        ServiceUnavailable: an object cannot be had.
        Changed: an object is not the one that is wanted.
    """
    files = [_File(one) for one in wanted]
    pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="download")
    try:
        pending = {
            pool.submit(_fetch_piece, transfer, file, piece, on_bytes, sleep)
            for file in files
            for piece in file.wanted.pieces()
        }
        while pending:
            done, pending = wait(pending, timeout=_LOOK_SECONDS, return_when=FIRST_EXCEPTION)
            for task in done:
                task.result()
            check()
    finally:
        # Not waited for: what still downloads ends with the process.
        pool.shutdown(wait=False, cancel_futures=True)
    return tuple(file.sha256 for file in files)


class _File:
    """What has come of one object so far."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._etag: str | None = None
        self._arrived: set[int] = set()
        self._hashed = 0
        self._digest = hashlib.sha256()
        self._lock = threading.Lock()

    @property
    def sha256(self) -> str:
        """The hash of all of it, once all of it has arrived."""
        return self._digest.hexdigest()

    def arrived(self, start: int, source: Source) -> None:
        """One piece more. It is hashed when all before it have been.

        Not at the end in one go: then no other core would help, and a large file would have to be read from the disk.

        Raises:
            Changed: it is of another object.
            ServiceUnavailable: all of it is not what was uploaded.
        """
        if source.size != self.wanted.size:
            raise Changed(f"{self.wanted.key} has {source.size} bytes, and had {self.wanted.size}")
        with self._lock:
            self._etag = self._etag or source.etag
            if source.etag != self._etag:
                raise Changed(f"{self.wanted.key} was written anew while it was read, and is not what it was")
            self._arrived.add(start)
            while self._hashed in self._arrived:
                self._arrived.remove(self._hashed)
                for chunk in _chunks(self.wanted.path, self._hashed, PIECE_BYTES):
                    self._digest.update(chunk)
                    self._hashed += len(chunk)
            if self._hashed == self.wanted.size and source.sha256 not in (None, self.sha256):
                raise ServiceUnavailable(f"{self.wanted.key} did not arrive as it was uploaded: its SHA-256 is another")


def _fetch_piece(
    transfer: ObjectTransfer,
    file: _File,
    piece: range | None,
    on_bytes: Callable[[int], None],
    sleep: Callable[[float], None],
) -> None:
    """A piece, tried again from the byte at which it broke; what is had in one go is small, and is begun anew."""
    rest = piece

    def count(size: int) -> None:
        nonlocal rest
        rest = rest and rest[size:]
        on_bytes(size)

    for delay in (*_DELAYS, None):
        try:
            source = transfer.download_piece(file.wanted.key, file.wanted.path, rest, count)
            break
        except ServiceUnavailable as error:
            if delay is None:
                raise
            _log.warning("%s; tried again in %s s", error, delay)
            sleep(delay)
    file.arrived(piece.start if piece else 0, source)


def _chunks(path: Path, start: int, size: int) -> Iterator[bytes]:
    """`size` bytes of a file, less at its end."""
    with path.open("rb", buffering=0) as stream:
        stream.seek(start)
        while size and (chunk := stream.read(min(_CHUNK_BYTES, size))):
            size -= len(chunk)
            yield chunk
