"""What the shell offers when somebody presses Tab: it reads, briefly, and never fails."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import typer

from chronos_ec2.aws.clients import client
from chronos_ec2.cli import completion
from chronos_ec2.cli.app import app, load
from chronos_ec2.testing.aws_server import BUCKET
from tests.cli.conftest import Command
from tests.template.calls import Recorder

Offered = Callable[..., list[str]]


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch, calls: Recorder) -> Offered:
    """What is offered for a parameter of a command, with the permissions of an operator."""
    monkeypatch.setattr(completion, "PATIENCE", 120.0)

    def offered(
        command: str, parameter: str, incomplete: str = "", who: str = "OperatorPolicy", **given: Any
    ) -> list[str]:
        name, _, inner = command.partition(" ")
        found = load(name)
        found = found.commands[inner] if inner else found
        context = typer.Context(typer.main.get_command(app))
        context.params = given
        (one,) = [one for one in found.params if one.name == parameter]
        with calls.acting(who) if who else nullcontext():
            return [item.value for item in one.shell_complete(context, incomplete)]

    return offered


@pytest.mark.usefixtures("data")
def test_run_ids_are_offered_newest_first(offered: Offered, run: Command, config: Path) -> None:
    first, second = (
        run("launch", "--config", str(config), "--lane", lane, "--json").json["run_id"] for lane in ("one", "two")
    )
    for command, parameter in [
        ("kill", "run_id"), ("hold", "run_id"), ("release", "run_id"), ("monitor", "run_id"), ("logs", "run_id"),
        ("results", "run_id"), ("report", "run_id"), ("runs show", "run_id"), ("runs compare", "run_ids"),
        ("launch", "resume"), ("models promote", "run_id"),
    ]:  # fmt: skip
        assert offered(command, parameter) == sorted([first, second], reverse=True), command
    assert offered("kill", "run_id", second) == [second]
    assert offered("kill", "run_id", "nothing") == []
    assert offered("launch", "lane") == ["main", "one", "two"]
    assert offered("launch", "lane", "t") == ["two"]


@pytest.mark.usefixtures("data")
def test_data_sets_and_models_are_those_of_the_environment(offered: Offered) -> None:
    s3 = client("s3")
    for key in ("cached-datasets/dev/training-data/m3/a.parquet", "cached-datasets/prod/training-data/other/a.parquet"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"PAR1")
    s3.put_object(Bucket=BUCKET, Key="dev/models/shops/champion.json", Body=b"{}")
    for command, parameter in [("forecast", "data"), ("evaluate", "data"), ("launch", "data"), ("forecast", "future")]:
        assert offered(command, parameter) == ["m3", "sales"], command
    assert offered("launch", "data", "s") == ["sales"]
    for command, parameter in [("models show", "model"), ("models rollback", "model"), ("launch", "model_name")]:
        assert offered(command, parameter) == ["shops"], command
    assert "amazon/chronos-2" in offered("forecast", "model", "amazon/")


@pytest.mark.usefixtures("data", "hub")
def test_groups_are_offered_first_where_a_name_of_one_will_do(offered: Offered, run: Command) -> None:
    forecast = ("forecast", "--data", "sales", "--horizon", "28", "--shards", "2", "--name", "parts", "--json")
    runs = sorted(run(*forecast).json["runs"], reverse=True)
    for command in ("kill", "monitor", "results", "report", "runs show"):
        assert offered(command, "run_id") == ["parts", *runs], command
        assert offered(command, "run_id", "p") == ["parts"], command
    for command in ("hold", "release", "logs"):
        assert offered(command, "run_id") == runs, command
    assert offered("verify", "group") == ["parts"]


def test_environments_are_offered_without_asking_aws(offered: Offered, monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered("runs list", "environment") == ["dev", "stage", "prod"]
    monkeypatch.setenv("ENVIRONMENT", "prague")
    assert offered("runs list", "environment", "pr") == ["prague", "prod"]


@pytest.mark.usefixtures("data")
def test_the_environment_of_the_line_counts_and_what_is_wrong_offers_nothing(offered: Offered) -> None:
    assert offered("kill", "run_id", who="", environment="prod") == []
    assert offered("forecast", "data", bucket="another") == []
    assert offered("forecast", "data", environment="NOT A NAME") == []


@pytest.mark.usefixtures("data")
def test_nothing_is_written(offered: Offered, calls: Recorder) -> None:
    heard = set(calls.heard)
    offered("kill", "run_id")
    offered("launch", "lane")
    offered("models show", "model")
    asked = {operation.partition(".")[2] for _, operation in calls.heard - heard}
    assert not [name for name in asked if not name.startswith(("Describe", "List", "Get"))]


def complete(line: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Press Tab at the end of a line in bash."""
    asked = {"_CHRONOS_EC2_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    return subprocess.run(
        [sys.executable, "-m", "chronos_ec2.cli"], env={**os.environ, **environment, **asked},
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("chronos-ec2 rel", ["release"]),
        ("chronos-ec2 runs sh", ["show"]),
        ("chronos-ec2 kill --environment st", ["stage"]),
        ("chronos-ec2 hold --fo", ["--for"]),
    ],
)
def test_the_shell_is_answered(line: str, words: list[str]) -> None:
    done = complete(line, {})
    assert (done.stdout.split(), done.stderr) == (words, "")


def test_an_aws_that_does_not_answer_is_given_up_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        credentials = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}
        began = time.monotonic()
        quick = complete("chronos-ec2 kill --environment d", credentials)
        without = time.monotonic() - began
        began = time.monotonic()
        done = complete("chronos-ec2 kill 2", credentials | {"AWS_ENDPOINT_URL": endpoint})
        took = time.monotonic() - began
    assert quick.stdout.split() == ["dev"]
    assert (done.stdout.strip(), done.stderr) == ("", "")
    # Without an end of its own the client would wait 30 s for each of five answers.
    assert took < without * 3 + completion.PATIENCE + 15


@pytest.mark.parametrize(
    "settings",
    [
        {"AWS_PROFILE": "of-nobody"},
        {"AWS_ENDPOINT_URL": "nonsense"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
        {"AWS_ACCESS_KEY_ID": ""},
    ],
)
def test_wrong_settings_offer_nothing_and_say_nothing(settings: dict[str, str]) -> None:
    done = complete("chronos-ec2 monitor 2", {"AWS_EC2_METADATA_DISABLED": "true"} | settings)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_the_completion_can_be_installed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chronos_ec2.cli", "--show-completion", "bash"],
        # Not by the shell that the tests were started from: CI may have none.
        env=os.environ | {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_CHRONOS_EC2_COMPLETE=complete_bash" in done.stdout
