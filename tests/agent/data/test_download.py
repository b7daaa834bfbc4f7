"""Objects arrive whole: what broke goes on where it broke, and what was changed is refused."""

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
from agent.data.download import Changed, Wanted, fetch
from chronos_ec2.aws.clients import client
from chronos_ec2.aws.s3_objects import S3Transfer
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.ports import Source
from chronos_ec2.testing import MemoryAws, MemoryTransfer

PIECE_BYTES = 1 << 20
LARGE = random.Random(7).randbytes(PIECE_BYTES) * 2 + b"the end"


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PIECE_BYTES", PIECE_BYTES)


class Wire:
    """A transfer whose connections break in the middle of some pieces, once each."""

    def __init__(self, inner: MemoryTransfer, breaks: set[int] | None = None) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._breaks = set(breaks or ())
        self.asked: Counter[int | None] = Counter()
        self.before: Callable[[int | None], None] = lambda _start: None

    def download_piece(self, key: str, path: Path, piece: range | None, on_bytes: Callable[[int], None]) -> Source:
        start = None if piece is None else piece.start
        with self._lock:
            self.asked[start] += 1
            broken = piece is not None and piece.start in self._breaks
            self._breaks.discard(piece.start if piece else -1)
        if broken:
            assert piece is not None
            self._inner.download_piece(key, path, range(piece.start, piece.start + 100), on_bytes)
            raise ServiceUnavailable("connection reset by peer")
        self.before(start)
        return self._inner.download_piece(key, path, piece, on_bytes)


@pytest.fixture
def world() -> MemoryAws:
    made = MemoryAws()
    made.objects.write("large", LARGE)
    made.objects.write("small", b"small")
    return made


def get(wire: Wire, *wanted: Wanted, slept: list[float] | None = None) -> tuple[str, ...]:
    moved: list[int] = []
    waits = [] if slept is None else slept
    return fetch(wire, wanted, moved.append, lambda: None, waits.append)  # type: ignore[arg-type]


def test_a_large_object_comes_in_pieces_and_a_small_one_in_one(world: MemoryAws, tmp_path: Path) -> None:
    wire = Wire(world.transfer)
    large, small = Wanted("large", len(LARGE), tmp_path / "a"), Wanted("small", 5, tmp_path / "b")
    assert get(wire, large, small) == (hashlib.sha256(LARGE).hexdigest(), hashlib.sha256(b"small").hexdigest())
    assert wire.asked == {0: 1, PIECE_BYTES: 1, 2 * PIECE_BYTES: 1, None: 1}


def test_what_broke_goes_on_where_it_broke(world: MemoryAws, tmp_path: Path) -> None:
    wire, slept = Wire(world.transfer, breaks={PIECE_BYTES}), list[float]()
    (sha256,) = get(wire, Wanted("large", len(LARGE), tmp_path / "a"), slept=slept)
    assert sha256 == hashlib.sha256(LARGE).hexdigest()
    assert wire.asked == {0: 1, PIECE_BYTES: 1, PIECE_BYTES + 100: 1, 2 * PIECE_BYTES: 1}
    assert slept == [2]


def test_pieces_may_arrive_in_any_order(world: MemoryAws, tmp_path: Path) -> None:
    wire, others = Wire(world.transfer), threading.Semaphore(0)

    def last(start: int | None) -> None:
        if start == 0:
            assert all(others.acquire(timeout=300) for _ in range(2))

    def download_piece(key: str, path: Path, piece: range | None, on_bytes: Callable[[int], None]) -> Source:
        source = Wire.download_piece(wire, key, path, piece, on_bytes)
        if piece is not None and piece.start > 0:
            others.release()
        return source

    wire.before = last
    wire.download_piece = download_piece  # type: ignore[method-assign]
    assert get(wire, Wanted("large", len(LARGE), tmp_path / "a")) == (hashlib.sha256(LARGE).hexdigest(),)


def test_an_object_that_is_written_anew_meanwhile_is_refused(world: MemoryAws, tmp_path: Path) -> None:
    wire = Wire(world.transfer)
    first = threading.Lock()

    def rewrite(start: int | None) -> None:
        with first:
            world.objects.write("large", bytes([len(wire.asked)]) * len(LARGE))

    wire.before = rewrite
    with pytest.raises(Changed, match="was written anew while it was read"):
        get(wire, Wanted("large", len(LARGE), tmp_path / "a"))


@pytest.mark.parametrize("key", ["large", "small"])
def test_an_object_of_another_size_is_refused(world: MemoryAws, tmp_path: Path, key: str) -> None:
    with pytest.raises(Changed, match="bytes, and had"):
        get(Wire(world.transfer), Wanted(key, len(world.objects.body(key)) - 1, tmp_path / "a"))


@pytest.mark.parametrize("body", [LARGE, b"small"])
def test_what_is_not_as_it_was_uploaded_is_not_taken(world: MemoryAws, tmp_path: Path, body: bytes) -> None:
    """Pieces of a large object have no checksum of S3's: the hash of who uploaded it is compared with all of it."""
    path = tmp_path / "upload"
    path.write_bytes(body)
    for sha256 in (hashlib.sha256(body).hexdigest(), "0" * 64):
        world.transfer.upload(path, "key", lambda _count: None, sha256=sha256)
        if sha256 == "0" * 64:
            with pytest.raises(ServiceUnavailable, match="key did not arrive as it was uploaded"):
                get(Wire(world.transfer), Wanted("key", len(body), tmp_path / "a"))
        else:
            assert get(Wire(world.transfer), Wanted("key", len(body), tmp_path / "a")) == (sha256,)


def test_nothing_else_of_the_pool_is_begun_once_one_has_failed(tmp_path: Path) -> None:
    class Dead:
        """Has no answer for the first object, and for no other before the failure is known."""

        def __init__(self) -> None:
            self.begun: list[str] = []
            self.known = threading.Event()

        def download_piece(self, key: str, *_: object) -> Source:
            self.begun.append(key)
            if key != "0":
                self.known.wait()
            raise ServiceUnavailable("no answer")

    dead, wanted = Dead(), [Wanted(str(number), 5, tmp_path / str(number)) for number in range(60)]
    before = set(threading.enumerate())
    with pytest.raises(ServiceUnavailable):
        fetch(dead, wanted, lambda _: None, lambda: None, lambda _: None)  # type: ignore[arg-type]
    dead.known.set()
    for thread in set(threading.enumerate()) - before:
        thread.join()
    # Those that were on their way, and one in place of the first.
    assert len(set(dead.begun)) <= 17


def test_a_body_that_does_not_have_s3s_checksum_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Falsifier(BaseHTTPRequestHandler):
        """Says `wrong`, of which S3 has the checksum of `right`."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.send_header("ETag", '"etag"')
            self.send_header("x-amz-checksum-crc32", b64encode(zlib.crc32(b"right").to_bytes(4)).decode())
            self.end_headers()
            self.wfile.write(b"wrong")

        def log_message(self, *args: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Falsifier) as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        transfer = S3Transfer(client("s3"), "bucket")
        with pytest.raises(ServiceUnavailable, match="checksum"):
            fetch(transfer, [Wanted("a", 5, tmp_path / "a")], lambda _: None, lambda: None, lambda _: None)
        server.shutdown()
