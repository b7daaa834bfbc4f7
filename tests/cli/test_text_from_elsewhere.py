"""Text from S3, EC2 and instances is text where it is shown: on its line, and without effect on the terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.s3_objects import S3Objects
from chronos_ec2.cli.errors import report
from chronos_ec2.cli.output import console, print_findings, print_table, print_waiting, print_warning, verdict_line
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.records.capacity import LaunchOption, Refusal, Waiting
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Verdict
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.verify import Finding
from chronos_ec2.testing.aws_server import BUCKET
from chronos_ec2.testing.builders import NOW, a_run, seconds
from tests.cli.conftest import Command
from tests.cli.test_output import Terminal
from tests.nasty import NASTY

SGR = re.compile(r"\x1b\[[0-9;]*m")
OURS = "environment dev: nothing is left"


def _warning(text: str) -> None:
    print_warning(text, text)


def _error(text: str) -> None:
    report(RuntimeError(text))


def _refused(text: str) -> None:
    report(InvalidInput("--lane", text, text))


def _noted(text: str) -> None:
    error = InvalidInput("--lane", "wrong", "other")
    error.add_note(text)
    report(error)


def _verdict(text: str) -> None:
    console.print(verdict_line(a_run(verdict=Verdict(Outcome.FAILED, Cause.INFRA, text, DecidedBy.AGENT))))


def _waiting(text: str) -> None:
    waiting = Waiting(NOW, NOW + seconds(3600), 0, NOW)
    print_waiting(replace(waiting, refusals=(Refusal(LaunchOption("g5.xlarge", "subnet-a"), text, text),)))


OUTLETS: dict[str, tuple[Callable[[str], None], int | None]] = {
    "line": (console.print, 1),
    "line with a style": (lambda text: console.print("a ", text, " b"), 1),
    "table": (lambda text: print_table(("a", "b"), [(text, text)]), 2),
    "findings": (lambda text: print_findings("dev", (Finding("upload", text, text, text),)), 2),
    "verdict": (_verdict, 1),
    "waiting": (_waiting, 2),
    "warning": (_warning, None),
    "error": (_error, None),
    "user error": (_refused, None),
    "note": (_noted, 3),
}


@pytest.mark.parametrize("outlet", OUTLETS)
@pytest.mark.parametrize("nasty", NASTY, ids=ascii)
def test_text_stays_on_its_line_and_has_no_effect(
    outlet: str, nasty: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    show, lines = OUTLETS[outlet]
    show(nasty)
    shown = SGR.sub("", "".join(capsys.readouterr()))
    # An error may have further lines, each under a line that says what it is.
    assert lines is None or shown.count("\n") == lines
    assert all(line.isprintable() for line in shown.splitlines())
    assert OURS not in shown.splitlines() or outlet in {"error", "user error", "warning"}
    for visible in re.findall(r"\[[a-z/=:. ]*\]?", nasty if nasty.isprintable() else ""):
        assert visible in shown  # it is no markup either


@pytest.mark.parametrize("nasty", NASTY, ids=ascii)
def test_progress_shows_text_as_text(nasty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    with console.status(nasty) as show:
        show(nasty)
    with console.progress(nasty, 10) as advance:
        advance(10)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert "\x07" not in shown


@pytest.mark.parametrize("nasty", ["\x9b2Jnothing is left", "[green]ok[/] [/]", "\u202etxt"], ids=ascii)
def test_an_upload_forges_no_line_of_verify_and_cleanup(run: Command, deployed: str, nasty: str) -> None:
    store = RunStore(S3Objects(client("s3"), BUCKET))
    store.create_lock(a_run(verdict=Verdict(Outcome.FAILED, Cause.INFRA, nasty, DecidedBy.AGENT)))
    key = run_key("dev", a_run().run_id, f"models/{nasty}")
    client("s3").create_multipart_upload(Bucket=BUCKET, Key=key)
    for command in ("verify", "runs", "cleanup"):
        result = run(command)
        assert result.code in (0, 1, 3)
        assert all(line.isprintable() for line in (result.out + result.err).splitlines())
        assert OURS not in result.out.splitlines()


def test_a_log_has_no_control_sequences(run: Command, config: Path, data: None) -> None:
    run_id = run("launch", "--config", str(config), "--json").json["run_id"]
    body = "".join(f"    indented {nasty}\n" for nasty in NASTY).encode(errors="surrogatepass")
    client("s3").put_object(Bucket=BUCKET, Key=f"dev/{run_id}/logs/agent.log", Body=body)
    out = run("logs", "--log", "agent").out
    assert out.startswith("    indented")
    assert all(line.isprintable() for line in out.splitlines())
