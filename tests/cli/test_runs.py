"""One run in detail, and several side by side."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import Request
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Verdict
from chronos_ec2.services.report import POLICY
from chronos_ec2.testing.aws_server import store
from chronos_ec2.testing.builders import NOW, a_run
from tests.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("deployed")
ONE, TWO = "20260131T100000Z-00000a", "20260131T110000Z-00000b"
SUCCEEDED = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "trained", DecidedBy.AGENT)


def put_run(run_id: str, steps: int, training: object) -> None:
    """A run that has ended, as the watchdog and its agent leave it."""
    phases = ((Status.INITIALIZATION, NOW), (Status.TRAINING, NOW + timedelta(minutes=5)))
    run = a_run(run_id=run_id, lane=Lane("dev"), created_at=NOW, phases=phases).end(SUCCEEDED, NOW + timedelta(hours=1))
    run = replace(run, ended_at=NOW + timedelta(hours=1), spent_usd=0.75)
    config = {"data": {"path": "training-data/sales/"}, "training": {"steps": steps}}
    request = Request(run_id, Lane("dev"), config, ("g4dn.2xlarge",), "ab" * 32, (), Limits())
    objects = store().objects
    objects.write(run_key("dev", run_id, "state.json"), run.to_json())
    objects.write(run_key("dev", run_id, "request.json"), request.to_json())
    body = training if isinstance(training, bytes) else json.dumps(training).encode()
    objects.write(run_key("dev", run_id, "training.json"), body)


def evaluated(exported: str, **scores: Any) -> dict[str, Any]:
    return {"evaluation": {"exported": exported, "models": {exported: scores}}}


def test_a_run_is_shown(run: Command) -> None:
    put_run(ONE, 100, evaluated("trained", mase=0.912345, wql=0.1))
    lines = run("runs", "show", ONE).out.splitlines()
    assert lines[0] == f"run       {ONE}, train, in lane main, attempt 1"
    assert "took      initialization 5 min, training 55 min" in lines
    assert {"cost      $0.75", "scores    mase 0.9123, wql 0.1 (trained)"} <= {*lines}
    assert "config    data.path training-data/sales/, training.steps 100" in lines
    shown = run("runs", "show", ONE, "--json").json
    assert (shown["scores"], shown["config"]["training"]) == ({"mase": 0.912345, "wql": 0.1}, {"steps": 100})


def test_runs_are_compared_by_what_differs(run: Command) -> None:
    put_run(ONE, 100, evaluated("trained", mase=0.9))
    put_run(TWO, 200, evaluated("base", mase=1.1, wql=0.2))
    rows = {line.split("  ")[0]: line.split() for line in run("runs", "compare", ONE, TWO).out.splitlines()}
    assert rows["training.steps"][1:] == ["100", "200"]
    assert rows["mase"][1:] == ["0.9", "1.1"]
    assert rows["wql"][1:] == ["0.2"]
    assert "data.path" not in rows
    compared = run("runs", "compare", ONE, TWO, "--json").json
    assert compared["config"] == {"training.steps": [100, 200]}
    assert [each["scores"]["mase"] for each in compared["runs"]] == [0.9, 1.1]


@pytest.mark.parametrize(
    "training",
    [
        b"\xff", b"[" * 60_000, b"[]", {"evaluation": 1}, {"evaluation": {"exported": [], "models": {}}},
        {"evaluation": {"exported": "trained", "models": {"trained": {"mase": True, "wql": "1", "\x1b[2J": None}}}},
        b'{"evaluation": {"exported": "trained", "models": {"trained": {"mase": NaN}}}}',
    ],
)  # fmt: skip
def test_what_an_instance_wrote_breaks_nothing(run: Command, training: object) -> None:
    put_run(ONE, 100, training)
    shown = run("runs", "show", ONE)
    assert (shown.code, "scores" in shown.out, "\x1b" in shown.out) == (0, False, False)


def test_one_run_is_not_compared(run: Command) -> None:
    refused = run("runs", "compare", ONE)
    assert (refused.code, "give two or more" in refused.err) == (2, True)
    assert run("runs", "compare", ONE, TWO).code == 2


def test_the_list_says_how_old_a_run_is_how_long_it_took_what_it_cost_and_how_it_ended(run: Command) -> None:
    put_run(ONE, 100, {})
    put_run(TWO, 100, {})
    header, second, first = run("runs", "list").out.splitlines()
    assert header.split() == ["run", "age", "job", "status", "took", "cost", "type"]
    run_id, age, *others = first.split()
    assert (run_id, second.split()[0]) == (ONE, TWO)
    assert age.endswith("d")
    assert others == ["train", "succeeded", "60m", "$0.75", "g4dn.2xlarge", "completed:", "trained"]


def test_the_list_has_as_many_runs_as_asked_for(run: Command) -> None:
    put_run(ONE, 100, {})
    put_run(TWO, 100, {})
    assert [line.split()[0] for line in run("runs", "list", "--limit", "1").out.splitlines()] == ["run", TWO]
    assert [each["run_id"] for each in run("runs", "list", "--limit", "2", "--json").json] == [TWO, ONE]


def test_a_comparison_is_a_page_too(run: Command, tmp_path: Path) -> None:
    put_run(ONE, 100, evaluated("trained", mase=0.9))
    put_run(TWO, 200, evaluated("<b>base", mase=1.1))
    page = tmp_path / "made" / "comparison.html"
    assert run("runs", "compare", ONE, TWO, "--html", str(page)).code == 0
    text = page.read_text()
    assert text.startswith(POLICY)
    assert "2 runs compared" in text
    for cells in (("mase", "0.9", "1.1"), ("training.steps", "100", "200"), ("model", "trained", "&lt;b&gt;base")):
        assert "".join(f"<td>{cell}</td>" for cell in cells) in text
    assert text.count("Time line of") == 2


def test_a_comparison_that_cannot_be_written_is_refused_at_once(run: Command, tmp_path: Path) -> None:
    refused = run("runs", "compare", ONE, TWO, "--html", str(tmp_path))
    assert (refused.code, "--html" in refused.err) == (2, True)


def test_the_report_is_by_default_that_of_the_newest_run(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = run("report")
    assert (refused.code, "has no runs yet" in refused.err) == (2, True)
    put_run(ONE, 100, {})
    put_run(TWO, 100, {})
    assert run("report", "--json").json["run_id"] == TWO
    refused = run("report", "--", "")
    assert (refused.code, "run id: '' is not a run id" in refused.err) == (2, True)


def test_more_runs_than_there_can_be_are_not_listed(run: Command) -> None:
    assert run("runs", "--limit", str(10**20)).code == 2
