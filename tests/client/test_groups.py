"""A forecast in shards from Python, against moto, with instances that a test plays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pyarrow as pa
import pytest

from chronos_ec2 import Client
from chronos_ec2.aws.clients import client
from chronos_ec2.bootstrap.operator import operator_world
from chronos_ec2.client import GroupHandle
from chronos_ec2.domain.errors import InvalidInput, RunUnsuccessful
from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Verdict
from chronos_ec2.services.groups.status import GroupView
from chronos_ec2.testing.aws_server import BUCKET
from tests.cli.conftest import hub  # noqa: F401 - a fixture
from tests.client.test_jobs import parquet, sales

pytestmark = pytest.mark.usefixtures("hub")


@pytest.fixture
def dev(deployed: str) -> Client:
    return Client("dev")


def rows(shard: int) -> pa.Table:
    return pa.table({"item_id": [f"series-{shard}"], "timestamp": ["2026-02-01"], "predictions": [shard + 0.5]})


@contextmanager
def instances(name: str, failing: int | None = None) -> Iterator[None]:
    """Plays the instances of a group: each leaves its part of the forecast, says how it ended, and is gone."""
    world, done = operator_world("dev"), Event()

    def play() -> None:
        while not done.wait(0.05):
            group = world.groups.orders.order(name)
            for shard, lane in enumerate(group.lanes if group else ()):
                lock = world.store.read_lock(lane)
                if not isinstance(lock, LockHeld) or lock.run.instance_id is None or lock.run.verdict is not None:
                    continue
                body, run_id = parquet(rows(shard)), lock.run.run_id
                key = run_key("dev", run_id, "forecasts/part-00000.parquet")
                part = {
                    "key": key,
                    "bytes": len(body),
                    "sha256": hashlib.sha256(body).hexdigest(),
                    "rows": 1,
                    "items": 1,
                }
                manifest = json.dumps({"parts": [part]}).encode()
                client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
                client("s3").put_object(
                    Bucket=BUCKET, Key=run_key("dev", run_id, "forecasts/manifest.json"), Body=manifest
                )
                how = (Outcome.FAILED, Cause.USER_CODE) if shard == failing else (Outcome.SUCCEEDED, Cause.COMPLETED)
                verdict = Verdict(*how, "said so", DecidedBy.AGENT)
                world.store.replace_lock(lock.run.end(verdict, world.clock.now()), lock)
                client("ec2").terminate_instances(InstanceIds=[lock.run.instance_id])
                world.reconciler.sweep()
                world.groups.after(name, run_id)

    playing = Thread(target=play)
    playing.start()
    try:
        yield
    finally:
        done.set()
        playing.join()


def test_the_forecasts_of_all_shards_come_back_as_one_frame(dev: Client) -> None:
    with instances("parts"):
        found = dev.forecast(sales(), 2, shards=3, parallel=2, group="parts", max_cost=6, interval=0.1, allow_cpu=True)
    assert pa.table(found).to_pydict() == pa.concat_tables([rows(shard) for shard in range(3)]).to_pydict()
    group = dev.group("parts")
    assert group.view.group.budget.max_cost_usd == 6
    assert tuple(run.run_id for run in group.runs) == group.view.group.run_ids
    assert group.cost_usd is not None


def test_a_group_is_waited_for_and_its_results_stay(dev: Client, tmp_path: Path) -> None:
    seen = list[GroupView]()
    with instances("parts"):
        dev.forecast(sales(), 2, shards=2, group="parts", interval=0.1, allow_cpu=True)
        result = dev.group("parts").wait(interval=0.1, on_change=seen.append)
    assert (result.whole, result.succeeded, len(seen)) == (True, 2, 1)
    folder = dev.group("parts").results(tmp_path / "all")
    names = [f"shard-{shard:03d}-part-00000.parquet" for shard in range(2)]
    assert sorted(path.name for path in (folder / "forecasts").iterdir()) == names


def test_a_shard_that_fails_leaves_no_forecast(dev: Client) -> None:
    with instances("parts", failing=1), pytest.raises(RunUnsuccessful, match="group parts has not succeeded: 1 of 2"):
        dev.forecast(sales(), 2, shards=2, group="parts", interval=0.1, allow_cpu=True)
    with pytest.raises(InvalidInput, match="no result as a whole"):
        dev.group("parts").forecasts()


def test_a_group_that_there_is_not_is_an_error(dev: Client) -> None:
    with pytest.raises(InvalidInput, match="there is no group parts"):
        dev.group("parts").kill()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"parallel": 2}, "parallel: is for shards"),
        ({"group": "parts"}, "group: is for shards"),
        ({"shards": 1}, "--shards"),
        ({"shards": 2, "group": "No Name"}, "is not a name of a group"),
    ],
)
def test_what_no_group_can_be_is_refused(dev: Client, options: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        dev.forecast(sales(), 2, **options)  # type: ignore[arg-type]
    assert dev.runs() == ()
    assert repr(GroupHandle("parts", "dev", dev._reader)) == "<group parts in dev>"
