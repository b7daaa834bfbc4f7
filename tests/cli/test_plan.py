"""The plan comes before a launch: it tells the worst case, and nothing has been written when it does."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.cli.plan import _quoted
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Verdict
from chronos_ec2.ports import Price
from chronos_ec2.services.launch.types import Offer
from chronos_ec2.testing.aws_server import BUCKET, store
from chronos_ec2.testing.builders import NOW, a_run
from tests.cli.conftest import CONFIG, Command

pytestmark = pytest.mark.usefixtures("data")
SUCCEEDED = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "done", DecidedBy.AGENT)


class Terminal(io.StringIO):
    """A terminal with something typed, or one that shows what is printed."""

    def isatty(self) -> bool:
        return True


def keys() -> list[str]:
    return [each["Key"] for each in client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]]


def test_a_plan_tells_the_worst_case_and_writes_nothing(run: Command, config: Path) -> None:
    before = keys()
    options = ("launch", "--config", str(config), "--max-hours", "2", "--max-cost", "1", "--plan")
    text = run(*options).out
    assert "training-data/sales/: 1 file, 0.0 kB" in text
    assert "2h, cap $1.00, resumes after 5 preemptions and 1 crash" in text
    assert "unknown: no run of the same data has succeeded yet" in text
    assert re.search(r"at most +\$1\.\d\d, and gone by 20\d\d-\d\d-\d\d \d\d:\d\d UTC", text)
    plan = run(*options, "--json").json["plan"]
    assert (plan["max_hours"], plan["data"]["files"], plan["changed"]) == (2.0, 1, None)
    price = max(each["usd_per_hour"] for each in plan["instance_types"])
    assert plan["worst_case"]["usd"] == pytest.approx(1 + price * 90 / 3600)
    assert keys() == before
    assert client("ec2").describe_instances()["Reservations"] == []


def test_a_plan_needs_the_trainer_that_the_configuration_names(run: Command, config: Path) -> None:
    """Found at the upload, it would be after the data."""
    config.write_text(CONFIG + "trainer: 'mine:Mine'\n")
    result = run("launch", "--config", str(config), "--plan")
    assert (result.code, result.out) == (2, "")
    assert "trainer: no mine.py in " in result.err
    config.with_name("mine.py").write_text("class Mine: ...")
    assert run("launch", "--config", str(config), "--plan").code == 0


def test_a_run_like_a_former_one_is_expected_to_take_as_long(run: Command, config: Path) -> None:
    first = run("launch", "--config", str(config), "--json").json
    assert first["plan"]["expected"] is None
    run("kill", "--now")
    run("cleanup")
    # As the watchdog would have concluded it.
    ended = a_run(run_id=first["run_id"], lane=Lane("dev"), created_at=NOW, ended_at=NOW + timedelta(hours=2))
    store().objects.write(run_key("dev", ended.run_id, "state.json"), replace(ended, verdict=SUCCEEDED).to_json())
    config.write_text(config.read_text() + "training: {steps: 2000}\n")
    plan = run("launch", "--config", str(config), "--plan", "--json").json["plan"]
    assert (plan["expected"]["hours"], plan["expected"]["like"]) == (4.0, first["run_id"])
    assert plan["changed"] == {"training.steps": [1000, 2000]}
    text = " ".join(run("launch", "--config", str(config), "--plan").out.split())
    assert f"changed training.steps 1000, now 2000 since run {first['run_id']}" in text
    assert f"as run {first['run_id']} took" in text


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("\n", 2)])
def test_on_a_terminal_a_launch_asks(
    run: Command, config: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("sys.stderr", shown := Terminal())
    assert run("launch", "--config", str(config)).code == code
    assert "start it? [y/N]" in shown.getvalue()
    assert bool(client("ec2").describe_instances()["Reservations"]) is (code == 0)


@pytest.mark.parametrize("option", ["--yes", "--json"])
def test_nothing_is_asked_that_has_its_answer(
    run: Command, config: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stdin", Terminal(""))
    monkeypatch.setattr("sys.stderr", shown := Terminal())
    done = run("launch", "--config", str(config), option)
    assert (done.code, "start it?" in shown.getvalue()) == (0, False)
    if option == "--json":
        assert json.loads(done.out)["plan"]["worst_case"]["usd"] > 0


def test_a_plan_says_what_the_instance_is_and_of_what_day_its_price_is(run: Command, config: Path) -> None:
    done = run("launch", "--config", str(config), "--instance-type", "g5.xlarge,g4dn.2xlarge", "--plan")
    assert "g5.xlarge: 1 x A10G 22 GiB, 4 cores, 16 GiB" in done.out
    assert "g5.xlarge alone $1.006 on demand, from this release's list of 2026-07-20" in done.out
    assert "g5.xlarge $1.02 an hour with volume and address" in done.out
    assert "spot now" not in done.out
    document = run("launch", "--config", str(config), "--plan", "--json").json["plan"]["instance_types"]
    assert [(one["type"], one["gpu"], one["compute_capability"], one["list_is_current"]) for one in document] == [
        ("g4dn.2xlarge", "T4", "7.5", False)
    ]


def test_a_plan_with_spot_capacity_names_the_price_in_each_zone_the_lowest_first() -> None:
    day = date(2026, 1, 31)
    zones = {"us-east-1a": Price(0.25, day, live=True), "us-east-1b": Price(0.24, day, live=True)}
    text = _quoted(Offer("g5.xlarge", None, Price(1.006, day, live=True), zones))
    assert text == (
        "g5.xlarge alone $1.006 on demand, as AWS lists it now; spot now us-east-1b $0.240, us-east-1a $0.250"
    )
