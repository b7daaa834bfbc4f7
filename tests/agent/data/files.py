"""Small Parquet files, and panels read from them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agent.data.ingest.read import read_panel
from agent.data.panel import Panel
from chronos_ec2.job_config.data import Data

DATA = Data.model_validate({"path": "x"})


def read(files: list[Path], tmp_path: Path, min_length: int = 1, **data: Any) -> Panel:
    settings = Data.model_validate({"path": "x"} | data)
    return read_panel(files, settings, min_length, tmp_path / "panel")


def numbers(panel: Panel, row: int = 0) -> list[list[float]]:
    return [panel.series(index)[row].tolist() for index in range(len(panel))]


def a_file(tmp_path: Path, name: str = "part.parquet", **columns: Any) -> Path:
    path = tmp_path / name
    pq.write_table(pa.table(columns), path)
    return path


def days(*numbers: int) -> list[datetime]:
    return [datetime(2024, 1, number) for number in numbers]  # noqa: DTZ001 - Parquet times are often without a zone
