"""AWS time: in Lambda the machine's own clock, elsewhere what S3 says."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from chronos_ec2.aws.errors import translated


class SystemClock:
    """The clock of this machine: right in Lambda; on a training box only ever logged."""

    def now(self) -> datetime:
        """The time, aware UTC."""
        return datetime.now(UTC)


class S3Clock:
    """S3's clock, read once and carried on by this machine's monotonic one; a laptop's wall clock may be wrong."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._s3 = client
        self._bucket = bucket
        self._origin: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        """The time, aware UTC, to about a second. Raises what `translated` raises at the first call."""
        if self._origin is None:
            with translated(f"look at bucket {self._bucket}"):
                response = self._s3.head_bucket(Bucket=self._bucket)
            date = parsedate_to_datetime(response["ResponseMetadata"]["HTTPHeaders"]["date"]).astimezone(UTC)
            self._origin = (date, time.monotonic())
        date, at = self._origin
        return date + timedelta(seconds=time.monotonic() - at)
