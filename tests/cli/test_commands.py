"""The commands on a deployed environment, from launch to the check that nothing is left."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.s3_objects import S3Objects
from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.records.checkpoint import Manifest, Part
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import bundle_key, code_key
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.publish.agent import CHECKOUT
from chronos_ec2.services.publish.wheels import read_python_env
from chronos_ec2.testing.aws_answers import answered, before_call
from chronos_ec2.testing.aws_server import BUCKET
from tests.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("data")


def test_a_run_from_launch_to_verify(run: Command, config: Path) -> None:
    launched = run("launch", "--config", str(config), "--json").json
    assert launched["uri"] == f"s3://{BUCKET}/dev/{launched['run_id']}/"

    (instance,) = client("ec2").describe_instances(InstanceIds=[launched["instance_id"]])["Reservations"][0][
        "Instances"
    ]
    tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
    assert (tags["RunId"], tags["ManagedBy"], tags["Lane"]) == (launched["run_id"], "chronos-ec2", "main")

    left = run("verify", "--json")
    assert left.code == 1
    assert {finding["kind"] for finding in left.json["left"]} >= {"instance", "lock"}

    killed = run("kill", "--now")
    assert (killed.code, launched["run_id"] in killed.out) == (0, True)
    cleaned = run("cleanup", "--json")
    assert cleaned.json["left"] == []
    assert run("verify").code == 0
    monitored = run("monitor", launched["run_id"])
    assert monitored.code == 1
    assert "killed (requested)" in monitored.out
    (listed,) = run("runs", "--json").json
    assert (listed["run_id"], listed["status"], listed["active"]) == (launched["run_id"], "killed", False)


SENDS_EVENTS = "<NotificationConfiguration><EventBridgeConfiguration/></NotificationConfiguration>"
PENDING = """\
<ListSubscriptionsByTopicResponse><ListSubscriptionsByTopicResult><Subscriptions><member>
<TopicArn>arn:aws:sns:us-east-1:123456789012:chronos-ec2-dev</TopicArn><Protocol>email</Protocol>
<SubscriptionArn>PendingConfirmation</SubscriptionArn><Endpoint>team@example.com</Endpoint>
</member></Subscriptions></ListSubscriptionsByTopicResult></ListSubscriptionsByTopicResponse>"""


def test_verify_warns_about_incomplete_setup_and_passes(run: Command) -> None:
    result = run("verify", "--json")
    assert (result.code, result.json["left"]) == (0, [])
    assert ["EventBridge" in warning for warning in result.json["warnings"]] == [True]
    with answered("s3", "GetBucketNotificationConfiguration", SENDS_EVENTS):
        assert run("verify", "--json").json["warnings"] == []
        with answered("sns", "ListSubscriptionsByTopic", PENDING):
            result = run("verify")
    assert (result.code, "nothing is left" in result.out) == (0, True)
    assert "email team@example.com to chronos-ec2-dev is not confirmed" in result.out


def test_launch_prints_the_next_command(run: Command, config: Path) -> None:
    result = run("launch", "--config", str(config))
    assert result.code == 0
    assert "chronos-ec2 monitor" in result.out


def test_a_second_launch_in_the_lane_is_refused_and_names_the_holder(run: Command, config: Path) -> None:
    holder = run("launch", "--config", str(config), "--json").json["run_id"]
    second = run("launch", "--config", str(config))
    assert (second.code, holder in second.err) == (2, True)
    assert run("launch", "--config", str(config), "--lane", "second", "--json").code == 0


def test_a_graceful_kill_is_recorded_for_the_agent(run: Command, config: Path) -> None:
    run_id = run("launch", "--config", str(config), "--json").json["run_id"]
    assert run("kill", run_id, "--reason", "wrong data").code == 0
    held = RunStore(S3Objects(client("s3"), BUCKET)).read_lock(Lane("dev"))
    assert isinstance(held, LockHeld)
    assert held.run.stop is not None
    assert held.run.stop.reason == "wrong data"


def test_launch_uses_the_configuration_in_the_bucket_by_default(run: Command, tmp_path: Path, config: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "2010" / "01").mkdir(parents=True)
    (folder / "2010" / "01" / "part.parquet").write_bytes(b"PAR1 rows PAR1")
    uploaded = run("upload", "data", str(folder), "more-sales", "--json").json
    assert uploaded == {
        "data_path": "training-data/more-sales/",
        "files": 1,
        "removed": 0,
        "bytes": 14,
        "converted": 0,
        "rows": 0,
        "series": [],
    }
    assert "no --config" not in run("launch").err
    assert run("upload", "config", str(config)).code == 0
    assert run("launch").code == 0


def test_the_same_agent_is_uploaded_once(run: Command) -> None:
    first, second = run("upload", "agent", "--json").json, run("upload", "agent", "--json").json
    assert first == second


def test_the_launched_bundle_names_its_python_packages(run: Command, config: Path) -> None:
    run_id = run("launch", "--config", str(config), "--json").json["run_id"]
    request = client("s3").get_object(Bucket=BUCKET, Key=f"dev/{run_id}/request.json")["Body"].read()
    bundle = client("s3").get_object(Bucket=BUCKET, Key=bundle_key(json.loads(request)["bundle_sha256"]))["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(bundle)) as archive:
        named = archive.extractfile("agent/python-env")
        assert named is not None
        assert named.read().decode() == str(read_python_env(CHECKOUT))


@pytest.mark.usefixtures("hub")
def test_defaults_depend_on_the_first_instance_type_and_are_stored(run: Command, config: Path) -> None:
    config.write_text("{data: {path: training-data/sales/}, prediction_length: 6, training: {workers: 1}}")
    arguments = ("launch", "--config", str(config), "--instance-type", "g5.2xlarge,g4dn.2xlarge")
    launched = run(*arguments, "--json").json
    document = client("s3").get_object(Bucket=BUCKET, Key=f"dev/{launched['run_id']}/request.json")["Body"].read()
    stored = json.loads(document)["config"]
    assert launched["chosen"] == {
        "model.lora": stored["model"]["lora"], "context_length": 2048, "training.batch_size": 128,
        "training.learning_rate": 1e-5,
    }  # fmt: skip
    assert (stored["training"]["batch_size"], stored["training"]["workers"]) == (128, 1)
    assert "training.batch_size 128, training.learning_rate 1e-05" in run(*arguments, "--lane", "two").out
    on_cpu = run(*arguments, "--lane", "three", "--allow-cpu", "--json").json
    assert on_cpu["chosen"] == {}


def test_configuration_files_of_an_older_system_give_a_warning(run: Command, config: Path) -> None:
    for name in ("covariate_config.yaml", "train.yaml", "parquet_loader_config.yaml"):
        client("s3").put_object(Bucket=BUCKET, Key=f"cached-datasets/dev/configs/{name}", Body=config.read_bytes())
    launched = run("launch", "--json")
    assert (launched.code, launched.json["run_id"] in launched.json["uri"]) == (0, True)
    assert launched.err.splitlines() == [
        "warning: cached-datasets/dev/configs/covariate_config.yaml is not read: train.yaml has it under "
        "data.past_covariates and data.known_covariates",
        "warning: cached-datasets/dev/configs/parquet_loader_config.yaml is not read: train.yaml has it under data",
    ]


def test_the_users_own_trainer_is_uploaded(run: Command, config: Path) -> None:
    config.write_text("{trainer: 'mine:Mine', data: {path: training-data/sales/}, prediction_length: 6}")
    (config.parent / "mine.py").write_text("class Mine: ...")
    run_id = run("launch", "--config", str(config), "--json").json["run_id"]
    request = json.loads(client("s3").get_object(Bucket=BUCKET, Key=f"dev/{run_id}/request.json")["Body"].read())
    code = client("s3").get_object(Bucket=BUCKET, Key=code_key(request["code_sha256"]))["Body"].read()
    assert zipfile.ZipFile(io.BytesIO(code)).namelist() == ["mine.py"]


def test_a_data_set_is_uploaded_and_replaced(run: Command, tmp_path: Path) -> None:
    (tmp_path / "new.parquet").write_bytes(b"PAR1 rows PAR1")
    refused = run("upload", "data", str(tmp_path), "sales")
    assert (refused.code, "a.parquet" in refused.err, "--replace" in refused.err) == (2, True, True)
    done = run("upload", "data", str(tmp_path), "sales", "--replace", "--json")
    assert done.json == {
        "data_path": "training-data/sales/",
        "files": 1,
        "removed": 1,
        "bytes": 14,
        "converted": 0,
        "rows": 0,
        "series": [],
    }
    listed = client("s3").list_objects_v2(Bucket=BUCKET, Prefix="cached-datasets/dev/training-data/sales/")["Contents"]
    assert [entry["Key"].rpartition("/")[2] for entry in listed] == ["_SUCCESS", "new.parquet"]


def test_a_new_environment_has_no_runs(run: Command) -> None:
    assert run("runs").out == "no runs yet in environment dev\n"
    assert run("runs", "--json").json == []


def stacks() -> list[str]:
    found = client("cloudformation").describe_stacks()["Stacks"]
    return [stack["StackName"] for stack in found if not stack["StackStatus"].startswith("DELETE")]


def test_teardown_leaves_only_the_bucket(run: Command) -> None:
    result = run("teardown", "--yes", "--json")
    assert (result.code, result.json["kept"]) == (0, [f"s3://{BUCKET}/"])
    assert stacks() == []
    assert client("s3").head_bucket(Bucket=BUCKET)
    assert run("verify").code == 2


def test_the_command_that_teardown_prints_deletes_the_bucket(run: Command, aws: str) -> None:
    s3 = client("s3")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"1", b"2"):
        s3.put_object(Bucket=BUCKET, Key="dev/state.json", Body=body)
    s3.delete_object(Bucket=BUCKET, Key="dev/state.json")
    printed = run("teardown", "--yes").out.splitlines()[-1].strip()
    python, *arguments = shlex.split(printed)
    assert python == "python"
    subprocess.run([sys.executable, *arguments], check=True, env=os.environ | {"AWS_ENDPOINT_URL": aws})
    assert s3.list_buckets()["Buckets"] == []


def test_teardown_refuses_while_a_run_is_active(run: Command, config: Path) -> None:
    launched = run("launch", "--config", str(config), "--json").json
    result = run("teardown", "--yes")
    assert (result.code, launched["instance_id"] in result.err) == (2, True)
    assert stacks() == ["chronos-ec2-dev"]


def test_teardown_without_confirmation_does_nothing(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    result = run("teardown")
    assert (result.code, "--yes" in result.err) == (2, True)
    assert stacks() == ["chronos-ec2-dev"]


def test_a_log_is_printed_and_a_missing_one_is_an_error(run: Command, config: Path) -> None:
    run_id = run("launch", "--config", str(config), "--json").json["run_id"]
    client("s3").put_object(Bucket=BUCKET, Key=f"dev/{run_id}/logs/agent.log", Body=b"claimed\n\x1b[2Jforged\n")
    assert run("logs", "--log", "agent").out == "claimed\nforged\n"
    missing = run("logs", run_id)
    assert (missing.code, "available: agent" in missing.err) == (2, True)


def test_a_followed_log_ends_with_its_run(run: Command, config: Path) -> None:
    run_id = run("launch", "--config", str(config), "--json").json["run_id"]
    client("s3").put_object(Bucket=BUCKET, Key=f"dev/{run_id}/logs/trainer.log", Body=b"step 1\n")
    run("kill", "--now")
    run("cleanup")
    assert run("logs", run_id, "-f").out == "step 1\n"


def test_the_last_line_of_a_killed_trainer_is_printed(run: Command, config: Path) -> None:
    run_id = run("launch", "--config", str(config), "--json").json["run_id"]
    key = f"dev/{run_id}/logs/trainer.log"
    client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"step 1\nKilled")
    assert run("logs", run_id).out == "step 1\nKilled\n"
    run("kill", "--now")
    run("cleanup")
    assert run("logs", run_id, "-f").out == "step 1\nKilled\n"


def test_results_are_downloaded_once(run: Command, config: Path, tmp_path: Path) -> None:
    run_id, folder = run("launch", "--config", str(config), "--json").json["run_id"], tmp_path / "results"
    client("s3").put_object(Bucket=BUCKET, Key=f"dev/{run_id}/models/config.json", Body=b"{}")
    first = run("results", run_id, "--to", str(folder), "--json")
    assert "still active" in first.err
    assert (folder / "models/config.json").read_bytes() == b"{}"
    assert first.json["files"] == ["models/config.json", "request.json"]
    again = run("results", run_id, "--to", str(folder), "--json").json
    assert (again["downloaded"], again["bytes"]) == (0, first.json["bytes"])
    assert "2 of them were there already" in run("results", run_id, "--to", str(folder)).out
    (tmp_path / "a-file").touch()
    refused = run("results", run_id, "--to", str(tmp_path / "a-file"))
    assert (refused.code, "a-file" in refused.err, "hint:" in refused.err) == (2, True, True)


def test_runs_and_monitor_tell_the_same_cost(run: Command, config: Path) -> None:
    run_id = run("launch", "--config", str(config), "--price", "3600", "--json").json["run_id"]
    lock = json.loads(client("s3").get_object(Bucket=BUCKET, Key="dev/system-state.json")["Body"].read())
    earlier = json.dumps(lock | {"spent_usd": 1.5}).encode()
    client("s3").put_object(Bucket=BUCKET, Key="dev/system-state.json", Body=earlier)
    (running,) = run("runs", "--json").json
    assert running["cost_usd"] >= 1.5
    run("kill", "--now")
    run("cleanup")
    (listed,) = run("runs", "--limit", "1", "--json").json
    followed = json.loads(run("monitor", run_id, "--json").out.splitlines()[-1])
    assert listed["cost_usd"] == listed["spent_usd"] == followed["cost_usd"] >= 1.5
    assert f"${listed['cost_usd']:.2f}" in run("runs").out
    assert f"cost      ${listed['cost_usd']:.2f}" in run("monitor", run_id).out


def test_prices_are_those_of_the_stacks_region(run: Command, config: Path) -> None:
    run_id = run("launch", "--config", str(config), "--json").json["run_id"]
    (found,) = run("runs", "--json").json
    assert found["run_id"] == run_id
    assert found["prices"] == {"g4dn.2xlarge": pytest.approx(0.752 + 8 / 730 + 0.005)}


def test_tables_are_uploaded_as_parquet(run: Command, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    (folder / "2024").mkdir(parents=True)
    (folder / "2024" / "north.csv").write_text("timestamp,a,b\n2024-01-01,1,2\n2024-01-02,3,4\n")
    uploaded = run("upload", "data", str(folder), "wide", "--json").json
    assert (uploaded["files"], uploaded["rows"], uploaded["series"]) == (1, 4, ["a", "b"])
    key = "cached-datasets/dev/training-data/wide/2024/north.csv.parquet"
    body = client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
    assert pq.read_table(io.BytesIO(body)).column_names == ["item_id", "timestamp", "target"]
    assert "2 columns became series: a, b" in run("upload", "data", str(folder), "wide").out
    # A file alone, of either kind.
    assert run("upload", "data", str(folder / "2024" / "north.csv"), "one", "--json").json["files"] == 1
    (folder / "2024" / "x.parquet").write_bytes(body)
    assert run("upload", "data", str(folder / "2024" / "x.parquet"), "two", "--json").json["files"] == 1
    both = run("upload", "data", str(folder), "wide")
    assert (both.code, "north.csv and x.parquet" in both.err) == (2, True)
    (folder / "2024" / "x.parquet").unlink()
    (folder / "2024" / "north.csv").write_text("timestamp,a\n1.2.2024,1\n")
    refused = run("upload", "data", str(folder), "wide")
    assert (refused.code, "--timestamp-format" in refused.err) == (2, True)


def test_data_are_checked_for_the_runs_of_a_configuration_before_they_are_uploaded(
    run: Command, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "sales.csv").write_text("item_id,timestamp,target\na,2024-01-01,1\na,2024-01-01,2\n")
    upload = ("upload", "data", str(tmp_path / "sales.csv"), "twice")
    refused = run(*upload, "--config", str(config))
    assert (refused.code, "a run would refuse the data" in refused.err) == (2, True)
    assert "Contents" not in client("s3").list_objects_v2(
        Bucket=BUCKET, Prefix="cached-datasets/dev/training-data/twice/"
    )
    assert run(*upload).code == 0


def test_an_unknown_price_with_a_cap_is_refused_before_anything_is_uploaded(run: Command, config: Path) -> None:
    run("upload", "agent")
    before = {entry["Key"] for entry in client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]}
    refused = run("launch", "--config", str(config), "--instance-type", "p5e.48xlarge", "--max-cost", "3")
    assert (refused.code, "--max-cost" in refused.err, "give --price" in refused.err) == (2, True, True)
    assert {entry["Key"] for entry in client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]} == before


def test_a_run_whose_record_cannot_be_read_is_listed_as_such(run: Command, config: Path) -> None:
    run_id = run("launch", "--config", str(config), "--json").json["run_id"]
    client("s3").put_object(Bucket=BUCKET, Key="dev/system-state.json", Body=b"{")
    assert "could not be read" in run("runs").out
    (found,) = run("runs", "--json").json
    assert (found["run_id"], "error" in found) == (run_id, True)
    logs = run("logs", run_id)
    assert (logs.code, "could not be read" in logs.err) == (3, True)


def test_a_probe_needs_no_configuration_and_uploads_its_data(run: Command) -> None:
    launched = run("launch", "--trainer", "probe", "--minutes", "2", "--ending", "nan", "--json").json
    request = json.loads(S3Objects(client("s3"), BUCKET).tail(f"dev/{launched['run_id']}/request.json", 10**6) or b"")
    assert request["config"]["trainer"] == "probe"
    assert request["config"]["probe"] | {"checkpoint_mb": 1} == {
        "ending": "nan", "steps": 240, "step_seconds": 0.5, "checkpoint_steps": 120, "checkpoint_mb": 1
    }  # fmt: skip
    (file,) = request["dataset"]
    assert file["key"] == "cached-datasets/dev/training-data/probe/series.parquet"
    run("kill", "--now")
    run("cleanup")
    assert run("launch", "--trainer", "probe").code == 0


def test_the_data_of_the_probe_is_a_valid_data_set(run: Command) -> None:
    """The agent checks the columns of every data set."""
    run("launch", "--trainer", "probe")
    key = "cached-datasets/dev/training-data/probe/series.parquet"
    table = pq.read_table(io.BytesIO(client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()))
    assert (table.column_names, table.num_rows) == (["item_id", "timestamp", "target"], 60)


@pytest.mark.parametrize(("status", "code"), [("ROLLBACK_COMPLETE", 0), ("CREATE_IN_PROGRESS", 2)])
def test_teardown_deletes_a_stack_that_was_never_deployed_to_its_end(run: Command, status: str, code: int) -> None:
    """The stack is moto's; only CloudFormation's word of it, when asked by its name, is made up."""
    (stack,) = client("cloudformation").describe_stacks()["Stacks"]
    answer = (
        "<DescribeStacksResponse><DescribeStacksResult><Stacks><member>"
        f"<StackId>{stack['StackId']}</StackId><StackName>chronos-ec2-dev</StackName><StackStatus>{status}</StackStatus>"
        "</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
    )
    with answered("cloudformation", "DescribeStacks", answer, but="arn"):
        assert run("teardown", "--yes").code == code
    assert stacks() == ([] if code == 0 else ["chronos-ec2-dev"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit(143)])
def test_a_launch_that_is_interrupted_names_what_may_be_running(
    run: Command, config: Path, error: BaseException
) -> None:
    def interrupt() -> None:
        raise error

    with before_call("ec2", "RunInstances", "", interrupt):
        result = run("launch", "--config", str(config))
    assert result.code in (130, 143)
    assert "may be running" in result.err
    assert "chronos-ec2 kill" in result.err


def test_a_run_that_has_ended_is_taken_up(run: Command, config: Path) -> None:
    s3, first = client("s3"), run("launch", "--config", str(config), "--json").json["run_id"]
    active = run("launch", "--resume", first)
    assert (active.code, f"chronos-ec2 kill {first}" in active.err) == (2, True)
    run("kill", "--now")
    run("cleanup")
    assert "left no complete checkpoint" in run("launch", "--resume", first).err
    folder = f"dev/{first}/checkpoints/10/"
    s3.put_object(Bucket=BUCKET, Key=f"{folder}weights", Body=b"weights")
    manifest = Manifest(10, (Part("weights", 7, "ab" * 32),)).to_json()
    s3.put_object(Bucket=BUCKET, Key=f"{folder}manifest.json", Body=manifest)
    for option in (("--config", str(config)), ("--trainer", "probe"), ("--allow-cpu",)):
        refused = run("launch", "--resume", first, *option)
        assert (refused.code, f"{option[0]} exclude each other" in refused.err) == (2, True)

    second = run("launch", "--resume", first, "--spot", "--json").json
    assert second["parent"] == {"run_id": first, "step": 10}
    requests = [
        json.loads(s3.get_object(Bucket=BUCKET, Key=f"dev/{run_id}/request.json")["Body"].read())
        for run_id in (first, second["run_id"])
    ]
    own = {"run_id", "parent", "market", "budget"}
    assert [{name: one[name] for name in one.keys() - own} for one in requests[:1]] == [
        {name: one[name] for name in one.keys() - own} for one in requests[1:]
    ]
    assert (requests[1]["parent"]["run_id"], requests[1]["market"]) == (first, "spot")
    parents = {listed["run_id"]: listed["parent"] for listed in run("runs", "--json").json}
    assert parents == {second["run_id"]: first, first: None}  # two runs of one second have no order
    assert f"takes up {first}" in " ".join(run("runs").out.split())


def test_monitor_on_a_terminal_shows_the_run_until_somebody_stops_following(
    run: Command, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    first = run("launch", "--config", str(config), "--json").json["run_id"]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("time.sleep", interrupt)
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    stopped = run("monitor", first)
    assert (stopped.code, "the run goes on" in stopped.err) == (130, True)
    assert "gone by" in terminal.getvalue()
