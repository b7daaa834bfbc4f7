"""A watchdog pass by the number of instances, compared with Cloud Custodian: `python -m benchmarks.sweep`.

Both run against moto over HTTP. Every running instance has a run, a lock in its own lane, and a heartbeat. The largest
case adds nine terminated instances per running one, which EC2 lists for about an hour. moto gets an index of tags,
without which its own lookup would take hours, and no list of images. Custodian runs a terminate-when-old policy, with
our tags as server-side filters. Nothing is old, so neither terminates anything. The two alternate. Seconds are medians,
and mostly moto's own time; compare with a bare EC2 list by boto3.

Prints a table, and publishes it.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix

from benchmarks.publish import ROOT, publish
from chronos_ec2.aws.clients import client
from chronos_ec2.bootstrap.operator import operator_world
from chronos_ec2.domain.instance import owner_tags, run_tags
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.local.tool_venv import isolated_python
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.watchdog.reconcile import Report
from chronos_ec2.testing.aws_server import deploy_outputs, forget_everything, moto_server
from chronos_ec2.testing.builders import a_heartbeat, a_run

# (running instances, each in its own lane; terminated instances per running one)
_SIZES = ((1, 0), (10, 0), (100, 0), (1000, 0), (1000, 9))
_REPEATS = 3


@dataclass(frozen=True)
class Row:
    """One size. Calls are per pass; seconds are medians."""

    instances: int
    lanes: int
    ec2_lists: float
    s3_lists: float
    schedule_lists: float
    s3_reads: float
    other_calls: float
    seconds: float
    custodian_calls: float
    custodian_seconds: float
    bare_list_seconds: float


def main() -> None:
    """Measure, print and write."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
    _speed_up_moto()
    rows = []
    with moto_server() as endpoint:
        os.environ["AWS_ENDPOINT_URL"] = endpoint
        for running, terminated in _SIZES:
            forget_everything(endpoint)
            client.cache_clear()
            deploy_outputs()
            rows.append(_row(running, terminated))
            print(_table(rows[-1:]).splitlines()[-1], flush=True)
            _write(rows)  # after each size, so that an interrupted benchmark keeps its results


def _speed_up_moto() -> None:
    """By default moto searches the tags of all resources for those of one, and all its images for each instance."""
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"

    def get_tags(resource: Any) -> list[dict[str, str]]:
        kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(resource.id), "")
        return [
            {"resource_id": resource.id, "resource_type": kind, "key": key, "value": value}
            for key, value in resource.ec2_backend.tags.get(resource.id, {}).items()
        ]

    tagged: Any = TaggedEC2Resource
    tagged.get_tags = get_tags


def _write(rows: list[Row]) -> None:
    figures = {"sweep": [asdict(row) for row in rows]}
    publish(figures, "Sweep", f"`python -m benchmarks.sweep`\n\n{_HEAD}\n\n{_table(rows)}")


_HEAD = " ".join((__doc__ or "").split("\n\n")[1].split())


def _row(running: int, terminated: int) -> Row:
    world = operator_world("dev")
    _populate(running, terminated, world.store)
    world.reconciler.parallel_lanes = 32
    # Creating so many takes longer than a lease.
    world.reconciler.limits = Limits.from_overrides({"lease": 86_400, "progress": 86_400})
    world.reconciler.sweep()  # sends the start messages, creates the schedules
    calls: Counter[str] = Counter()
    for service in ("ec2", "s3", "sns", "scheduler"):
        client(service, None).meta.events.register("before-send", lambda event_name, **_: calls.update([event_name]))
    ours, theirs, their_calls = [], [], 0.0
    for _ in range(_REPEATS):
        ours.append(_seconds(lambda: _healthy_sweep(world.reconciler.sweep)))
        found = _custodian()
        # Its first run creates its clients, as our first pass did; compare with its second.
        theirs.append(found["seconds"][-1])
        their_calls = sum(found["calls"].values()) / len(found["seconds"])
    per_sweep = {name.split(".", 1)[1]: count / _REPEATS for name, count in calls.items()}
    bare = [_seconds(lambda: _bare_list(client("ec2"))) for _ in range(_REPEATS)]
    medians = [round(statistics.median(taken), 2) for taken in (ours, theirs, bare)]
    return Row(
        instances=running * (1 + terminated),
        lanes=running,
        ec2_lists=per_sweep.pop("ec2.DescribeInstances", 0.0),
        s3_lists=per_sweep.pop("s3.ListObjectsV2", 0.0),
        schedule_lists=per_sweep.pop("scheduler.ListSchedules", 0.0),
        s3_reads=per_sweep.pop("s3.GetObject", 0.0),
        other_calls=sum(per_sweep.values()),
        seconds=medians[0],
        custodian_calls=their_calls,
        custodian_seconds=medians[1],
        bare_list_seconds=medians[2],
    )


def _populate(running: int, terminated: int, store: RunStore) -> None:
    now = datetime.now(UTC)
    (profile,) = client("iam").list_instance_profiles()["InstanceProfiles"]
    profile_arn = profile["Arn"]
    for number in range(running):
        lane = Lane("dev", f"lane-{number}")
        run = a_run(
            lane=lane, run_id=f"20260131T110000Z-{number:06x}", deadline=now + timedelta(hours=9), instance_id=None
        )
        tags = [{"Key": key, "Value": value} for key, value in run_tags(run, "Chronos-Training", "train").items()]
        launched = client("ec2").run_instances(
            ImageId="ami-12c6146b", MinCount=1 + terminated, MaxCount=1 + terminated, InstanceType="t3.micro",
            IamInstanceProfile={"Arn": profile_arn},
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )["Instances"]  # fmt: skip
        instance_id, *gone = (instance["InstanceId"] for instance in launched)
        if gone:
            client("ec2").terminate_instances(InstanceIds=gone)
        store.create_lock(replace(run, instance_id=instance_id))
        store.write_heartbeat("dev", a_heartbeat(run_id=run.run_id, instance_id=instance_id))


def _healthy_sweep(sweep: Callable[[], list[Report]]) -> None:
    reasons = [report.decision.reason for report in sweep() if report.lane.name.startswith("lane-")]
    assert reasons
    assert all("healthy" in reason for reason in reasons)


def _custodian() -> dict[str, Any]:
    lock = (ROOT / "benchmarks" / "sweep-peers.txt").read_text()
    command = [str(isolated_python("peer", lock, print)), str(ROOT / "benchmarks" / "custodian_sweep.py"), "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _bare_list(ec2: Any) -> None:
    wanted = [{"Name": f"tag:{key}", "Values": [value]} for key, value in owner_tags("Chronos-Training", "dev").items()]
    for _ in ec2.get_paginator("describe_instances").paginate(Filters=wanted):
        pass


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _table(rows: list[Row]) -> str:
    head = (
        "| instances | lanes | EC2 lists | S3 lists | schedule lists | S3 reads | other calls | seconds "
        "| Custodian: calls | seconds | bare EC2 list, seconds |"
    )
    lines = [
        "| " + " | ".join(f"{value:,g}" if isinstance(value, float) else f"{value:,}" for value in asdict(row).values())
        + " |"
        for row in rows
    ]  # fmt: skip
    return "\n".join([head, "|---:" * 11 + "|", *lines])


if __name__ == "__main__":
    main()
