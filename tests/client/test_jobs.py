"""Frames in, forecasts and scores out: jobs from Python, against moto, with an instance that a test plays."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chronos_ec2 import Client
from chronos_ec2.aws.clients import client
from chronos_ec2.bootstrap.operator import operator_world
from chronos_ec2.domain.errors import InvalidInput, RunUnsuccessful
from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Verdict
from chronos_ec2.testing.aws_server import BUCKET
from tests.cli.conftest import hub  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("hub")
FORECAST = pa.table({"item_id": ["a", "a"], "timestamp": ["2026-02-01", "2026-02-02"], "0.5": [1.5, 2.5]})
SCORES = {"chronos-2": {"wql": 0.2, "mase": 0.9}, "seasonal_naive": {"wql": 0.3}, "better": {"wql": 0.1, "mase": 0.8}}


@pytest.fixture
def dev(deployed: str) -> Client:
    return Client("dev")


def sales(days: int = 40) -> pd.DataFrame:
    times = pd.date_range("2026-01-01", periods=days)
    one = pd.DataFrame({"item_id": "a", "timestamp": times, "target": [float(day % 7) for day in range(days)]})
    return pd.concat([one, one.assign(item_id="b")], ignore_index=True)


def parquet(table: pa.Table) -> bytes:
    body = io.BytesIO()
    pq.write_table(table, body)
    return body.getvalue()


@contextmanager
def an_instance(files: dict[str, bytes], outcome: Outcome = Outcome.SUCCEEDED) -> Iterator[None]:
    """Plays the instance of the next run: it leaves files, says how it ended, and is gone."""
    world, done = operator_world("dev"), Event()

    def play() -> None:
        while not done.wait(0.1):
            lock = world.store.read_lock(Lane("dev"))
            if not isinstance(lock, LockHeld) or lock.run.instance_id is None:
                continue
            for name, body in files.items():
                client("s3").put_object(Bucket=BUCKET, Key=run_key("dev", lock.run.run_id, name), Body=body)
            verdict = Verdict(outcome, Cause.COMPLETED if outcome is Outcome.SUCCEEDED else Cause.USER_CODE, "said so",
                              DecidedBy.AGENT)  # fmt: skip
            world.store.replace_lock(lock.run.end(verdict, world.clock.now()), lock)
            client("ec2").terminate_instances(InstanceIds=[lock.run.instance_id])
            world.reconciler.sweep()
            return

    playing = Thread(target=play)
    playing.start()
    try:
        yield
    finally:
        done.set()
        playing.join()


@pytest.mark.parametrize(
    ("make", "kind"),
    [(lambda frame: frame, pd.DataFrame), (pa.Table.from_pandas, pa.Table)],
)
def test_forecasts_come_back_as_a_frame_of_the_library_that_was_given(
    dev: Client, make: Callable[[pd.DataFrame], Any], kind: type
) -> None:
    with an_instance({"forecasts/part-00000.parquet": parquet(FORECAST)}):
        found = dev.forecast(make(sales()), 2, interval=0.1, allow_cpu=True)
    assert isinstance(found, kind)
    assert pa.table(found).to_pydict() == FORECAST.to_pydict()
    (run,) = dev.runs()
    request = json.loads(
        client("s3").get_object(Bucket=BUCKET, Key=run_key("dev", run.run.run_id, "request.json"))["Body"].read()
    )
    assert (request["config"]["job"], request["config"]["prediction_length"]) == ("forecast", 2)
    assert request["config"]["data"]["path"].startswith("training-data/frame-")


def test_known_covariates_ahead_are_a_second_frame(dev: Client) -> None:
    past = sales().assign(price=1.0)
    ahead = sales(42).query("timestamp > '2026-02-09'").drop(columns="target").assign(price=2.0)
    with an_instance({"forecasts/part-00000.parquet": parquet(FORECAST)}):
        dev.forecast(past, 2, future=ahead, interval=0.1, allow_cpu=True)
    with pytest.raises(InvalidInput, match="points to forecast have no row"):
        dev.forecast(past, 5, future=ahead, allow_cpu=True)
    assert len(dev.runs()) == 1


def test_the_scores_of_each_model_come_back_with_the_best_first(dev: Client) -> None:
    with an_instance({"training.json": json.dumps({"evaluation": {"models": SCORES}}).encode()}):
        found = dev.evaluate(sales(), 2, interval=0.1, allow_cpu=True)
    assert found == SCORES
    assert list(found) == ["better", "chronos-2", "seasonal_naive"]


def test_a_run_that_fails_is_an_error_with_its_verdict(dev: Client) -> None:
    with an_instance({}, Outcome.FAILED), pytest.raises(RunUnsuccessful, match=r"failed \(user-code\): said so"):
        dev.forecast(sales(), 2, interval=0.1, allow_cpu=True)


@pytest.mark.parametrize(
    ("frame", "horizon", "options", "named"),
    [
        (sales().drop(columns="timestamp"), 2, {}, "timestamp"),
        (pd.concat([sales(), sales()]), 2, {}, "repeat a time"),
        (sales(), 0, {}, "prediction_length"),
        (sales(), 2, {"config": {"quantiles": [0.5]}}, "unknown key quantiles"),
        (sales(), 2, {"model": "no model"}, "no model"),
        (object(), 2, {}, "frame"),
    ],
)
def test_what_a_run_would_refuse_is_refused_before_anything_is_paid(
    dev: Client, frame: Any, horizon: int, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidInput, match=named):
        dev.forecast(frame, horizon, allow_cpu=True, **options)
    assert dev.runs() == ()
    assert "Contents" not in client("s3").list_objects_v2(Bucket=BUCKET, Prefix="cached-datasets/dev/training-data/")


def test_a_run_is_held_and_released(dev: Client) -> None:
    run = dev.fit(sales(), 2, allow_cpu=True)
    run.hold()
    (instance,) = operator_world("dev").fleet.instances("dev")
    assert instance.hold
    run.release()
    (instance,) = operator_world("dev").fleet.instances("dev")
    assert not instance.hold
