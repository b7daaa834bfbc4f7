"""Every option of `launch` reaches the record of the run and its request."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.s3_objects import S3Objects
from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.run_store import RunStore
from chronos_ec2.testing.aws_server import BUCKET
from tests.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("data")


def launched(run: Command, config: Path, *options: str, lane: str = "main") -> tuple[Run, dict[str, Any]]:
    """The record and the request of a launch with options."""
    result = run("launch", "--config", str(config), "--json", *options)
    assert result.code == 0, result.err
    objects = S3Objects(client("s3"), BUCKET)
    held = RunStore(objects).read_lock(Lane("dev", lane))
    assert isinstance(held, LockHeld)
    found = objects.read(run_key("dev", held.run.run_id, "request.json"))
    assert found is not None
    assert result.json["run_id"] == held.run.run_id
    return held.run, json.loads(found.body)


def test_the_limits_of_a_run(run: Command, config: Path) -> None:
    record, _ = launched(run, config, "--max-hours", "2.5", "--max-cost", "7.25", "--price", "1.5")
    assert record.deadline - record.created_at == timedelta(hours=2.5)
    assert record.max_cost_usd == 7.25
    # With the volume and the public address.
    assert record.price_per_hour_usd is not None
    assert 1.5 <= record.price_per_hour_usd < 1.6


def test_the_budgets_of_further_attempts(run: Command, config: Path) -> None:
    record, _ = launched(run, config, "--preemptions", "3", "--crashes", "2")
    assert (record.preemptions_left, record.crashes_left) == (3, 2)


def test_the_defaults(run: Command, config: Path) -> None:
    record, request = launched(run, config)
    assert (record.preemptions_left, record.crashes_left, record.max_cost_usd) == (5, 1, None)
    assert record.deadline - record.created_at == timedelta(hours=12)
    assert (request["market"], request["allow_cpu"]) == ("on-demand", False)


def test_spot_capacity(run: Command, config: Path) -> None:
    _, request = launched(run, config, "--spot")
    assert request["market"] == "spot"
    (reservation,) = client("ec2").describe_instances()["Reservations"]
    assert reservation["Instances"][0]["InstanceLifecycle"] == "spot"


def test_a_lane_and_the_cpu(run: Command, config: Path) -> None:
    record, request = launched(run, config, "--lane", "nightly", "--allow-cpu", lane="nightly")
    assert (record.lane.name, request["allow_cpu"]) == ("nightly", True)


def test_several_instance_types_in_their_order(run: Command, config: Path) -> None:
    _, request = launched(run, config, "--instance-type", "g5.2xlarge,g4dn.2xlarge")
    assert request["instance_types"] == ["g5.2xlarge", "g4dn.2xlarge"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--instance-type", "g5.xlarge,p5.48xlarge"), "--instance-type: the stack does not allow p5.48xlarge"),
        (("--max-hours", "169"), "--max-hours: 169.00 is longer than the stack allows"),
        (
            ("--instance-type", ",".join(f"g5.{n}xlarge" for n in range(11)), "--price", "1"),
            "11 instance types are more",
        ),
    ],
)
def test_what_the_stack_allows_no_run_is_refused_before_anything_is_written(
    run: Command, config: Path, options: tuple[str, ...], said: str
) -> None:
    before = set(S3Objects(client("s3"), BUCKET).keys(""))
    result = run("launch", "--config", str(config), *options)
    assert result.code == 2
    assert said in result.err.replace("\n", " ")
    assert set(S3Objects(client("s3"), BUCKET).keys("")) == before
