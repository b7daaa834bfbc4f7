"""Runs of the trainer `probe` by real agents on a real bucket; EC2 and the rest of AWS are in memory."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.clocks import SystemClock
from chronos_ec2.aws.s3_objects import S3Objects
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import shared_key
from chronos_ec2.local import LocalAwsFailed
from chronos_ec2.services.launch import Launched
from chronos_ec2.testing import Environment, MemoryAws
from chronos_ec2.testing.environment import DATA

T = TypeVar("T")


class ProbeEnvironment(Environment):
    """An environment in this process's AWS, with a data set that the trainer does not read."""

    def __init__(self, bucket: str) -> None:
        aws = MemoryAws(clock=SystemClock())  # type: ignore[arg-type]
        aws.objects = S3Objects(client("s3"), bucket)  # type: ignore[assignment]
        super().__init__(aws=aws, bucket=bucket, allow_cpu=True)
        table = {"item_id": ["a"] * 9, "timestamp": pa.array(range(9), pa.timestamp("s")), "target": [1.0] * 9}
        buffer = io.BytesIO()
        pq.write_table(pa.table(table), buffer)
        self.objects.write(shared_key(self.name, f"{DATA}part-0.parquet"), buffer.getvalue())

    def launch_probe(self, lane: Lane, probe: Mapping[str, object], bundle_sha256: str, limits: Limits) -> Launched:
        """Launch a run of the trainer `probe`."""
        config = {
            "trainer": "probe", "data": {"path": DATA}, "prediction_length": 2, "context_length": 4,
            "probe": {"step_seconds": 0.2, **probe},
        }  # fmt: skip
        return self.launch(lane, config=config, bundle_sha256=bundle_sha256, limits=limits)


def wait_for(
    what: Callable[[], T], seconds: float, otherwise: Callable[[], str], alive: Callable[[], bool] = lambda: True
) -> T:
    """What `what` returns as soon as it is true.

    Raises:
        LocalAwsFailed: it is not within so many seconds, or nothing is `alive` any more; `otherwise` says why.
    """
    end = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > end or not alive():
            raise LocalAwsFailed(f"{otherwise()} within {seconds:.0f} s", "see the logs of the run")
        time.sleep(0.2)
    return found
