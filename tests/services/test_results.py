"""Results on this machine are whole, or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronos_ec2.domain.errors import InvalidInput, ServiceUnavailable
from chronos_ec2.services.results import fetch_result, list_results, missing_files
from chronos_ec2.testing import MemoryAws
from chronos_ec2.testing.builders import RUN_ID

PREFIX = f"dev/{RUN_ID}/"


def a_bucket(*names: str) -> MemoryAws:
    aws = MemoryAws()
    for name in names:
        aws.objects.write(PREFIX + name, name.encode())
    return aws


def test_results_are_what_a_person_wants_of_a_run() -> None:
    wanted = ("eval/report.md", "logs/trainer.log", "models/config.json", "run.json", "training.json")
    aws = a_bucket(
        *wanted, "heartbeat.json", "status.json", "claims/1.json", "outcomes/1.json", "checkpoints/10/weights"
    )
    assert [file.name for file in list_results(aws.objects, "dev", RUN_ID)] == [*wanted]
    named = {file.name for file in list_results(aws.objects, "dev", RUN_ID, checkpoints=True)}
    assert named == {*wanted, "checkpoints/10/weights"}


def test_files_arrive_below_the_folder_and_are_not_fetched_twice(tmp_path: Path) -> None:
    aws, got = a_bucket("models/config.json", "run.json"), list[int]()
    files = list_results(aws.objects, "dev", RUN_ID)
    (tmp_path / "run.json").write_text("run.json")
    for file in missing_files(files, tmp_path):
        fetch_result(file, tmp_path, aws.transfer, got.append)
    assert (tmp_path / "models/config.json").read_text() == "models/config.json"
    assert sum(got) == len("models/config.json")
    assert missing_files(files, tmp_path) == ()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["config.json", "run.json"]


def test_an_object_that_changes_meanwhile_replaces_nothing(tmp_path: Path) -> None:
    aws = a_bucket("run.json")
    (file,) = list_results(aws.objects, "dev", RUN_ID)
    (tmp_path / "run.json").write_text("older")
    aws.objects.write(PREFIX + "run.json", b"a longer one than before")
    with pytest.raises(ServiceUnavailable, match="24 bytes now, 8 when it was listed"):
        fetch_result(file, tmp_path, aws.transfer, lambda _count: None)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("run.json", "older")]


@pytest.mark.parametrize(
    "name", ["../run.json", "models/../../x", "models//x", "a\\b", "c:x", "eval/\x1b[2J", "eval/.", "models/"]
)
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    with pytest.raises(InvalidInput, match="no name that a file can have"):
        list_results(a_bucket("run.json", name).objects, "dev", RUN_ID)


def test_a_run_without_files_has_no_results() -> None:
    with pytest.raises(InvalidInput, match="has no results"):
        list_results(a_bucket("heartbeat.json").objects, "dev", RUN_ID)
