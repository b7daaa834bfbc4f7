"""Bad input gives one line that names the mistake, a non-zero exit code, no traceback, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.testing.aws_server import BUCKET
from tests.cli.conftest import CONFIG, Command, Result
from tests.template.calls import Recorder


def assert_one_line(result: Result, *parts: str, code: int = 2) -> None:
    """One line says what is wrong, and at most one what to do."""
    assert result.code == code, result.err
    assert [line.partition(": ")[0] for line in result.err.splitlines()] in (["error"], ["error", "hint"])
    for part in parts:
        assert part in result.err


def test_no_command_prints_the_help(run: Command) -> None:
    assert "launch" in run().out


@pytest.mark.parametrize("name", ["Dev", "cached-datasets", "../prod", ""])
def test_an_invalid_environment_name(run: Command, name: str) -> None:
    assert_one_line(run("verify", "-e", name), "environment", "lower-case")


@pytest.mark.usefixtures("aws")
def test_a_stack_that_is_not_deployed(run: Command, calls: Recorder) -> None:
    assert_one_line(run("verify", "-e", "stage"), "chronos-ec2-stage", "sam deploy --config-env stage")
    # An operator of dev may not describe this stack; someone who may gets the same message.
    (denied,) = calls.denied
    assert "cloudformation:DescribeStacks" in denied
    calls.denied.clear()


def test_no_credentials(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert_one_line(run("verify"), "credentials", "AWS_PROFILE")


def test_no_region(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert_one_line(run("verify"), "AWS_REGION")


def test_an_unknown_profile(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert_one_line(run("verify"), "AWS_PROFILE", "nobody")


@pytest.mark.usefixtures("asked_once")
def test_aws_does_not_answer(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert_one_line(run("verify"), "could not", code=3)


@pytest.mark.parametrize("function", ["Sweeper", ""])
def test_invoking_an_unknown_function(run: Command, function: str) -> None:
    assert_one_line(run("local", "invoke", function, "events/sweep-tick.json"), "FUNCTION", "Sweep")


def test_invoking_with_a_missing_event_file(run: Command) -> None:
    assert_one_line(run("local", "invoke", "Sweep", "none.json"), "EVENT", "none.json", "events/")


def test_invoking_with_an_event_that_is_not_json(run: Command, config: Path) -> None:
    config.write_text("tick")
    assert_one_line(run("local", "invoke", "Sweep", str(config)), "EVENT", config.name, "not JSON")


@pytest.mark.usefixtures("data")
class TestOnADeployedEnvironment:
    @pytest.fixture(autouse=True)
    def _nothing_is_left(self, data: None) -> Iterator[None]:
        yield
        assert client("ec2").describe_instances()["Reservations"] == []
        keys = [entry["Key"] for entry in client("s3").list_objects_v2(Bucket=BUCKET).get("Contents", [])]
        assert [key for key in keys if key.startswith("dev/") and key != "dev/system-state.json"] == []

    def launch(self, run: Command, config: Path, text: str, *more: str) -> Result:
        config.write_text(text)
        return run("launch", "--config", str(config), *more)

    def test_a_missing_configuration_file(self, run: Command) -> None:
        assert_one_line(run("launch", "--config", "none.yaml"), "none.yaml", "No such file")

    def test_no_configuration(self, run: Command) -> None:
        assert_one_line(run("launch"), "--config", "upload config")

    def test_an_unknown_key(self, run: Command, config: Path) -> None:
        result = self.launch(run, config, CONFIG + "training: {step: 5}\n")
        assert_one_line(result, "train.yaml", "training.step", "did you mean steps?")

    def test_a_wrong_type(self, run: Command, config: Path) -> None:
        result = self.launch(run, config, CONFIG.replace("6", "six"))
        assert_one_line(result, "train.yaml", "prediction_length", "integer")

    @pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "\x00", ""])
    def test_a_configuration_that_is_not_a_mapping(self, run: Command, config: Path, text: str) -> None:
        assert_one_line(self.launch(run, config, text), "train.yaml")

    def test_a_data_path_outside_the_cached_data_sets(self, run: Command, config: Path) -> None:
        result = self.launch(run, config, CONFIG.replace("training-data/sales/", "../dev/"))
        assert_one_line(result, "data.path", "below cached-datasets/")

    def test_a_missing_data_set(self, run: Command, config: Path) -> None:
        result = self.launch(run, config, CONFIG.replace("sales", "none"))
        assert_one_line(result, "data.path", "training-data/none/", "upload data")

    def test_an_empty_data_set(self, run: Command, config: Path) -> None:
        client("s3").put_object(Bucket=BUCKET, Key="cached-datasets/dev/training-data/sales/b.parquet", Body=b"")
        assert_one_line(self.launch(run, config, CONFIG), "b.parquet", "empty")

    @pytest.mark.parametrize(
        "arguments", [("--max-hours", "0.1"), ("--lane", "A B"), ("--max-cost", "1", "--instance-type", "p5e.48xlarge")]
    )
    def test_impossible_limits(self, run: Command, config: Path, arguments: tuple[str, ...]) -> None:
        where = {"--lane": "lane"}.get(arguments[0], arguments[0])
        assert_one_line(self.launch(run, config, CONFIG, *arguments), where)

    def test_another_bucket(self, run: Command, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BUCKET", "somewhere-else")
        assert_one_line(self.launch(run, config, CONFIG), "BUCKET", "somewhere-else", BUCKET)

    @pytest.mark.parametrize("command", ["monitor", "kill"])
    def test_a_run_that_does_not_exist(self, run: Command, command: str) -> None:
        assert_one_line(run(command, "20200101T000000Z-000000"), "20200101T000000Z-000000", "chronos-ec2 runs")

    @pytest.mark.parametrize("command", ["monitor", "kill"])
    def test_an_invalid_run_id(self, run: Command, command: str) -> None:
        assert_one_line(run(command, "latest"), "latest", "not a run id")

    @pytest.mark.parametrize("body", [b"not json", b"", b"\xff\x00", b"[1]"])
    def test_an_unreadable_lock(self, run: Command, config: Path, body: bytes) -> None:
        client("s3").put_object(Bucket=BUCKET, Key="dev/system-state.json", Body=body)
        assert_one_line(self.launch(run, config, CONFIG), "dev/system-state.json")
        found = run("verify", "--json")
        assert found.code == 1
        assert "unreadable" in found.json["left"][0]["state"]

    @pytest.mark.parametrize("content", ["none", "no-parquet", "empty-parquet"])
    def test_a_folder_without_data(self, run: Command, tmp_path: Path, content: str) -> None:
        folder = tmp_path / content
        if content != "none":
            folder.mkdir()
        if content == "empty-parquet":
            (folder / "a.parquet").touch()
        assert_one_line(run("upload", "data", str(folder), "name"), content)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--trainer", "probe", "--minutes", "0"), ("--minutes", "at most 1440")),
        (("--trainer", "probe", "--minutes", "nan"), ("--minutes",)),
        (("--minutes", "3"), ("--minutes", "give --trainer probe too")),
        (("--ending", "oom"), ("--ending", "give --trainer probe too")),
        (("--trainer", "probe", "--config", "train.yaml"), ("--trainer", "exclude each other")),
    ],
)
def test_impossible_probe_options(run: Command, options: tuple[str, ...], parts: tuple[str, ...]) -> None:
    assert_one_line(run("launch", *options), *parts)


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("forecast --data sales --horizon 6 --to here/a-file --yes", ("--to", "a-file is a file")),
        ("evaluate --data sales --horizon 6 --to here/a-file/below/it --yes", ("--to", "a-file is a file")),
        ("drill --yes --output here", ("--output", "here is a folder")),
        ("drill --yes --output here/a-file/drill.json", ("--output", "a-file is a file")),
        ("drill --yes --instance-type ,", ("--instance-type", "is not an instance type")),
        ("drill --yes --instance-type t3.small,t3.micro", ("--instance-type", "one type")),
    ],
)
def test_what_would_fail_after_it_was_paid_for_is_refused_before(
    run: Command, line: str, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    Path("here", "a-file").touch()
    assert_one_line(run(*line.split()), *words)
    assert client("ec2").describe_instances()["Reservations"] == []
