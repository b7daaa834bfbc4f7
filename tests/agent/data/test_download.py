"""Downloads resume at the byte at which they broke, and objects that changed are refused."""

from __future__ import annotations

import hashlib
import random
import threading
import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agent.data import download
from agent.data.download import Download, ObjectChanged, fetch
from chronos_ec2.aws.clients import client
from chronos_ec2.aws.s3_objects import S3Transfer
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.ports import ObjectTransfer, Source
from chronos_ec2.testing import MemoryAws, MemoryObjects, MemoryTransfer

PIECE_BYTES = 1 << 20
LARGE = random.Random(7).randbytes(PIECE_BYTES) * 2 + b"the end"


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PIECE_BYTES", PIECE_BYTES)


class FlakyTransfer(MemoryTransfer):
    """Connections break in the middle of some pieces, once each. Counts the requests for each first byte."""

    def __init__(self, objects: MemoryObjects, breaks: set[int] | None = None) -> None:
        super().__init__(objects)
        self._lock = threading.Lock()
        self._breaks = set(breaks or ())
        self.requests: Counter[int | None] = Counter()

    def download_piece(self, key: str, path: Path, piece: range | None, on_bytes: Callable[[int], None]) -> Source:
        with self._lock:
            self.requests[None if piece is None else piece.start] += 1
            breaks = piece is not None and piece.start in self._breaks
            self._breaks.discard(piece.start if piece else -1)
        if breaks:
            assert piece is not None
            super().download_piece(key, path, range(piece.start, piece.start + 100), on_bytes)
            raise ServiceUnavailable("connection reset by peer")
        return super().download_piece(key, path, piece, on_bytes)


class FirstPieceLast(FlakyTransfer):
    """Delivers the first of three pieces after the others."""

    def __init__(self, objects: MemoryObjects) -> None:
        super().__init__(objects)
        self._others = threading.Semaphore(0)

    def download_piece(self, key: str, path: Path, piece: range | None, on_bytes: Callable[[int], None]) -> Source:
        assert piece is not None
        if piece.start == 0:
            assert all(self._others.acquire(timeout=300) for _ in range(2))
        source = super().download_piece(key, path, piece, on_bytes)
        if piece.start > 0:
            self._others.release()
        return source


class Overwritten(FlakyTransfer):
    """The object is overwritten before each piece."""

    def __init__(self, objects: MemoryObjects) -> None:
        super().__init__(objects)
        self._objects_in_s3, self._writes, self._writing = objects, 0, threading.Lock()

    def download_piece(self, key: str, path: Path, piece: range | None, on_bytes: Callable[[int], None]) -> Source:
        with self._writing:
            self._writes += 1
            self._objects_in_s3.write(key, bytes([self._writes]) * len(LARGE))
        return super().download_piece(key, path, piece, on_bytes)


@pytest.fixture
def world() -> MemoryAws:
    made = MemoryAws()
    made.objects.write("large", LARGE)
    made.objects.write("small", b"small")
    return made


def get(transfer: ObjectTransfer, *downloads: Download, slept: list[float] | None = None) -> tuple[str, ...]:
    moved: list[int] = []
    waits = [] if slept is None else slept
    return fetch(transfer, downloads, moved.append, lambda: None, waits.append)


def test_a_large_object_is_downloaded_in_pieces_and_a_small_one_in_one(world: MemoryAws, tmp_path: Path) -> None:
    transfer = FlakyTransfer(world.objects)
    large, small = Download("large", len(LARGE), tmp_path / "a"), Download("small", 5, tmp_path / "b")
    assert get(transfer, large, small) == (hashlib.sha256(LARGE).hexdigest(), hashlib.sha256(b"small").hexdigest())
    assert transfer.requests == {0: 1, PIECE_BYTES: 1, 2 * PIECE_BYTES: 1, None: 1}


def test_a_broken_piece_resumes_at_the_byte_at_which_it_broke(world: MemoryAws, tmp_path: Path) -> None:
    transfer, slept = FlakyTransfer(world.objects, breaks={PIECE_BYTES}), list[float]()
    (sha256,) = get(transfer, Download("large", len(LARGE), tmp_path / "a"), slept=slept)
    assert sha256 == hashlib.sha256(LARGE).hexdigest()
    assert transfer.requests == {0: 1, PIECE_BYTES: 1, PIECE_BYTES + 100: 1, 2 * PIECE_BYTES: 1}
    assert slept == [2]


def test_pieces_may_arrive_in_any_order(world: MemoryAws, tmp_path: Path) -> None:
    download = Download("large", len(LARGE), tmp_path / "a")
    assert get(FirstPieceLast(world.objects), download) == (hashlib.sha256(LARGE).hexdigest(),)


def test_an_object_that_is_overwritten_meanwhile_is_refused(world: MemoryAws, tmp_path: Path) -> None:
    with pytest.raises(ObjectChanged, match="was overwritten during the download"):
        get(Overwritten(world.objects), Download("large", len(LARGE), tmp_path / "a"))


@pytest.mark.parametrize("key", ["large", "small"])
def test_an_object_of_another_size_is_refused(world: MemoryAws, tmp_path: Path, key: str) -> None:
    with pytest.raises(ObjectChanged, match="bytes, expected"):
        get(FlakyTransfer(world.objects), Download(key, len(world.objects.body(key)) - 1, tmp_path / "a"))


@pytest.mark.parametrize("body", [LARGE, b"small"])
def test_an_object_that_differs_from_the_upload_is_refused(world: MemoryAws, tmp_path: Path, body: bytes) -> None:
    """Pieces of a large object have no S3 checksum: the whole is compared with the uploader's hash."""
    path, transfer = tmp_path / "upload", FlakyTransfer(world.objects)
    path.write_bytes(body)
    download = Download("key", len(body), tmp_path / "a")
    sha256 = hashlib.sha256(body).hexdigest()
    transfer.upload(path, "key", lambda _count: None, sha256=sha256)
    assert get(transfer, download) == (sha256,)
    transfer.upload(path, "key", lambda _count: None, sha256="0" * 64)
    with pytest.raises(ServiceUnavailable, match="the SHA-256 of key differs from the uploaded one"):
        get(transfer, download)


def test_no_further_download_starts_after_a_failure(world: MemoryAws, tmp_path: Path) -> None:
    class Unavailable(MemoryTransfer):
        """Fails for the first object, and for the others once that failure is known."""

        def __init__(self, objects: MemoryObjects) -> None:
            super().__init__(objects)
            self.begun: list[str] = []
            self.known = threading.Event()

        def download_piece(self, key: str, path: Path, piece: range | None, on_bytes: Callable[[int], None]) -> Source:
            self.begun.append(key)
            if key != "0":
                self.known.wait()
            raise ServiceUnavailable("no answer")

    transfer, downloads = Unavailable(world.objects), [Download(str(n), 5, tmp_path / str(n)) for n in range(60)]
    before = set(threading.enumerate())
    with pytest.raises(ServiceUnavailable):
        fetch(transfer, downloads, lambda _: None, lambda: None, lambda _: None)
    transfer.known.set()
    for thread in set(threading.enumerate()) - before:
        thread.join()
    # Those already running, and one that took the place of the first.
    assert len(set(transfer.begun)) <= 17


def test_a_body_that_does_not_match_s3s_checksum_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class WrongBody(BaseHTTPRequestHandler):
        """Sends `wrong` with the checksum of `right`."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.send_header("ETag", '"etag"')
            self.send_header("x-amz-checksum-crc32", b64encode(zlib.crc32(b"right").to_bytes(4)).decode())
            self.end_headers()
            self.wfile.write(b"wrong")

        def log_message(self, *args: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), WrongBody) as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        transfer = S3Transfer(client("s3"), "bucket")
        with pytest.raises(ServiceUnavailable, match="checksum"):
            fetch(transfer, [Download("a", 5, tmp_path / "a")], lambda _: None, lambda: None, lambda _: None)
        server.shutdown()
