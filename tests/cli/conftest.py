"""The command, run in this process against moto."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.cli import main
from chronos_ec2.testing.aws_server import BUCKET
from tests.model_hub import FILES, MemoryHub, serving
from tests.template.calls import Recorder

CONFIG = """\
data: {path: training-data/sales/}
prediction_length: 6
model: {from_scratch: {}}
"""


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], calls: Recorder) -> Command:
    """Run `chronos-ec2 …` with the permissions of an operator. Returns exit code and output."""

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["chronos-ec2", *arguments])
        code = 0
        try:
            with calls.acting("OperatorPolicy"):
                main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return run


@pytest.fixture
def data(deployed: str) -> None:
    """A small data set in the bucket."""
    client("s3").put_object(Bucket=BUCKET, Key="cached-datasets/dev/training-data/sales/a.parquet", Body=b"PAR1")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "train.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryHub]:
    """The hub that commands ask, with two models."""
    found = MemoryHub(tmp_path / "hub")
    found.put("amazon/chronos-2")
    found.put("amazon/chronos-bolt-tiny", FILES | {"model.safetensors": b"bolt"})
    with serving(found) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        yield found
