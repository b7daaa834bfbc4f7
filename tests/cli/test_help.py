"""The top level of the command knows its commands without importing them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from chronos_ec2.cli.app import SUMMARIES
from tests.cli.conftest import Command

HELP = """
import json, sys
from chronos_ec2.cli import main
sys.argv = ["chronos-ec2", "--help"]
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def test_the_help_imports_no_package_that_only_commands_need() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stderr)}
    assert loaded & {"boto3", "botocore", "pydantic", "yaml", "rich"} == set()
    assert all(name in done.stdout for name in SUMMARIES)


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_summary_of_a_command_is_the_first_sentence_of_its_help(run: Command, name: str) -> None:
    text = " ".join(run(name, "--help").out.split())
    assert f" {SUMMARIES[name]} " in text


def test_no_summary_is_cut_on_a_terminal_of_80_columns(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert "..." not in run("--help").out.replace("COMMAND [ARGS]...", "")


def test_a_mistyped_command_gets_a_suggestion(run: Command) -> None:
    assert "launch" in run("lunch").err
