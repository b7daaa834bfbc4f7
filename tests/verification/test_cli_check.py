"""The check of the command line sees what it is for, and a sample of its situations passes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.testing.aws_server import BUCKET, store
from verification.cli.answers import MEND, Answer, Fault
from verification.cli.campaign import check, situations, summary, telling_situations
from verification.cli.faulty_aws import FaultyAws
from verification.cli.files import write_files
from verification.cli.invoke import Result
from verification.cli.judge import defects
from verification.cli.situations import Situation, leaves
from verification.cli.world import World, world_in

GOOD = Result(2, "", "error: it is wrong\nhint: mend it\n")
SEEDED = Situation("seeded", ("runs", "--json"), MEND)
TRACEBACK = "Traceback (most recent call last):\n  File ...\nValueError: no\n"


@pytest.mark.parametrize(
    ("result", "kinds"),
    [
        (GOOD, []),
        (Result(2, "", GOOD.err + TRACEBACK), ["tracebacks"]),
        (Result(1, "", GOOD.err), ["wrong_exit_codes"]),
        (Result(70, "", GOOD.err), ["wrong_exit_codes"]),
        (Result(2, "uploading...\n", GOOD.err), ["json_polluted"]),
        (Result(2, "\x1b[1m{}\x1b[0m\n", GOOD.err), ["json_polluted", "escape_codes"]),
        (Result(2, "", "hint: mend it\n"), ["without_error_line"]),
        (Result(2, "", "error: it is wrong\n"), ["without_hint"]),
        (Result(2, "", GOOD.err + "Aborted.\n"), ["aborted"]),
        (Result(2, '{"accepted": false}\n', ""), ["without_error_line", "without_hint"]),
    ],
)
def test_each_kind_of_defect_is_seen(result: Result, kinds: list[str]) -> None:
    assert [kind for kind, wrong in defects(SEEDED, result).items() if wrong] == kinds
    found = summary([(SEEDED, result)])
    assert [kind for kind in kinds if found[kind] != 1] == []


def test_every_command_and_every_option_is_tried() -> None:
    tried: dict[str, set[str]] = {}
    for situation in situations({}):
        options = {word.partition("=")[0] for word in situation.arguments if word.startswith("-")}
        tried.setdefault(situation.command, set()).update(options)
    assert tried.keys() - {""} == leaves().keys()
    forgotten = [
        f"{name} {option.opts[0]}"
        for name, command in leaves().items()
        for option in command.params
        if option.opts[0].startswith("-") and not {*option.opts} & tried[name]
    ]
    assert forgotten == []


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    write_files(tmp_path)
    with world_in(tmp_path) as world:
        yield world


def test_the_quick_check_tries_every_command_in_a_few_of_all_situations() -> None:
    quick, whole = [*telling_situations({})], [*situations({})]
    assert {each.command for each in quick} == {each.command for each in whole}
    assert {each.name for each in quick} < {each.name for each in whole}
    assert 300 <= len(quick) <= len(whole) / 5
    assert any(each.shell for each in quick)


def test_some_situations_pass(world: World) -> None:
    chosen = [*telling_situations(world.outputs)][7::60]
    assert summary(check(world, chosen))["failures"] == []


def test_a_world_is_as_it_was_whatever_a_command_has_left(world: World) -> None:
    def keys() -> list[str]:
        return [each["Key"] for each in client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]]

    with patch.dict(os.environ, world.variables):
        before = keys()
        store().objects.write("dev/left", b"x")
        assert keys() != before
        world.renew()
        assert keys() == before


def test_a_report_of_what_is_refused_needs_no_line_of_error() -> None:
    check = replace(SEEDED, reports=True)
    reporting = defects(check, Result(2, '{"accepted": false}\n', ""))
    assert [kind for kind, wrong in reporting.items() if wrong] == []
    silent = defects(check, Result(2, '{"accepted": true}\n', ""))
    assert [kind for kind, wrong in silent.items() if wrong] == ["without_error_line", "without_hint"]


def test_a_fault_comes_after_as_many_requests_as_it_says() -> None:
    answer = Answer("later")
    aws = FaultyAws()
    with aws.failing(Fault("s3", answer, times=1, after=2)):
        answers = [aws.fault_for(service, b"") for service in ("s3", "ec2", "s3", "s3", "s3")]
    assert answers == [None, None, None, answer, None]


def test_a_command_that_ends_otherwise_than_it_should_is_seen(world: World) -> None:
    found = summary(check(world, [Situation("runs: should fail", ("runs", "--json"), frozenset({3}))]))
    assert found["wrong_exit_codes"] == 1
