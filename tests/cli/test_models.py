"""The registry at the command line."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from chronos_ec2.domain.records.champion import How
from chronos_ec2.domain.records.lane import Lane
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
