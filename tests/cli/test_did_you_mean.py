"""A name that does not exist gets the one that was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.testing.aws_answers import refused
from chronos_ec2.testing.aws_server import BUCKET
from tests.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("data")


def hint(text: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith("hint: ")]
    return line


@pytest.fixture
def run_id(run: Command, config: Path) -> str:
    return str(run("launch", "--config", str(config), "--json").json["run_id"])


def test_a_run_id(run: Command, run_id: str) -> None:
    other = "0" if run_id[-1] != "0" else "1"
    for command in (["kill"], ["hold"], ["monitor"], ["logs"], ["results"], ["runs", "show"]):
        for wrong in (run_id[:-1] + other, run_id[:-1], run_id[-6:], run_id.lower()):
            answer = run(*command, wrong)
            assert answer.code == 2, (command, wrong)
            assert hint(answer.err).startswith(f"hint: did you mean {run_id}?"), (command, wrong)


@pytest.mark.usefixtures("asked_once")
def test_without_a_list_of_the_runs_the_error_is_the_same(run: Command, run_id: str) -> None:
    with refused("s3", "ListObjectsV2", "SlowDown", status=503, but="lanes"):
        answer = run("runs", "show", run_id[:-1])
    assert (answer.code, hint(answer.err)) == (2, "hint: like 20260131T120000Z-1a2b3c")


@pytest.mark.usefixtures("hub")
def test_a_group(run: Command) -> None:
    assert run("forecast", "--data", "sales", "--horizon", "3", "--shards", "2", "--name", "parts", "--json").code == 0
    for command in (["kill"], ["monitor"], ["results"], ["report"], ["runs", "show"], ["verify"]):
        answer = run(*command, "partz")
        assert (answer.code, hint(answer.err).startswith("hint: did you mean parts?")) == (2, True), command
    for command in (["logs"], ["hold"], ["release"]):
        answer = run(*command, "parts")
        assert answer.code == 2, command
        assert "parts is a group of runs" in answer.err, command
        assert hint(answer.err) == "hint: `chronos-ec2 runs show parts` names its runs", command


def test_a_data_set(run: Command, config: Path) -> None:
    config.write_text(config.read_text().replace("sales", "slaes"))
    answer = run("launch", "--config", str(config))
    assert (answer.code, "did you mean sales?" in hint(answer.err)) == (2, True)
    answer = run("forecast", "--data", "sale", "--horizon", "3", "--plan")
    assert (answer.code, "did you mean sales?" in hint(answer.err)) == (2, True)


def test_a_model(run: Command) -> None:
    client("s3").put_object(Bucket=BUCKET, Key="dev/models/shops/history/00000001.json", Body=b"{}")
    answer = run("models", "show", "shop")
    assert (answer.code, "did you mean shops?" in hint(answer.err)) == (2, True)
    answer = run("forecast", "--data", "sales", "--horizon", "3", "--model", "champion:shopps", "--plan")
    assert (answer.code, "did you mean shops?" in hint(answer.err)) == (2, True)


def test_a_key_of_a_configuration_and_an_option(run: Command, config: Path) -> None:
    config.write_text(config.read_text() + "trainin: {steps: 3}\n")
    answer = run("launch", "--config", str(config))
    assert (answer.code, "unknown key trainin, did you mean training?" in answer.err) == (2, True)
    assert "--config" in run("launch", "--confg", str(config)).err
