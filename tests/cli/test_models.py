"""The registry at the command line."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from chronos_ec2.domain.records.champion import How, Promote, Promotion
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import Request
from chronos_ec2.domain.records.s3_keys import champion_key, run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Verdict
from chronos_ec2.testing.aws_server import BUCKET, store
from chronos_ec2.testing.builders import NOW, a_run
from tests.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("deployed")
ONE, TWO = "20260131T100000Z-00000a", "20260131T110000Z-00000b"
FILES = (("config.json", "a" * 64),)
SUCCEEDED = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "trained", DecidedBy.AGENT)


def put_run(run_id: str, verdict: Verdict = SUCCEEDED) -> None:
    run = replace(a_run(run_id=run_id, lane=Lane("dev")).end(verdict, NOW), models=FILES)
    store().objects.write(run_key("dev", run_id, "state.json"), run.to_json())


def test_a_model_is_promoted_shown_and_rolled_back(run: Command) -> None:
    put_run(ONE)
    put_run(TWO)
    assert run("models", "list").out.startswith("no champions yet in environment dev: `launch --promote better`")
    for run_id in (ONE, TWO):
        assert run("models", "promote", run_id, "--yes").code == 0
    (listed,) = run("models", "list", "--json").json
    assert (listed["model"], listed["run_id"], listed["version"]) == ("default", TWO, 2)
    assert listed["uri"] == f"s3://{BUCKET}/dev/{TWO}/models/"
    assert run("models", "rollback", "--yes").out == f"run {ONE} is the champion of model default now (version 3)\n"
    shown = run("models", "show").out
    assert [line.split()[:2] for line in shown.splitlines()[1:4]] == [["3", ONE], ["2", TWO], ["1", ONE]]
    assert f"rolled-back: in place of run {TWO}" in shown
    assert [one["how"] for one in run("models", "show", "--json").json] == [How.ROLLED_BACK, How.PROMOTED, How.PROMOTED]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("show",), "error: model: default has no champion"),
        (("show", "No Name"), "error: model: 'No Name' is not a valid name"),
        (("rollback", "--yes"), "error: model: default has no champion"),
        (("promote", "20260131T100000Z-0000ff", "--yes"), "error: no run 20260131T100000Z-0000ff"),
        (("promote", ONE), "error: confirmation: nothing was done"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line_with_a_hint(
    run: Command, arguments: tuple[str, ...], error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
    put_run(ONE)
    result = run("models", *arguments)
    assert result.code == 2
    assert error in result.err
    assert "hint: " in result.err
    assert store().objects.read(champion_key("dev", "default")) is None


def test_a_run_that_has_failed_is_not_promoted(run: Command) -> None:
    put_run(ONE, Verdict(Outcome.FAILED, Cause.USER_CODE, "a bug", DecidedBy.AGENT))
    result = run("models", "promote", ONE, "--yes")
    assert result.code == 2
    assert f"run {ONE} has not succeeded" in result.err


def test_a_pointer_that_cannot_be_read_is_an_error_and_stays(run: Command) -> None:
    store().objects.write(champion_key("dev", "default"), b"[]")
    put_run(ONE)
    for arguments in (("list",), ("show",), ("promote", ONE, "--yes"), ("rollback", "--yes")):
        result = run("models", *arguments)
        assert result.code not in (0, 1), arguments
        assert result.err.startswith("error: "), arguments
    found = store().objects.read(champion_key("dev", "default"))
    assert found
    assert found.body == b"[]"


# --- a launch that asks for a promotion


def put_model(run_id: str) -> None:
    put_run(run_id)
    store().objects.write(run_key("dev", run_id, "models/config.json"), b"{}")


def request_of(run_id: str) -> Request:
    found = store().objects.read(run_key("dev", run_id, "request.json"))
    assert found
    return Request.from_json(found.body)


@pytest.mark.usefixtures("data")
def test_a_launch_compares_with_the_champion_of_its_moment_and_may_replace_no_other(run: Command, config: Path) -> None:
    put_model(ONE)
    assert run("models", "promote", ONE, "--yes").code == 0
    launched = run("launch", "--config", str(config), "--promote", "better", "--json")
    assert launched.code == 0, launched.err
    request = request_of(launched.json["run_id"])
    assert request.promotion == Promotion("default", Promote.BETTER, 1)
    assert request.config["evaluation"]["champion"] == "champion"
    (model,) = request.models
    assert (model.given, model.uri, model.sha256) == ("champion", f"s3://{BUCKET}/dev/{ONE}/models/", FILES)


@pytest.mark.usefixtures("data")
def test_the_first_launch_has_no_champion_to_compare_with(run: Command, config: Path) -> None:
    launched = run("launch", "--config", str(config), "--promote", "always", "--model-name", "nightly", "--json")
    assert launched.code == 0, launched.err
    request = request_of(launched.json["run_id"])
    assert request.promotion == Promotion("nightly", Promote.ALWAYS, 0)
    assert request.models == ()


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("text", "options", "error"),
    [
        ("evaluation: {champion: amazon/chronos-2}", (), "evaluation.champion is amazon/chronos-2"),
        ("trainer: probe", (), "trainer probe trains no model"),
        ("", ("--model-name", "No Name"), "--model-name: 'No Name' is not a valid name"),
        ("", ("--model-name", ""), "--model-name: '' is not a valid name"),
    ],
)
def test_a_promotion_that_cannot_be_is_refused_before_anything_is_started(
    run: Command, config: Path, text: str, options: tuple[str, ...], error: str
) -> None:
    put_model(ONE)
    assert run("models", "promote", ONE, "--yes").code == 0
    config.write_text(config.read_text() + text + "\n")
    result = run("launch", "--config", str(config), "--promote", "better", *options)
    assert result.code == 2
    assert error in result.err
    assert store().objects.read("dev/system-state.json") is None


@pytest.mark.usefixtures("data")
def test_the_name_of_a_model_alone_asks_for_nothing(run: Command, config: Path) -> None:
    result = run("launch", "--config", str(config), "--model-name", "nightly")
    assert result.code == 2
    assert "--model-name: is for --promote" in result.err


@pytest.mark.usefixtures("data")
def test_a_champion_has_the_hashes_of_its_promotion(run: Command) -> None:
    put_model(ONE)
    assert run("models", "promote", ONE, "--yes").code == 0
    record = store().objects.read(run_key("dev", ONE, "state.json"))
    assert record
    store().objects.write(run_key("dev", ONE, "state.json"), record.body.replace(b"a" * 64, b"b" * 64))
    launched = run("forecast", "--data", "sales", "--horizon", "3", "--model", "champion", "--json")
    assert request_of(launched.json["run_id"]).models[0].sha256 == FILES


@pytest.mark.usefixtures("data")
def test_champion_names_a_model_of_any_job(run: Command) -> None:
    asked = ("forecast", "--data", "sales", "--horizon", "3", "--model", "champion")
    missing = run(*asked)
    assert missing.code == 2
    assert "model default has no champion" in missing.err
    put_model(ONE)
    assert run("models", "promote", ONE, "--yes").code == 0
    launched = run(*asked, "--json")
    assert launched.code == 0, launched.err
    assert request_of(launched.json["run_id"]).models[0].uri == f"s3://{BUCKET}/dev/{ONE}/models/"
