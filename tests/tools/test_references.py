"""The references say what the command and the schema say."""

from __future__ import annotations

import re

import pytest
import typer

from chronos_ec2.cli.app import SUMMARIES, app
from chronos_ec2.cli.exit_codes import ExitCode
from tools.references import CLI, CONFIGURATION, KEYS, cli, keys, with_keys


@pytest.mark.golden
def test_the_reference_of_the_command_is_up_to_date() -> None:
    assert CLI.read_text() == cli(), "run `python -m tools.references`"


@pytest.mark.golden
def test_the_keys_of_a_configuration_are_up_to_date() -> None:
    document = CONFIGURATION.read_text()
    assert document == with_keys(document), "run `python -m tools.references`"


def test_every_command_with_its_options_and_every_exit_code_is_in_the_reference() -> None:
    text = cli()
    for name in SUMMARIES:
        assert f"\n## {name}\n" in text
    for heading, option in [
        ("hold", "--for"),
        ("launch", "--max-cost"),
        ("runs compare", "RUN RUN"),
        ("kill", "--now"),
    ]:
        _, _, section = text.partition(f"# {heading}\n")
        assert option in re.split(r"\n## ", section)[0], heading
    for code in ExitCode:
        assert f"| {code:d} | " in text
    assert typer.main.get_command(app).help in text


def test_every_key_has_its_jobs_its_type_and_its_default() -> None:
    rows = [line.split(" | ") for line in keys().splitlines() if line.startswith("| `")]
    found = {row[0].removeprefix("| "): [cell.removesuffix(" |") for cell in row[1:]] for row in rows}
    assert found["`data.path`"] == ["all", "text", "required"]
    assert found["`data.target`"] == ["all", "list of text", '`["target"]`']
    assert found["`training.steps`"] == ["train", "integer from 1", "`1000`"]
    assert found["`output.format`"] == ["forecast", "`parquet`, `csv`", "`parquet`"]
    assert found["`model.lora.rank`"] == ["train", "integer from 1", "`8`"]


def test_every_key_is_explained_above_the_table_of_keys() -> None:
    prose = CONFIGURATION.read_text().partition(KEYS)[0]
    named = set(re.findall(r"`([a-z_.*]+)`", prose))

    def explained(key: str) -> bool:
        section, _, name = key.rpartition(".")
        return bool({key, f"{section}.*"} & named) or (section in named and name in named)

    every = [line.split("`")[1] for line in keys().splitlines() if line.startswith("| `")]
    assert [key for key in every if not explained(key)] == []
