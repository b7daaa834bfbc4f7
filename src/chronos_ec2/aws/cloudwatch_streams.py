"""CloudWatch Logs as LogStreams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from chronos_ec2.aws.errors import translated

_BATCH_LINES = 10_000
_BATCH_BYTES = 1_048_576
_LINE_OVERHEAD = 26
"""Limits of PutLogEvents: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html"""


class CloudWatchStreams:
    """One log group."""

    def __init__(self, client: Any, group: str) -> None:
        self._logs = client
        self._group = group
        self._made: set[str] = set()

    def append(self, stream: str, lines: Sequence[str], at: datetime) -> None:
        """Add lines to a stream, which is created if needed. Raises ServiceUnavailable and NotAllowed."""
        milliseconds = int(at.timestamp() * 1000)
        with translated(f"write to log group {self._group}"):
            if stream not in self._made:
                self._make(stream)
            for batch in _batches(lines):
                events = [{"timestamp": milliseconds, "message": line} for line in batch]
                self._logs.put_log_events(logGroupName=self._group, logStreamName=stream, logEvents=events)

    def _make(self, stream: str) -> None:
        with suppress(self._logs.exceptions.ResourceAlreadyExistsException):
            self._logs.create_log_stream(logGroupName=self._group, logStreamName=stream)
        self._made.add(stream)


def _batches(lines: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for line in lines:
        cost = len(line.encode()) + _LINE_OVERHEAD
        if batch and (len(batch) == _BATCH_LINES or size + cost > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += cost
    if batch:
        yield batch
