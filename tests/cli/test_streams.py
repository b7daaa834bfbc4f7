"""Tables that never cut an id, streams that never fail, and a reader that waits for AWS."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from chronos_ec2.bootstrap.operator import OperatorWorld
from chronos_ec2.cli import output
from chronos_ec2.cli.errors import report
from chronos_ec2.cli.output import print_json, print_table
from chronos_ec2.cli.terminal import prepare_streams
from chronos_ec2.client import patience
from chronos_ec2.client.patience import PatientReader
from chronos_ec2.domain.errors import InvalidInput, LaneBusy, NoCredentials, ServiceUnavailable
from chronos_ec2.domain.parsing.names import split_instance_types
from chronos_ec2.domain.parsing.numbers import check_number

RUN_ID = "20260131T110000Z-1a2b3c"
VERDICT = "failed (user-code): " + "the loss is not a number, " * 6
COLUMNS = ("run", "lane", "status", "verdict")
ROWS = [(RUN_ID, "main", "failed", VERDICT.strip()), (RUN_ID, "a-lane-with-a-long-name", "training", "")]


class Terminal(io.StringIO):
    """A terminal in memory."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], list[str]]:
    """Print the table on a terminal so many columns wide, or in a pipe. Returns the lines."""

    def show(width: int | None) -> list[str]:
        stream = io.StringIO() if width is None else Terminal()
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(width or 80))
        monkeypatch.setattr("sys.stdout", stream)
        print_table(COLUMNS, ROWS)
        return stream.getvalue().splitlines()

    return show


def test_in_a_pipe_a_row_is_a_line_however_long(shown: Callable[[int | None], list[str]]) -> None:
    _, first, second = shown(None)
    assert first.startswith(f"{RUN_ID}  main")
    assert first.endswith(VERDICT.strip())
    assert second == f"{RUN_ID}  a-lane-with-a-long-name  training"


def test_on_a_terminal_the_last_cell_has_its_own_line(shown: Callable[[int | None], list[str]]) -> None:
    _, header, first, *verdict, _ = shown(80)
    assert (header.strip(), first.split()[0]) == ("verdict", RUN_ID)
    assert all(line.startswith("  ") and len(line) <= 80 for line in verdict)
    assert " ".join(map(str.strip, verdict)) == VERDICT.strip()


def test_on_a_narrow_terminal_each_cell_has_its_own_line(shown: Callable[[int | None], list[str]]) -> None:
    lines = shown(40)
    assert lines[:2] == [f"run      {RUN_ID}", "lane     main"]


def test_a_long_text_goes_on_below_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout", stream := Terminal())
    output.console.field("changed   ", f"a much longer text than the line has room for, since {RUN_ID}")
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("changed   a much longer")
    assert all(line.startswith(" " * 10) and len(line) <= 40 for line in lines[1:])
    assert " ".join(" ".join(lines).split()).endswith(f"for, since {RUN_ID}")


def test_a_long_text_in_a_pipe_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", stream := io.StringIO())
    output.console.field("changed   ", "word " * 60)
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_character_is_an_error(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stderr", stream)
    prepare_streams()
    print("cut… → ok, 時系列, \udce9")
    assert raw.getvalue().decode(encoding).startswith("cut... -> ok" if encoding != "utf-8" else "cut… → ok")


def test_a_line_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="utf-8"))
    prepare_streams()
    print_json({"step": 1})
    print("a line of a log")
    first, second = raw.getvalue().splitlines()
    assert (json.loads(first), second) == ({"step": 1}, b"a line of a log")


def test_progress_is_for_terminals_without_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for as_json, stream in ((True, Terminal()), (False, io.StringIO())):
        monkeypatch.setattr("sys.stderr", stream)
        monkeypatch.setattr(output.console, "json", as_json)
        with output.console.status("working") as show:
            show("still working")
        assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (InvalidInput("--x", "is wrong", "mend it"), 2, ["error: --x: is wrong", "hint: mend it"]),
        (LaneBusy(RUN_ID, "environment dev", "training"), 2, [f"error: run {RUN_ID} holds environment dev"]),
        (ServiceUnavailable("no answer", "wait"), 3, ["error: no answer", "hint: wait"]),
        (PermissionError(13, "Permission denied", "secret"), 2, ["error: secret: Permission denied"]),
        (ZeroDivisionError("division by zero"), 70, ["error: unexpected ZeroDivisionError: division by zero"]),
        (KeyboardInterrupt(), 130, ["error: interrupted"]),
        (BrokenPipeError(), 141, []),
    ],
)
def test_each_error_has_its_code_and_no_traceback(
    error: Exception, code: int, lines: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert report(error) == code
    printed = capsys.readouterr().err.splitlines()
    assert all(line.startswith(start) for line, start in zip(printed, lines, strict=False))
    assert len(printed) >= len(lines)
    assert "Traceback" not in str(printed)


def test_the_traceback_is_shown_on_request(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHRONOS_EC2_DEBUG", "1")
    report(ZeroDivisionError("division by zero"))
    assert "ZeroDivisionError: division by zero" in capsys.readouterr().err


def test_an_interrupt_says_what_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    interrupt = KeyboardInterrupt()
    interrupt.add_note("run x may be running; `chronos-ec2 kill x` ends it")
    report(interrupt)
    assert capsys.readouterr().err == "error: interrupted: run x may be running; `chronos-ec2 kill x` ends it\n"


@pytest.mark.parametrize("error", [ServiceUnavailable("no network"), NoCredentials("expired", "log in")])
def test_a_reader_says_that_aws_does_not_answer_and_goes_on(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    connected: list[int] = []
    answers: list[Any] = [error, error, "found"]

    def connect() -> OperatorWorld:
        connected.append(1)
        return cast("OperatorWorld", None)

    def query(_world: OperatorWorld) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert PatientReader(connect, 0, output.print_warning).read(query) == "found"
    err = capsys.readouterr().err
    assert (err.count("trying again"), err.count("AWS answers again")) == (1, 1)
    # New credentials are looked for before each new try; a network needs none.
    assert len(connected) == (3 if isinstance(error, NoCredentials) else 1)


def test_a_reader_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "GIVES_UP_AFTER", -1.0)

    def query(_world: OperatorWorld) -> None:
        raise ServiceUnavailable("no network")

    with pytest.raises(ServiceUnavailable):
        PatientReader(lambda: cast("OperatorWorld", None), 0, output.print_warning).read(query)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 11.0])
def test_a_number_out_of_its_range_is_refused(value: float) -> None:
    with pytest.raises(InvalidInput, match=r"--x: .* is out of range \(above 0, at most 10\)"):
        check_number(value, "--x", 0, 10, above=True)


def test_instance_types_are_split_and_stripped() -> None:
    assert split_instance_types("g5.2xlarge, g4dn.xlarge,g5.2xlarge") == ("g5.2xlarge", "g4dn.xlarge")
