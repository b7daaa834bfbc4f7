"""Groups at the command line: a forecast in shards, and what the commands about runs do with a group's name."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.bootstrap.operator import OperatorWorld, operator_world
from chronos_ec2.client.group import begin
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.groups.order import Group
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.reports import Comparison, OutcomeReport
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Verdict
from chronos_ec2.services.groups.store import GroupStore
from chronos_ec2.services.run_queries import final_record
from chronos_ec2.testing.aws_server import BUCKET, store
from tests.cli.conftest import Command
from tests.model_hub import FILES, MemoryHub
from tests.template.calls import aside

pytestmark = pytest.mark.usefixtures("data", "hub")
FORECAST = ("forecast", "--data", "sales", "--horizon", "28")
DONE = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "done", DecidedBy.AGENT)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def order(name: str) -> Group:
    found = GroupStore("dev", store().objects).order(name)
    assert found
    return found


def world() -> OperatorWorld:
    """What the command uses, without the rights of an operator: as whoever goes on with a group."""
    return operator_world("dev")


def put(name: str, body: bytes, run_id: str) -> None:
    aside("s3").put_object(Bucket=BUCKET, Key=run_key("dev", run_id, name), Body=body)


def put_lock(group: Group, index: int, run: Run) -> None:
    aside("s3").put_object(Bucket=BUCKET, Key=group.lanes[index].state_key, Body=run.to_json())


def end(group: Group, index: int, verdict: Verdict = DONE) -> None:
    """The run of a member is over, with forecasts of one series; its lane is free."""
    objects, lane, run_id = store().objects, group.lanes[index], group.run_ids[index]
    held = store().read_lock(lane)
    assert isinstance(held, LockHeld)
    now = world().clock.now()
    put("state.json", replace(held.run.end(verdict, now), ended_at=now, spent_usd=0.5).to_json(), run_id)
    body = f"rows of shard {index}".encode()
    put("forecasts/part-00000.parquet", body, run_id)
    key = run_key("dev", run_id, "forecasts/part-00000.parquet")
    part = {"key": key, "bytes": len(body), "sha256": "0" * 64, "rows": 28, "items": 1}
    put("forecasts/manifest.json", json.dumps({"parts": [part]}).encode(), run_id)
    found = objects.read(lane.state_key)
    assert found
    objects.remove(lane.state_key, found.etag)


def test_a_forecast_in_shards_is_one_order_whose_first_runs_start_at_once(run: Command) -> None:
    started = run(*FORECAST, "--shards", "3", "--parallel", "2", "--max-cost", "6", "--name", "sales", "--json")
    assert started.code == 0, started.err
    group = order("sales")
    assert started.json["runs"] == list(group.run_ids)
    assert started.json["uri"] == f"s3://{BUCKET}/dev/groups/sales/"
    assert [one.config["shard"] for one in group.members] == [{"index": index, "of": 3} for index in range(3)]
    for index in range(2):
        request = store().read_request("dev", group.run_ids[index])
        assert request
        assert (request.lane, request.group) == (Lane("dev", f"sales-{index}"), "sales")
        assert request.budget
        assert request.budget.max_cost_usd == 3.0
        assert [one.given for one in request.models] == ["amazon/chronos-2"]
        assert request.dataset_keys[0].etag
    assert store().read_request("dev", group.run_ids[2]) is None
    assert len(client("ec2").describe_instances()["Reservations"]) == 2
    shown = run("runs", "show", "sales").out
    assert "group sales, shards, 2 at a time: 0 of 3 runs have ended, 2 are active" in shown
    assert "shard.index 2" in shown
    assert "not started" in shown


def test_its_results_are_in_one_folder_and_monitor_ends_with_it(run: Command, tmp_path: Path) -> None:
    assert run(*FORECAST, "--shards", "3", "--parallel", "2", "--name", "sales", "--json").code == 0
    group = order("sales")
    early = run("results", "sales")
    assert early.code == 2
    assert "no result as a whole" in early.err
    for index in range(3):
        end(group, index)
        world().groups.after("sales", group.run_ids[index])
    assert run("monitor", "sales", "--json").json["succeeded"] is True
    assert run("results", "sales", "--to", "all", "--json").code == 0
    for index in range(3):
        path = tmp_path / "all" / "forecasts" / f"shard-{index:03d}-part-00000.parquet"
        assert path.read_text() == f"rows of shard {index}"
    document = run("report", "sales", "--json").json
    assert (document["summary"], document["cost_usd"]) == ("3 of 3 runs have succeeded, for $1.50", 1.5)
    (found,) = [key for key, _ in store().objects.keys("dev/groups/sales/manifest.json")]
    read = store().objects.read(found)
    assert read
    manifest = json.loads(read.body)
    assert (manifest["rows"], manifest["items"], manifest["shards"]) == (84, 3, 3)
    assert [one["shard"] for one in manifest["parts"]] == [0, 1, 2]


def test_a_manifest_that_names_what_is_not_the_runs_is_not_believed(run: Command) -> None:
    assert run(*FORECAST, "--shards", "2", "--name", "sales", "--json").code == 0
    group = order("sales")
    for index in range(2):
        end(group, index)
    part = {"key": "dev/system-state.json", "bytes": 1, "sha256": "0" * 64, "rows": 1, "items": 1}
    put("forecasts/manifest.json", json.dumps({"parts": [part]}).encode(), group.run_ids[1])
    world().groups.go_on("sales")
    assert "it names what is no part of its forecast" in run("runs", "show", "sales").out
    assert run("monitor", "sales").code == 1


def test_kill_verify_doctor_and_teardown_know_a_group(run: Command) -> None:
    assert run(*FORECAST, "--shards", "3", "--parallel", "2", "--name", "sales").code == 0
    left = run("verify", "sales", "--json")
    assert left.code == 1
    assert {one["run_id"] for one in left.json["left"]} == set(order("sales").run_ids[:2])
    assert "sales: 3 runs, 2 at a time" in run("doctor").out
    torn = run("teardown", "--yes")
    assert torn.code != 0
    assert "group sales" in torn.err
    killed = run("kill", "sales", "--json")
    assert killed.code == 0, killed.err
    assert sorted(killed.json["runs"]) == sorted(order("sales").run_ids[:2])
    for index in range(2):
        held = store().read_lock(order("sales").lanes[index])
        assert isinstance(held, LockHeld)
        assert held.run.stop
    assert "(killed: requested by the operator)" in run("runs", "show", "sales").out
    assert run("verify", "others").code == 2


def test_a_group_whose_creation_was_interrupted_is_told_of_and_ended_by_kill(run: Command) -> None:
    assert run(*FORECAST, "--shards", "2", "--name", "first", "--json").code == 0
    GroupStore("dev", store().objects).create(replace(order("first"), name="second"))
    assert "no run of group second is active" in run("verify").out
    assert run("kill", "second").code == 0
    assert "group second" not in run("verify").out


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--shards", "1"), "--shards"),
        (("--shards", "101"), "--shards"),
        (("--shards", "2", "--parallel", "0"), "--parallel"),
        (("--parallel", "2"), "is for --shards"),
        (("--shards", "2", "--name", "Sales"), "is not a name of a group"),
    ],
)
def test_what_no_group_can_be_is_refused_before_anything_is_written(
    run: Command, options: tuple[str, ...], error: str
) -> None:
    result = run(*FORECAST, *options)
    assert result.code == 2
    assert error in result.err
    assert "hint: " in result.err
    assert list(store().objects.keys("dev/")) == []


def test_what_depends_on_other_series_is_not_split(run: Command, tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("job: forecast\ncross_learning: true\n")
    result = run(*FORECAST, "--config", "f.yaml", "--shards", "2", "--yes")
    assert result.code == 2
    assert "cross_learning makes forecasts depend on each other" in result.err
    assert list(store().objects.keys("dev/")) == []


def test_plan_orders_nothing_and_a_name_is_taken_once(run: Command, hub: MemoryHub) -> None:
    assert run(*FORECAST, "--shards", "2", "--plan").code == 0
    assert list(store().objects.keys("dev/")) == []
    assert run(*FORECAST, "--shards", "2", "--name", "sales", "--json").code == 0
    again = run(*FORECAST, "--shards", "2", "--name", "sales", "--json")
    assert again.code == 2
    assert "there is a group sales already" in again.err


GRID = """\
base:
  data: {path: training-data/sales/}
  prediction_length: 6
values:
  training.learning_rate: [0.00001, 0.0001]
  training.steps: [100, 200]
"""


def trained(group: Group, index: int, selection: float | None, test: float, exported: str = "trained") -> None:
    """The run of a member has exported a model with these scores before and on the test windows."""
    end(group, index)
    run_id = group.run_ids[index]
    comparison = Comparison(exported, ("base",), (), selection)
    put("outcomes/1.json", OutcomeReport(run_id, 1, "00ff", DONE, comparison=comparison).to_json(), run_id)
    models = {"trained": {"wql": 0.7}, "base": {"wql": 0.9}} | {exported: {"wql": test}}
    put("training.json", json.dumps({"evaluation": {"exported": exported, "models": models}}).encode(), run_id)


def test_a_sweep_is_ranked_before_the_test_windows_which_are_shown_for_the_best_alone(
    run: Command, tmp_path: Path
) -> None:
    (tmp_path / "grid.yaml").write_text(GRID)
    options = ("--max-cost", "8", "--parallel", "2", "--name", "rates", "--json")
    started = run("sweep", "grid.yaml", *options)
    assert started.code == 0, started.err
    group = order("rates")
    assert [one.config["training"]["steps"] for one in group.members] == [100, 200, 100, 200]
    assert [one.config["training"]["learning_rate"] for one in group.members] == [1e-5, 1e-5, 1e-4, 1e-4]
    assert {one.config["data"]["path"] for one in group.members} == {"training-data/sales/"}
    for index, (selection, test) in enumerate([(0.5, 0.41), (0.3, 0.62), (None, 0.1), (0.4, 0.13)]):
        trained(group, index, selection, test)
        if index < 3:
            world().groups.after("rates", group.run_ids[index])
            assert "best" not in run("runs", "show", "rates").out
    world().groups.after("rates", group.run_ids[3])
    document = run("report", "rates", "--json").json
    best = {"run_id": group.run_ids[1], "exported": "trained", "test": {"wql": 0.62}}
    assert (document["compared"], document["best"]) == (3, best)
    shown = run("report", "rates").out
    assert f"best      run {group.run_ids[1]}, of 3 configurations compared before the test windows" in shown
    assert "on those: wql 0.62" in shown
    assert "0.41" not in shown
    assert "0.13" not in shown
    ranked = [line.split()[0] for line in shown.splitlines() if line.strip().startswith("2")]
    assert ranked == [group.run_ids[index] for index in (1, 3, 0, 2)]
    assert {one["status"] for one in document["runs"]} == {"succeeded"}
    assert run("results", "rates", "--to", "best", "--json").code == 0
    assert (tmp_path / "best" / "training.json").exists()


def test_a_sweep_over_base_models_gives_each_run_its_own_and_tells_that_no_training_has_helped(
    run: Command, hub: MemoryHub, tmp_path: Path
) -> None:
    hub.put("amazon/chronos-bolt-tiny", FILES | {"model.safetensors": b"tiny"})
    hub.put("amazon/chronos-bolt-small", FILES | {"model.safetensors": b"small"})
    names = ["amazon/chronos-bolt-tiny", "amazon/chronos-bolt-small"]
    grid = {"base": "train.yaml", "values": {"model.base": names}}
    (tmp_path / "grid.yaml").write_text(json.dumps(grid))
    (tmp_path / "train.yaml").write_text("data: {path: training-data/sales/}\nprediction_length: 6\n")
    assert run("sweep", "grid.yaml", "--max-cost", "8", "--name", "origins", "--json").code == 0
    group = order("origins")
    assert [[one.given for one in member.models] for member in group.members] == [[name] for name in names]
    assert len({one.models for one in group.members}) == 2
    for index, run_id in enumerate(group.run_ids):
        request = store().read_request("dev", run_id)
        assert request
        assert [one.given for one in request.models] == [names[index]]
    assert "amazon/chronos-2" not in " ".join(hub.asked)
    for index, (score, exported) in enumerate([(0.5, "trained"), (0.4, "base")]):
        trained(group, index, score, 0.6, exported)
        world().groups.after("origins", group.run_ids[index])
    shown = run("report", "origins").out
    assert f"best      run {group.run_ids[1]}" in shown
    assert "its model is the one that it began with (base): training did not help" in shown
    # A group ends before its last run has released its lane.
    ended = final_record(store(), "dev", group.run_ids[1])
    assert ended
    put_lock(group, 1, ended)
    assert run("report", "origins", "--json").json["compared"] == 2


def test_a_sweep_with_a_model_that_does_not_exist_starts_nothing(run: Command, tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(GRID + "  model.base: [amazon/chronos-2, amazon/chronos-9]\n")
    result = run("sweep", "grid.yaml", "--max-cost", "8")
    assert result.code == 2
    assert "amazon/chronos-9" in result.err
    assert list(store().objects.keys("dev/")) == []


def test_the_plan_of_a_group_is_about_all_of_its_runs(run: Command) -> None:
    options = ("--shards", "4", "--parallel", "2", "--max-hours", "2", "--max-cost", "6", "--plan")
    assert "4 runs, 2 at a time, 2h each, cap $6.00 over all runs" in run(*FORECAST, *options).out
    plan = run(*FORECAST, *options, "--json").json["plan"]
    assert plan["group"] == {"runs": 4, "parallel": 2}
    price = max(each["usd_per_hour"] for each in plan["instance_types"])
    assert plan["worst_case"]["usd"] == pytest.approx(6 + 4 * price * 90 / 3600)


def test_of_two_orders_of_one_name_at_the_same_time_the_second_starts_nothing(run: Command) -> None:
    """Both have found the name free."""
    assert run(*FORECAST, "--shards", "2", "--name", "sales", "--json").code == 0
    second = replace(order("sales"), created_at=order("sales").created_at + timedelta(seconds=1))
    with pytest.raises(InvalidInput, match="there is a group sales already"):
        begin(second, world())
    assert store().read_request("dev", second.run_ids[0]) is None


def test_a_cap_that_does_not_pay_for_one_run_is_refused(run: Command) -> None:
    result = run(*FORECAST, "--shards", "2", "--max-cost", "0.01")
    assert result.code == 2
    assert "--max-cost: $0.01 may be spent before an instance has started to work" in result.err
    assert list(store().objects.keys("dev/groups/")) == []


def test_a_group_is_not_ordered_while_a_run_holds_a_lane_of_one_of_its_members(run: Command) -> None:
    held = run("forecast", "--data", "sales", "--horizon", "28", "--lane", "sales-1", "--json").json["run_id"]
    result = run(*FORECAST, "--shards", "2", "--name", "sales", "--json")
    assert result.code == 2
    assert held in result.err
    assert list(store().objects.keys("dev/groups/")) == []


def test_a_lane_is_not_for_a_group(run: Command) -> None:
    result = run(*FORECAST, "--shards", "2", "--lane", "mine")
    assert result.code == 2
    assert "--lane: is for a single run" in result.err
    assert list(store().objects.keys("dev/")) == []


@pytest.mark.parametrize(
    ("grid", "options", "error"),
    [
        (GRID, (), "--max-cost: is missing"),
        (GRID.replace("training.steps", "data.path"), ("--max-cost", "8"), "data.path cannot be varied"),
        (GRID, ("--max-cost", "8", "--parallel", "0"), "--parallel"),
    ],
)
def test_what_no_sweep_can_be_is_refused(
    run: Command, tmp_path: Path, grid: str, options: tuple[str, ...], error: str
) -> None:
    (tmp_path / "grid.yaml").write_text(grid)
    result = run("sweep", "grid.yaml", *options)
    assert result.code == 2
    assert error in result.err
    assert list(store().objects.keys("dev/")) == []
