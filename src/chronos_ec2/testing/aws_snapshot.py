"""What moto holds in this process, kept and brought back: sooner done than making a stack for each test."""

from __future__ import annotations

import copyreg
import io
import pickle
from threading import RLock
from typing import Any

from moto.backends import get_backend
from moto.core.base_backend import BackendDict


class _Pickler(pickle.Pickler):
    # Queues and stacks have locks; nobody holds one between two requests.
    dispatch_table = copyreg.dispatch_table | {type(RLock()): lambda _lock: (RLock, ())}


def keep() -> bytes:
    """Everything that AWS holds now."""
    in_use: Any = BackendDict
    found = [
        (backends.service_name, account_id, dict(regions))
        for backends in in_use._instances  # noqa: SLF001 - moto lists them nowhere else
        for account_id, regions in backends.items()
    ]
    buffer = io.BytesIO()
    _Pickler(buffer).dump(found)
    return buffer.getvalue()


def bring_back(kept: bytes) -> None:
    """Give an AWS with nothing in it what another one held."""
    for service, account_id, regions in pickle.loads(kept):  # noqa: S301 - our own
        backends: Any = get_backend(service)
        backends[account_id].update(regions)
