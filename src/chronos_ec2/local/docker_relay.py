"""A TCP relay from Docker's bridge to a server that listens on the loopback interface only."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from chronos_ec2.local.state_dir import LocalAwsFailed

_BRIDGE = b"docker0"
_SIOCGIFADDR = 0x8915
_BRIDGED = "Docker's daemon has to run on this machine as root, with its bridge docker0: see `ip address show docker0`"


@contextmanager
def relay(endpoint: str) -> Iterator[str]:
    """Yield the URL at which containers reach the server at `endpoint`.

    The relay listens on Docker's bridge: containers can connect, other machines cannot.

    Raises:
        LocalAwsFailed: this machine is not on the bridge, because Docker runs in a virtual machine or without root.
    """
    address = _address_of_bridge()
    loop = asyncio.new_event_loop()
    ready: asyncio.Queue[int | OSError] = asyncio.Queue()
    server = loop.create_task(_serve(address, urlsplit(endpoint).port or 80, ready))
    thread = threading.Thread(target=_run, args=(loop, server), name="relay", daemon=True)
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(ready.get(), loop).result(timeout=10)
        if isinstance(port, OSError):
            raise LocalAwsFailed(f"containers cannot reach this machine: cannot listen on {address}: {port}", _BRIDGED)
        yield f"http://{address}:{port}"
    finally:
        loop.call_soon_threadsafe(server.cancel)
        thread.join()


def _address_of_bridge() -> str:
    """Ask the kernel: older Docker engines do not tell."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", _BRIDGE))
        except OSError as error:
            name = _BRIDGE.decode()
            raise LocalAwsFailed(
                f"containers cannot reach this machine: no network interface {name}", _BRIDGED
            ) from error
    return socket.inet_ntoa(answer[20:24])


def _run(loop: asyncio.AbstractEventLoop, server: asyncio.Task[None]) -> None:
    asyncio.set_event_loop(loop)
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(server)
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.close()


async def _serve(address: str, target: int, ready: asyncio.Queue[int | OSError]) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled when the relay ends; asyncio would print that as an error.
        with suppress(OSError, asyncio.CancelledError):
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.gather(_copy(reader, server_writer), _copy(server_reader, writer), return_exceptions=True)
        writer.close()

    try:
        server = await asyncio.start_server(connected, address, 0)
    except OSError as error:
        await ready.put(error)
        return
    async with server:
        await ready.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
