"""The commands that keep an instance, and let go of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.testing.aws_answers import refused
from tests.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("data")


def hold_of(instance_id: str) -> str | None:
    (reservation,) = client("ec2").describe_instances(InstanceIds=[instance_id])["Reservations"]
    return {tag["Key"]: tag["Value"] for tag in reservation["Instances"][0]["Tags"]}.get("Hold")


def test_a_run_is_held_for_a_while_and_released(run: Command, config: Path) -> None:
    launched = run("launch", "--config", str(config), "--json").json
    run_id, instance_id = launched["run_id"], launched["instance_id"]
    kept = run("hold", run_id, "--for", "2h", "--json").json
    assert kept["instances"] == [instance_id]
    assert kept["usd_per_hour"] > 0
    assert kept["until"] < kept["gone_by"]
    assert hold_of(instance_id) == kept["until"]
    shown = run("hold", run_id)
    assert hold_of(instance_id) == "true"
    assert f"{instance_id} is on hold until you release it" in shown.out
    assert f"costs     ${kept['usd_per_hour']:.2f} an hour" in shown.out
    assert f"chronos-ec2 release {run_id}" in shown.out
    assert run("release").out.startswith(f"run {run_id}: {instance_id} is not on hold")
    assert hold_of(instance_id) is None
    assert run("release", run_id, "--json").json == {"run_id": run_id, "instances": [instance_id]}


def test_what_has_no_instance_cannot_be_held(run: Command, config: Path) -> None:
    run_id = run("launch", "--config", str(config), "--json").json["run_id"]
    run("kill", "--now")
    refused_hold = run("hold", run_id)
    assert refused_hold.code == 2
    assert f"error: RUN: run {run_id} has no instance now" in refused_hold.err
    assert "hint: `chronos-ec2 runs show" in refused_hold.err
    assert run("release", "20260131T120000Z-ffffff").code == 2


@pytest.mark.parametrize("span", ["soon", "1s", "9999h", "-2h"])
def test_a_span_is_checked_before_anything_is_asked(run: Command, span: str) -> None:
    wrong = run("hold", f"--for={span}")
    assert (wrong.code, "error: --for:" in wrong.err, "hint: " in wrong.err) == (2, True, True)


def test_a_refusal_is_an_error_of_two_lines(run: Command, config: Path) -> None:
    run("launch", "--config", str(config))
    with refused("ec2", "CreateTags", "UnauthorizedOperation"):
        denied = run("hold")
    assert denied.code == 2
    assert [line.partition(":")[0] for line in denied.err.splitlines()] == ["error", "hint"]
