"""From a Parquet file of ten million rows to training input. `python -m benchmarks.training.parquet READER FILE`.

Each reading is a process of its own, for its peak memory; the readers are `pandas`, `ours`, `reopen`, `second_start`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.data.ingest.read import read_panel
from agent.data.panel import open_panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.workdir import Workdir
from benchmarks.training.workload import HORIZON, ROUNDS, Section, ratio
from chronos_ec2.job_config.data import Data
from chronos_ec2.job_config.schema import TrainingConfig

_ROWS, _LENGTH, _FILES = 10_000_000, 1_000, 1_000
_DATA = Data.model_validate({"path": "x", "known_covariates": ["price", "heat", "kind"]})


def parquet() -> Section:
    """Time, and peak memory beyond that of the imports."""
    figures: dict[str, Any] = {}
    lines = [
        "| rows | pandas, s | ours, s | ratio | pandas, MB | ours, MB | share |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for order in ("sorted", "shuffled"):
            path = Path(folder) / f"{order}.parquet"
            _write_parquet(path, order == "shuffled")
            read = [(_read_in_process("pandas", path), _read_in_process("ours", path)) for _ in range(ROUNDS)]
            found = ratio([one["seconds"] for one, _ in read], [two["seconds"] for _, two in read])
            memory = [statistics.median(one[side]["megabytes"] for one in read) for side in (0, 1)]
            figures[order] = found | {"megabytes": memory, "memory_share": round(memory[1] / memory[0], 3)}
            lines.append(
                f"| {order} | {found['stock']:.1f} | {found['ours']:.1f} | {found['ratio']:.2f} | {memory[0]:.0f} "
                f"| {memory[1]:.0f} | {memory[1] / memory[0]:.2f} |"
            )
        many = _split(Path(folder) / "sorted.parquet", Path(folder) / "many")
        one_file = Path(folder) / "sorted.parquet"
        rounds = [[_read_in_process("ours", one)["seconds"] for one in (one_file, many)] for _ in range(ROUNDS)]
        of_many = ratio(*zip(*rounds, strict=True))
        again = {}
        for reader in ("reopen", "second_start"):
            seconds = [_read_in_process(reader, path)["seconds"] for _ in range(ROUNDS)]
            again[f"{reader}_ms"] = round(1e3 * statistics.median(seconds), 2)
        size = path.stat().st_size / 1e6
    lines.append(
        f"\nReopening the panel takes {again['reopen_ms']} ms. A second start on the same instance, which first hashes "
        f"the file ({size:.0f} MB, SHA-256), takes {again['second_start_ms']} ms."
    )
    lines.append(
        f"The sorted rows in {_FILES:,} files take {of_many['ours']:.1f} s, in one file {of_many['stock']:.1f} s: "
        f"ratio {of_many['ratio']:.2f}."
    )
    text = "10,000 series of 1,000 points with three known covariates, one of them text. pandas is `read_parquet` "
    text += "and `chronos.chronos2.preprocess.from_data_frame`. Each reading is a process.\n\n" + "\n".join(lines)
    return Section("Parquet to training", {"parquet_to_ready": figures, "many_files": of_many, **again}, text)


def _write_parquet(path: Path, shuffled: bool) -> None:
    random = np.random.default_rng(0)
    count = _ROWS // _LENGTH
    order = random.permutation(_ROWS) if shuffled else slice(None)
    days = np.datetime64("2020-01-01", "ms") + np.arange(_LENGTH) * np.timedelta64(1, "D")
    table = {
        "item_id": pa.array(np.repeat([f"item_{index:05d}" for index in range(count)], _LENGTH)[order]),
        "timestamp": np.tile(days, count)[order],
        "target": random.normal(size=_ROWS).astype(np.float32)[order],
        "price": random.normal(size=_ROWS).astype(np.float32)[order],
        "heat": random.normal(size=_ROWS).astype(np.float32)[order],
        "kind": pa.array(np.array(["a", "b", "c"])[random.integers(3, size=_ROWS)][order]),
    }
    pq.write_table(pa.table(table), path, compression="zstd")


def _split(path: Path, folder: Path) -> Path:
    """The rows of a file in many files."""
    folder.mkdir()
    table = pq.read_table(path)
    rows = table.num_rows // _FILES
    for number in range(_FILES):
        pq.write_table(table.slice(number * rows, rows), folder / f"{number:04d}.parquet", compression="zstd")
    return folder


def _read_in_process(reader: str, path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.training.parquet", reader, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Read once; print seconds and megabytes."""
    read = _READERS[sys.argv[1]](Path(sys.argv[2]))
    # Reset the peak, because imports temporarily need more memory than they keep.
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak_kb()
    began = time.perf_counter()
    found = read()
    seconds = time.perf_counter() - began
    assert len(found) == _ROWS // _LENGTH
    print(json.dumps({"seconds": seconds, "megabytes": (_peak_kb() - before) / 1024}))


def _pandas(path: Path) -> Callable[[], Any]:
    import pandas as pd  # noqa: PLC0415
    from chronos.chronos2 import preprocess  # noqa: PLC0415

    return lambda: preprocess.from_data_frame(
        pd.read_parquet(path),
        target_columns=["target"],
        prediction_length=HORIZON,
        known_covariates_names=_DATA.known_covariates,
    )


def _ours(path: Path) -> Callable[[], Any]:
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    return lambda: read_panel(files, _DATA, 2 * HORIZON, path.with_suffix(".panel"))


def _reopen(path: Path) -> Callable[[], Any]:
    return lambda: open_panel(path.with_suffix(".panel"))


def _second_start(path: Path) -> Callable[[], Any]:
    """What the trainer does with a data set that this instance has read before."""
    from agent.chronos.batching.load import load_panel  # noqa: PLC0415

    workdir = Workdir(path.with_suffix(".workdir"))
    config = TrainingConfig.model_validate({"data": _DATA, "prediction_length": HORIZON})
    if not workdir.data.exists():
        workdir.create()
        (workdir.data / path.name).symlink_to(path)
    metrics = Metrics(workdir.metrics)
    load_panel(workdir, config, metrics)
    return lambda: load_panel(workdir, config, metrics)[1]


_READERS = {"pandas": _pandas, "ours": _ours, "reopen": _reopen, "second_start": _second_start}


def _peak_kb() -> int:
    """Peak resident memory of this process. Not `getrusage`, which starts from the parent's."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0])


if __name__ == "__main__":
    main()
