"""AWS calls and seconds of one sweep, by the number of instances: `python -m benchmarks.sweep`.

Every instance has its run, its lock, in a lane of its own, and a beat; EC2 and S3 are moto over real HTTP. The number
of calls is what matters: a list of EC2 is read in pages once for all lanes, and each lane then costs a constant number
of reads. Seconds are medians of five sweeps, and mostly moto's.
"""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from chronos_ec2.domain.instance import run_tags
from chronos_ec2.domain.lane import Lane
from tests.builders import a_heartbeat, a_run

_SIZES = (1, 10, 100)
_REPEATS = 5


def main() -> None:
    """Print the table."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
    # After the environment is set: clients read it when they are made.
    from chronos_ec2.aws.clients import client  # noqa: PLC0415
    from tests.aws_server import deploy_outputs, forget_everything, moto_server  # noqa: PLC0415

    print("| instances | EC2 lists | S3 reads | S3 lists | other calls | seconds |\n|---|---|---|---|---|---|")
    with moto_server() as endpoint:
        os.environ["AWS_ENDPOINT_URL"] = endpoint
        for size in _SIZES:
            forget_everything(endpoint)
            client.cache_clear()
            deploy_outputs()
            print(_row(size), flush=True)


def _row(size: int) -> str:
    from chronos_ec2.aws.clients import client  # noqa: PLC0415
    from chronos_ec2.bootstrap import operator_world  # noqa: PLC0415

    world = operator_world("dev")
    now = datetime.now(UTC)
    for number in range(size):
        lane = Lane("dev", f"lane-{number}")
        run = a_run(
            lane=lane, run_id=f"20260131T110000Z-{number:06x}", deadline=now + timedelta(hours=9), instance_id=None
        )
        tags = [{"Key": key, "Value": value} for key, value in run_tags(run, "Chronos-Training", "train").items()]
        instance_id = client("ec2").run_instances(
            ImageId="ami-12c6146b", MinCount=1, MaxCount=1, InstanceType="t3.micro",
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )["Instances"][0]["InstanceId"]  # fmt: skip
        world.store.create_lock(replace(run, instance_id=instance_id))
        world.store.write_beat("dev", a_heartbeat(run_id=run.run_id, instance_id=instance_id))
    world.reconciler.parallel_lanes = 32
    world.reconciler.sweep()  # the messages of the start are out
    calls: Counter[str] = Counter()
    for service in ("ec2", "s3", "sns"):
        client(service, None).meta.events.register("before-send", lambda event_name, **_: calls.update([event_name]))
    seconds = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        reports = world.reconciler.sweep()
        seconds.append(time.perf_counter() - begin)
        assert all("healthy" in report.decision.reason for report in reports if report.lane.name.startswith("lane-"))
    per_sweep = {name.split(".", 1)[1]: count / _REPEATS for name, count in calls.items()}
    known = ("ec2.DescribeInstances", "s3.GetObject", "s3.ListObjectsV2")
    other = sum(count for name, count in per_sweep.items() if name not in known)
    figures = [f"{per_sweep.get(name, 0):g}" for name in known]
    return f"| {size} | {' | '.join(figures)} | {other:g} | {statistics.median(seconds):.2f} |"


if __name__ == "__main__":
    main()
