"""The check of the command line sees what it is for, and a sample of its situations passes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from verification.cli.__main__ import Check, check
from verification.cli.invoke import Result, asked_once
from verification.cli.judge import complaints
from verification.cli.situations import Situation, answers_of_aws
from verification.cli.surroundings import arguments, files, terminals, variables, write_settings
from verification.cli.world import World, world_in

GOOD = Result(2, "", "error: it is wrong\nhint: mend it\n", 0.1)
TRACEBACK = "Traceback (most recent call last):\n  File ...\nValueError: no\n"


@pytest.mark.parametrize(
    ("result", "kinds"),
    [
        (GOOD, []),
        (Result(2, "", GOOD.err + TRACEBACK, 0.1), ["tracebacks"]),
        (Result(1, "", GOOD.err, 0.1), ["wrong_exit_codes"]),
        (Result(70, "", GOOD.err, 0.1), ["wrong_exit_codes"]),
        (Result(2, "uploading...\n", GOOD.err, 0.1), ["json_polluted"]),
        (Result(2, "\x1b[1m{}\x1b[0m\n", GOOD.err, 0.1), ["json_polluted", "escape_codes"]),
        (Result(2, "", "hint: mend it\n", 0.1), ["without_error_line"]),
        (Result(2, "", "error: it is wrong\n", 0.1), ["without_hint"]),
        (Result(2, "", GOOD.err + "Aborted.\n", 0.1), ["aborted"]),
    ],
)
def test_each_kind_of_defect_is_seen(result: Result, kinds: list[str]) -> None:
    assert [kind for kind, _ in complaints(result, {2}, as_json=True)] == kinds
    done = Check()
    done.judge(Situation("seeded", ("runs", "--json"), frozenset({2})), result)
    assert [kind for kind in kinds if done.summary()[kind] != 1] == []


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world, asked_once():
        write_settings(tmp_path)
        yield world


@pytest.mark.thorough
def test_a_sample_of_the_situations(world: World) -> None:
    parts = (answers_of_aws(world.outputs), arguments(), variables(), files(), terminals())
    chosen = [
        situation
        for part, step in zip(parts, (97, 41, 23, 19, 17), strict=True)
        for situation in islice(part, 0, None, step)
    ]
    found = check(world, chosen).summary()
    assert len(chosen) > 25
    assert found["failures"] == []


def test_a_command_that_ends_otherwise_than_it_should_is_seen(world: World) -> None:
    found = check(world, [Situation("runs: should fail", ("runs", "--json"), frozenset({3}))]).summary()
    assert found["wrong_exit_codes"] == 1
