"""The agent's connection to AWS, and the run's request, which it reads first."""

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
from chronos_ec2.worker.run_session import Identity

_log = logging.getLogger(__name__)
_RETRY_DELAYS = (1, 2, 4, 8, 15, 30)


class World(Protocol):
    """The AWS services that the agent uses."""

    @property
    def store(self) -> RunStore:
        """Locks, heartbeats and documents."""

    @property
    def transfer(self) -> ObjectTransfer:
        """Large objects."""

    @property
    def clock(self) -> Clock:
        """The clock."""

    def log_streams(self, group: str) -> LogStreams:
        """The streams of a CloudWatch log group."""


def connect(make: Callable[[], World], sleep: Callable[[float], None] = time.sleep) -> World:
    """Connect from a fresh instance, whose credentials may take a minute. Raises NoCredentials, InvalidInput."""
    for delay in _RETRY_DELAYS:
        try:
            return make()
        except NoCredentials as error:
            _log.warning("%s; retrying in %s s", error, delay)
            sleep(delay)
    return make()


def read_request(store: RunStore, identity: Identity, sleep: Callable[[float], None]) -> Request:
    """The request of this run. Raises InvalidDocument, ServiceUnavailable."""
    found = _first_read(store, run_key(identity.environment, identity.run_id, REQUEST), sleep)
    if found is None:
        raise InvalidDocument(f"run {identity.run_id} has no {REQUEST}")
    request = Request.from_json(found.body)
    if (request.run_id, request.lane.environment) != (identity.run_id, identity.environment):
        raise InvalidDocument(f"{REQUEST} of run {identity.run_id} belongs to another run")
    return request


def _first_read(store: RunStore, key: str, sleep: Callable[[float], None]) -> StoredObject | None:
    """Retries for a minute: the network of a fresh instance may not be up yet."""
    for delay in _RETRY_DELAYS:
        try:
            return store.objects.read(key, MAX_REQUEST_BYTES)
        except ServiceUnavailable as error:
            _log.warning("%s; retrying in %s s", error, delay)
            sleep(delay)
    return store.objects.read(key, MAX_REQUEST_BYTES)
