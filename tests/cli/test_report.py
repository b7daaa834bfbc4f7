"""`chronos-ec2 report`."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.services.report import POLICY
from chronos_ec2.testing.aws_server import BUCKET
from tests.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("data")


@pytest.fixture
def run_id(run: Command, config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.chdir(tmp_path)
    return str(run("launch", "--config", str(config), "--json").json["run_id"])


def test_a_run_without_a_report_gets_one_from_its_records(run: Command, run_id: str, tmp_path: Path) -> None:
    log = b"step 1\nout of <memory>\n"
    client("s3").put_object(Bucket=BUCKET, Key=run_key("dev", run_id, "logs/trainer.log"), Body=log)
    run("kill", run_id, "--now", "--reason", "<b>enough</b>")
    made = run("report", run_id, "--json")
    page = (tmp_path / run_id / "report.html").read_text()
    assert made.json == {
        "run_id": run_id, "file": f"{run_id}/report.html", "bytes": len(page.encode()), "from_records": True
    }  # fmt: skip
    assert page.startswith(POLICY)
    assert "Killed (requested): &lt;b&gt;enough&lt;/b&gt;" in page
    assert "out of &lt;memory&gt;" in page
    assert "prediction_length: 6" in page


def test_an_active_run_has_a_report_so_far(run: Command, run_id: str, tmp_path: Path) -> None:
    result = run("report", run_id, "--to", str(tmp_path / "a" / "b.html"))
    assert result.code == 0
    assert "Active: initialization" in (tmp_path / "a" / "b.html").read_text()
    assert "from the records" in result.out


def test_a_run_that_does_not_exist_has_no_report(run: Command, deployed: str) -> None:
    assert run("report", "20200101T000000Z-000000").code == 2
