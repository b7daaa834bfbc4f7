"""What the agent needs from AWS, and the first thing that it reads there: what was asked of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from chronos_ec2.domain.errors import InvalidDocument, NoCredentials, ServiceUnavailable
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES, REQUEST, Request
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.ports import Clock, LogStreams, ObjectTransfer, StoredObject
from chronos_ec2.run_store import RunStore
from chronos_ec2.worker.claim import Identity

_log = logging.getLogger(__name__)
_FIRST_DELAYS = (1, 2, 4, 8, 15, 30)


class World(Protocol):
    """What the agent needs from AWS."""

    @property
    def store(self) -> RunStore:
        """Locks, beats and documents."""

    @property
    def transfer(self) -> ObjectTransfer:
        """Large objects."""

    @property
    def clock(self) -> Clock:
        """AWS time."""

    def log_streams(self, group: str) -> LogStreams:
        """A log group of CloudWatch."""


def connect(make: Callable[[], World], sleep: Callable[[float], None] = time.sleep) -> World:
    """The world of a fresh box, whose credentials may take a minute to arrive. Raises NoCredentials, InvalidInput."""
    for delay in _FIRST_DELAYS:
        try:
            return make()
        except NoCredentials as error:
            _log.warning("%s; tried again in %s s", error, delay)
            sleep(delay)
    return make()


def read_request(store: RunStore, identity: Identity, sleep: Callable[[float], None]) -> Request:
    """What was asked of this run. Raises InvalidDocument, ServiceUnavailable."""
    found = _first_read(store, run_key(identity.environment, identity.run_id, REQUEST), sleep)
    if found is None:
        raise InvalidDocument(f"run {identity.run_id} has no {REQUEST}")
    request = Request.from_json(found.body)
    if (request.run_id, request.lane.environment) != (identity.run_id, identity.environment):
        raise InvalidDocument(f"{REQUEST} of run {identity.run_id} is another run's")
    return request


def _first_read(store: RunStore, key: str, sleep: Callable[[float], None]) -> StoredObject | None:
    """The first call of a fresh box: its network may not be up yet, so it is tried for a minute."""
    for delay in _FIRST_DELAYS:
        try:
            return store.objects.read(key, MAX_REQUEST_BYTES)
        except ServiceUnavailable as error:
            _log.warning("%s; tried again in %s s", error, delay)
            sleep(delay)
    return store.objects.read(key, MAX_REQUEST_BYTES)
