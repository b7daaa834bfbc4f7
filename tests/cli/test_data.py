"""`data check` on files as people have them, without an AWS account."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chronos_ec2.testing.aws_server import BUCKET
from tests.cli.conftest import Command

GOOD = "item_id,timestamp,target\n" + "".join(f"a,2024-01-{day:02},{day}\n" for day in range(1, 15))
BAD = GOOD + "a,2024-01-14,99\nb,2024-01-01,5\nb,2024-01-02,5\n"


def test_good_data_are_described(run: Command, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(GOOD)
    done = run("data", "check", str(tmp_path), "--horizon", "3")
    assert done.code == 0
    assert "1 file, 1 series, 14 points, 14 of them observed, 1 series long enough" in done.out
    assert "step P1D, 2024-01-01" in done.out
    assert "a run would train on these data" in done.out


def test_bad_data_get_the_lines_that_settle_it(run: Command, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(BAD)
    done = run("data", "check", str(tmp_path / "sales.csv"))
    assert done.code == 2
    lines = [line.strip() for line in done.out.splitlines()]
    assert {"data.problems.duplicates: drop", "data.problems.empty: drop"} <= {*lines}
    assert "a run would refuse these data" in done.out
    config = tmp_path / "train.yaml"
    config.write_text("data: {path: x, problems: {duplicates: drop, empty: drop}}\nprediction_length: 3\n")
    checked = run("data", "check", str(tmp_path / "sales.csv"), "--config", str(config), "--json")
    assert (checked.code, checked.json["accepted"], checked.json["summary"]["series"]) == (0, True, 1)
    assert {each["kind"] for each in checked.json["findings"]} >= {"duplicates", "empty"}


def test_a_few_series_are_drawn(run: Command, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(GOOD.replace("a,2024-01-07,7\n", "a,2024-01-07,\n"))
    picture = tmp_path / "pictures" / "series.png"
    assert run("data", "check", str(tmp_path / "sales.csv"), "--picture", str(picture)).code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("sales.csv", b"", "cannot be read"),
        ("sales.parquet", b"PAR1 nothing PAR1", "sales.parquet"),
        ("notes.docx", b"PK", "holds no .parquet files"),
    ],
)
def test_what_is_no_data_is_one_line(run: Command, tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    done = run("data", "check", str(tmp_path))
    assert (done.code, words in done.out + done.err, "Traceback" in done.err) == (2, True, False)


def test_without_the_extra_a_line_says_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(GOOD)
    code = """
import sys
from importlib.abc import MetaPathFinder
class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"pyarrow", "numpy", "pandas", "matplotlib", "torch"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from chronos_ec2.cli import main
sys.argv = ["chronos-ec2", "data", "check", sys.argv[1]]
main()
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, "pip install -e '.[data]'" in done.stderr) == (2, True)


NAMED = "shop;day;sold\n" + "".join(f"north;{day:02}.01.2024;{day},5\n" for day in range(1, 15))
NAMES = ("--item-id", "shop", "--timestamp", "day", "--target", "sold", "--timestamp-format", "%d.%m.%Y")


def test_columns_of_other_names_are_named_by_the_hint_as_options_take_them(run: Command, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(NAMED)
    refused = run("data", "check", str(tmp_path / "sales.csv"))
    assert (refused.code, " ".join(NAMES) in refused.out, "sales.csv.parquet" in refused.out) == (2, True, False)
    assert run("data", "check", str(tmp_path / "sales.csv"), *NAMES).code == 0


def test_text_among_numbers_is_shown(run: Command, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(GOOD + "a,2024-01-15,NA\na,2024-01-16,$3\n")
    assert "column 'target' is string, such as '$3'" in run("data", "check", str(tmp_path / "sales.csv")).out


def test_the_proposed_settings_are_written_into_the_configuration(run: Command, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(BAD)
    config = tmp_path / "train.yaml"
    config.write_text(
        "# ours\ndata: {path: x, target: 'target'}  # all of it\n\nprediction_length: 3\ncontext_length: 7\n"
    )
    config.chmod(0o640)
    check = ("data", "check", str(tmp_path / "sales.csv"), "--config", str(config))
    assert run(*check).code == 2
    fixed = run(*check, "--fix")
    assert (fixed.code, f"written into {config}: data.problems.duplicates: drop" in fixed.out) == (0, True)
    assert config.read_text() == (
        "# ours\ndata: {path: x, target: 'target', problems: {duplicates: drop, empty: drop}} # all of it\n\n"
        "prediction_length: 3\ncontext_length: 7\n"
    )
    assert config.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sales.csv", "train.yaml"]
    assert run(*check).code == 0
    assert run("data", "check", str(tmp_path / "sales.csv"), "--fix").code == 2


def test_a_setting_that_shows_another_problem_is_followed_by_its_setting(run: Command, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(GOOD + "b,2024-01-01,1\nb,2024-01-01,5\nb,2024-01-02,5\n")
    config = tmp_path / "train.yaml"
    config.write_text("data:\n  path: x\nprediction_length: 3\n")
    assert run("data", "check", str(tmp_path / "sales.csv"), "--config", str(config), "--fix").code == 0
    assert config.read_text() == (
        "data:\n  path: x\n  problems:\n    duplicates: drop\n    empty: drop\nprediction_length: 3\n"
    )


def test_data_are_shown_as_a_run_sees_them(run: Command, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(NAMED.replace("07.01.2024;7,5", "07.01.2024;"))
    shown = run("data", "show", str(tmp_path / "sales.csv"), *NAMES)
    lines = [line.split() for line in shown.out.splitlines()]
    assert ["sold", "double", "target"] in lines
    assert ["north", "14", "1", "2024-01-01", "2024-01-14"] in [line[:5] for line in lines]
    (one,) = run("data", "show", str(tmp_path / "sales.csv"), *NAMES, "--json").json["series"]
    assert (one["item"], one["points"], one["missing"], one["newest"][0]) == ("north", 14, 1, 1.5)
    (tmp_path / "bad.csv").write_text(BAD)
    assert run("data", "show", str(tmp_path / "bad.csv")).code == 2


def test_data_of_the_bucket_are_checked_and_shown(run: Command, deployed: str, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(GOOD)
    assert run("upload", "data", str(tmp_path / "sales.csv"), "daily").code == 0
    for path in ("training-data/daily/", f"s3://{BUCKET}/cached-datasets/dev/training-data/daily/"):
        assert run("data", "check", path, "--json").json["summary"]["points"] == 14
    assert "14 points" in run("data", "show", "training-data/daily/").out
    other = run("data", "check", "s3://somewhere/else/")
    assert (other.code, "aws s3 sync s3://somewhere/else/" in other.err) == (2, True)


def test_an_upload_without_a_configuration_tells_what_defaults_would_refuse(
    run: Command, deployed: str, tmp_path: Path
) -> None:
    (tmp_path / "sales.csv").write_text(BAD)
    done = run("upload", "data", str(tmp_path / "sales.csv"), "daily")
    assert (done.code, "a run with default settings would refuse the data" in done.err) == (0, True)
    (tmp_path / "sales.csv").write_text(GOOD)
    assert run("upload", "data", str(tmp_path / "sales.csv"), "daily").err == ""


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("noise.parquet", b"noise", "{path}: is no whole Parquet file"),
        ("sales.json", b"{}", "{path}: is no Parquet, CSV or Feather file"),
        (
            "sales.csv",
            b"item_id,timestamp,target\na,2025-01-01,one\n",
            "refused   sales.csv: column 'target' is string",
        ),
        ("nothing.csv", None, "{path}: there is no such file or folder"),
    ],
)
def test_what_is_wrong_is_said_of_the_file_that_was_given(
    run: Command, tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    done = run("data", "check", str(path))
    assert (done.code, words.format(path=path) in done.out + done.err) == (2, True), done.out + done.err
    assert "/chronos-ec2-" not in done.err
