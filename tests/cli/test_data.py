"""`data check` on files as people have them, without an AWS account."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
