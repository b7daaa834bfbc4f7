"""docs/troubleshooting.md has an entry for every error, and the exit codes as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronos_ec2.cli.exit_codes import MEANINGS, ExitCode, exit_code
from chronos_ec2.domain import errors
from chronos_ec2.local import demo, processes, state_dir  # noqa: F401 - they have errors of their own

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md").read_text()


def kinds(root: type[errors.ChronosError]) -> list[type[errors.ChronosError]]:
    """Every error that a command can end with."""
    found = [
        kind
        for kind in root.__subclasses__()
        if kind.__module__.startswith(("chronos_ec2.domain", "chronos_ec2.local"))
    ]
    return list(dict.fromkeys([*found, *(deeper for kind in found for deeper in kinds(kind))]))


@pytest.mark.parametrize("kind", kinds(errors.ChronosError))
def test_each_error_has_an_entry(kind: type[errors.ChronosError]) -> None:
    _, found, entry = DOCUMENT.partition(f"### {kind.__name__}\n")
    assert found, f"docs/troubleshooting.md has no entry for {kind.__name__}"
    assert len(entry.partition("\n### ")[0].split()) >= 8


@pytest.mark.parametrize("code", ExitCode)
def test_each_exit_code_is_in_the_table(code: ExitCode) -> None:
    assert f"| {code:d} | {MEANINGS[code]}" in DOCUMENT


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidInput("--x", "is wrong", "mend it"), 2),
        (errors.NoCredentials("none", "log in"), 2),
        (errors.NotAllowed("no"), 2),
        (errors.InvalidDocument("damaged"), 2),
        (errors.LaunchRefused("no such AMI"), 2),
        (errors.QuotaExceeded("0 vCPUs", "ask for more"), 2),
        (errors.CapacityUnavailable("none now"), 3),
        (errors.ServiceUnavailable("no answer"), 3),
        (errors.LostRace("somebody was faster"), 3),
    ],
)
def test_an_error_ends_a_command_with_what_can_be_done_about_it(error: errors.ChronosError, code: int) -> None:
    assert exit_code(error) == code
