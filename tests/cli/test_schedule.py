"""Schedules at the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.records.champion import Promote
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import ledger_key, schedule_key, success_key
from chronos_ec2.services.schedules.store import ScheduleStore
from chronos_ec2.testing.aws_server import SCHEDULE_GROUP, store
from tests.cli.conftest import CONFIG, Command

pytestmark = pytest.mark.usefixtures("data")
FORECAST = """\
job: forecast
data: {path: training-data/sales/}
prediction_length: 6
model: champion
"""


@pytest.fixture
def train(tmp_path: Path) -> str:
    """A configuration of the training; that of the forecast is beside it."""
    (tmp_path / "train.yaml").write_text(CONFIG)
    (tmp_path / "forecast.yaml").write_text(FORECAST)
    store().objects.write(success_key("dev", "training-data/sales/"), b"")
    return str(tmp_path / "train.yaml")


def create(run: Command, train: str, *options: str) -> Any:
    return run("schedule", "create", "nightly", "--config", train, *(options or ("--cron", "0 3 * * ? *")))


def times() -> list[str]:
    found = client("scheduler").list_schedules(GroupName=SCHEDULE_GROUP)["Schedules"]
    return [one["Name"] for one in found]


def test_a_schedule_is_created_shown_paused_resumed_and_deleted(run: Command, train: str) -> None:
    created = create(run, train)
    assert created.code == 0, created.err
    assert "schedule nightly: cron(0 3 * * ? *)" in created.out
    assert times() == ["nightly"]
    assert [one["when"] for one in run("schedule", "list", "--json").json] == ["cron(0 3 * * ? *)"]
    assert run("schedule", "pause", "nightly").out == "schedule nightly is paused\n"
    assert "nightly: cron(0 3 * * ? *) (paused), lane main" in run("schedule", "show", "nightly").out
    assert "paused" in run("schedule", "list").out
    assert run("schedule", "resume", "nightly", "--json").json == {"schedule": "nightly", "enabled": True}
    assert run("schedule", "delete", "nightly", "--yes").out == "schedule nightly deleted\n"
    assert times() == []
    for key in (schedule_key("dev", "nightly"), ledger_key("dev", "nightly")):
        assert store().objects.read(key) is None
    assert run("schedule", "list").out.startswith("no schedules in environment dev")


def test_its_scheduler_invokes_the_launcher_with_the_time_that_is_meant(run: Command, train: str) -> None:
    assert create(run, train, "--rate", "1d").code == 0
    found = client("scheduler").get_schedule(GroupName=SCHEDULE_GROUP, Name="nightly")
    assert found["ScheduleExpression"] == "rate(1 day)"
    assert found["Target"]["Arn"].endswith(":function:chronos-ec2-dev-launcher")
    assert found["Target"]["Input"] == '{"schedule": "nightly", "at": "<aws.scheduler.scheduled-time>"}'


def test_times_that_an_interrupted_creation_has_left_are_replaced(run: Command, train: str) -> None:
    assert create(run, train).code == 0
    store().objects.remove(schedule_key("dev", "nightly"))
    assert "has no order" in run("verify").out
    assert create(run, train, "--rate", "6h").code == 0
    assert client("scheduler").get_schedule(GroupName=SCHEDULE_GROUP, Name="nightly")["ScheduleExpression"] == (
        "rate(6 hours)"
    )


def test_times_that_an_interrupted_creation_has_left_do_not_start_a_schedule_that_waits_for_data(
    run: Command, train: str
) -> None:
    assert create(run, train).code == 0
    store().objects.remove(schedule_key("dev", "nightly"))
    assert times() == ["nightly"]
    assert create(run, train, "--on-data", "sales").code == 0
    assert times() == []


def test_run_starts_it_now_with_what_was_ordered(run: Command, train: str) -> None:
    then = str(Path(train).with_name("forecast.yaml"))
    options = ("--on-data", "sales", "--promote", "better", "--then", then, "--max-cost", "5", "--max-cost-per-month")
    created = create(run, train, *options, "50")
    assert created.code == 0, created.err
    assert times() == []
    started = run("schedule", "run", "nightly", "--json")
    assert started.code == 0, started.err
    lock = store().read_lock(Lane("dev"))
    assert isinstance(lock, LockHeld)
    assert lock.run.run_id == started.json["run_id"]
    assert lock.run.max_cost_usd == 5.0
    request = store().read_request("dev", lock.run.run_id)
    assert request
    assert request.promotion
    assert (request.promotion.rule, request.schedule) == (Promote.BETTER, "nightly")
    assert [one["run_id"] for one in run("schedule", "show", "nightly", "--json").json["runs"]] == [lock.run.run_id]
    order = ScheduleStore("dev", store().objects).order("nightly")
    assert order
    assert order.then
    assert order.then.request.lane == Lane("dev", "nightly-then")
    assert order.then.request.models == ()
    while (again := run("schedule", "run", "nightly")).code == 0:
        assert f"run {lock.run.run_id} started" in again.out  # within the same second it is the same run
    assert again.code == 2
    assert f"run {lock.run.run_id} holds" in again.err


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ((), ""),
        (("--cron", "0 3 * * ? *", "--rate", "1d"), "exactly one of --cron, --rate and --on-data"),
        (("--rate", "1m"), "'1m' is not a number of hours or days"),
        (("--on-data", "others"), "which is another data set"),
        (("--rate", "1d", "--max-cost-per-month", "50"), "needs --max-cost"),
        (("--rate", "1d", "--then-future", "next"), "No such option"),
    ],
)
def test_what_no_schedule_can_be_is_refused_with_a_hint(
    run: Command, train: str, options: tuple[str, ...], error: str
) -> None:
    if not error:
        result = run("schedule", "create", "A-name-that-is-much-too-long", "--config", train, "--rate", "1d")
        error = "is not a name of a schedule"
    elif error == "No such option":
        then = str(Path(train).with_name("forecast.yaml"))
        result, error = create(run, train, *options, "--then", then), "belong together"
    else:
        result = create(run, train, *options)
    assert result.code == 2
    assert error in result.err
    assert "hint: " in result.err
    assert list(store().objects.keys("dev/schedules/")) == []


def test_a_schedule_that_is_not_there_and_one_that_is_are_errors(run: Command, train: str) -> None:
    for arguments in (("show",), ("pause",), ("resume",), ("run",), ("delete", "--yes")):
        result = run("schedule", arguments[0], "nightly", *arguments[1:])
        assert result.code == 2
        assert "there is no schedule nightly" in result.err
    assert create(run, train).code == 0
    again = create(run, train)
    assert again.code == 2
    assert "there is a schedule nightly already" in again.err


def test_plan_orders_nothing(run: Command, train: str) -> None:
    assert create(run, train, "--rate", "1d", "--plan").code == 0
    assert list(store().objects.keys("dev/schedules/")) == []
    assert times() == []


def test_doctor_and_verify_tell_of_schedules_that_cannot_start_and_teardown_waits(run: Command, train: str) -> None:
    assert create(run, train).code == 0
    assert "nightly: cron(0 3 * * ? *)" in run("doctor").out
    client("scheduler").delete_schedule(GroupName=SCHEDULE_GROUP, Name="nightly")
    assert "has no times of schedule nightly" in run("verify").out
    store().objects.remove(success_key("dev", "training-data/sales/"))
    assert run("schedule", "pause", "nightly").code == 0
    assert "schedule nightly is paused" in run("doctor").out
    torn = run("teardown", "--yes")
    assert torn.code != 0
    assert "the order of schedule nightly" in torn.err
