"""AWS time: the system clock in Lambda, S3's clock elsewhere."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from chronos_ec2.aws.errors import translated


class SystemClock:
    """The system clock. Correct in Lambda; on a training instance it is only logged."""

    def now(self) -> datetime:
        """The time, aware UTC."""
        return datetime.now(UTC)


# Unlike `time.monotonic`, these go on while a laptop sleeps. Linux has the first, macOS the second.
_WITH_SLEEP = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def _uptime() -> float:
    return time.monotonic() if _WITH_SLEEP is None else time.clock_gettime(_WITH_SLEEP)


class S3Clock:
    """S3's clock, read once and continued by the local uptime. A laptop's wall clock may be wrong."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._s3 = client
        self._bucket = bucket
        self._origin: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        """The time, aware UTC, to about a second. The first call raises what `translated` raises."""
        if self._origin is None:
            with translated(f"access bucket {self._bucket}"):
                response = self._s3.head_bucket(Bucket=self._bucket)
                date = parsedate_to_datetime(response["ResponseMetadata"]["HTTPHeaders"]["date"]).astimezone(UTC)
            self._origin = (date, _uptime())
        date, at = self._origin
        return date + timedelta(seconds=_uptime() - at)
