"""AWS time on a laptop."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chronos_ec2.aws.clocks import S3Clock


class Answer:
    """S3, which says the time once."""

    def __init__(self) -> None:
        self.asked = 0

    def head_bucket(self, **_: Any) -> dict[str, Any]:
        self.asked += 1
        return {"ResponseMetadata": {"HTTPHeaders": {"date": "Sat, 31 Jan 2026 12:00:00 GMT"}}}


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no clock that goes on in its sleep")
def test_the_clock_goes_on_while_a_laptop_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    uptime = 1000.0
    monkeypatch.setattr(time, "clock_gettime", lambda which: uptime if which == time.CLOCK_BOOTTIME else 0.0)
    s3 = Answer()
    clock = S3Clock(s3, "a-bucket")
    start = clock.now()
    assert start == datetime(2026, 1, 31, 12, tzinfo=UTC)
    uptime += 3600
    assert clock.now() - start == timedelta(hours=1)
    assert s3.asked == 1
