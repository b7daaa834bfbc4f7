"""One forecast from Parquet to Parquet in this process: `python -m benchmarks.forecast.sides SIDE FOLDER MODEL GB`.

`ours` is the forecast job's own code. `whole` reads the file with pandas and calls `predict_df` once. `chunks` calls it
for each row group: the files hold whole series in the same order, which a file of a user need not. `tensors` also reads
by row group, and calls `pipeline.predict` with one array: it checks nothing, and takes series of one length only.

The last line is JSON: seconds, processor seconds, peak memory of the process in MB, and the number of rows; or the
limit in GB that was not enough.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from chronos import Chronos2Pipeline
from transformers.utils import logging as transformers_logging

from agent.chronos.forecast.job import run
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from benchmarks.forecast.dataset import CONTEXT, FUTURE, HISTORY
from benchmarks.training.workload import HORIZON
from chronos_ec2.job_config.jobs import ForecastConfig

_MODEL, _BATCH = "amazon/chronos-2", 256
_LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def main(side: str, folder: Path, model: Path, limit_gb: float) -> None:
    """Forecast once, with at most so much address space beyond that of the imports."""
    torch.set_num_threads(1)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    size = int(_status("VmSize") * 1024 + limit_gb * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    # Reset the peak, because imports temporarily need more memory than they keep.
    Path("/proc/self/clear_refs").write_text("5")
    began, used = time.perf_counter(), time.process_time()
    try:
        rows = SIDES[side](folder, model)
    except (MemoryError, pa.ArrowException, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        sys.stdout.write(json.dumps({"out_of_memory_gb": limit_gb}) + "\n")
        return
    seconds = time.perf_counter() - began
    found = {
        "seconds": round(seconds, 2), "cpu_seconds": round(time.process_time() - used, 2),
        "peak_mb": round(_status("VmHWM") / 1024), "rows": rows,
    }  # fmt: skip
    sys.stdout.write(json.dumps(found) + "\n")


def out_of_memory(error: BaseException) -> bool:
    """Whether memory was not enough: torch says so in words, and Arrow that it cannot make a Python object."""
    return isinstance(error, MemoryError) or bool(re.search(r"memory|Wrapping .* failed", str(error)))


def _status(name: str) -> int:
    """A number of kB about this process."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields[name].split()[0])


def _ours(folder: Path, model: Path) -> int:
    workdir = Workdir(folder / "ours")
    shutil.rmtree(workdir.root, ignore_errors=True)
    workdir.create()
    known = _known(folder)
    workdir.future.mkdir(exist_ok=True)
    for target, source in (
        (workdir.reference(_MODEL), model), (workdir.data / HISTORY, folder / HISTORY),
        *([(workdir.future / FUTURE, folder / FUTURE)] if known else []),
    ):  # fmt: skip
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)
    config = ForecastConfig.model_validate(
        {"job": "forecast", "data": {"path": "x", "known_covariates": known}, "prediction_length": HORIZON,
         "context_length": CONTEXT, "model": _MODEL, "future": bool(known), "batch_size": _BATCH}
    )  # fmt: skip
    with closing(Metrics(workdir.metrics)) as metrics:
        found = run(workdir, config, metrics, StopSignal())
    rows: int = found["forecast"]["rows"]
    return rows


def _known(folder: Path) -> list[str]:
    """The covariates of the data set, all known ahead."""
    names: list[str] = pq.read_schema(folder / HISTORY).names[3:]
    return names


def _whole(folder: Path, model: Path) -> int:
    pipeline = Chronos2Pipeline.from_pretrained(str(model))
    future = pd.read_parquet(folder / FUTURE) if _known(folder) else None
    found = _predict(pipeline, pd.read_parquet(folder / HISTORY), future)
    found.to_parquet(folder / "whole.parquet", compression="zstd")
    return len(found)


def _predict(pipeline: Chronos2Pipeline, history: pd.DataFrame, future: pd.DataFrame | None) -> pd.DataFrame:
    return pipeline.predict_df(
        history, future, prediction_length=HORIZON, quantile_levels=_LEVELS, context_length=CONTEXT,
        batch_size=_BATCH,
    )  # fmt: skip


def _groups(folder: Path) -> Iterator[tuple[pa.Table, pa.Table | None]]:
    history = pq.ParquetFile(folder / HISTORY)
    future = pq.ParquetFile(folder / FUTURE) if _known(folder) else None
    for number in range(history.num_row_groups):
        yield history.read_row_group(number), None if future is None else future.read_row_group(number)


def _chunks(folder: Path, model: Path) -> int:
    pipeline = Chronos2Pipeline.from_pretrained(str(model))
    return _write(
        folder / "chunks.parquet",
        (
            _predict(pipeline, history.to_pandas(), None if future is None else future.to_pandas())
            for history, future in _groups(folder)
        ),
    )


def _tensors(folder: Path, model: Path) -> int:
    pipeline = Chronos2Pipeline.from_pretrained(str(model))

    def frames() -> Iterator[pd.DataFrame]:
        for history, _ in _groups(folder):
            ids = history["item_id"].to_numpy()
            count = len(np.unique(ids))
            values = history["target"].to_numpy().copy().reshape(count, 1, -1)
            found = torch.stack(
                pipeline.predict(values, prediction_length=HORIZON, context_length=CONTEXT, batch_size=_BATCH)
            )
            rank = [pipeline.quantiles.index(level) for level in _LEVELS]
            numbers = found[:, 0, rank].swapaxes(1, 2).reshape(-1, len(_LEVELS)).numpy()
            last = history["timestamp"].to_numpy().reshape(count, -1)[:, -1:]
            times = (last + np.arange(1, HORIZON + 1) * np.timedelta64(1, "D")).ravel()
            columns = {"item_id": np.repeat(ids[:: len(ids) // count], HORIZON), "timestamp": times}
            quantiles = {str(level): numbers[:, place] for place, level in enumerate(_LEVELS)}
            yield pd.DataFrame(columns | {"target_name": "target", "predictions": quantiles["0.5"]} | quantiles)

    return _write(folder / "tensors.parquet", frames())


def _write(path: Path, frames: Iterator[pd.DataFrame]) -> int:
    writer: Any = None
    rows = 0
    for frame in frames:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
        rows += len(frame)
    writer.close()
    return rows


SIDES: dict[str, Callable[[Path, Path], int]] = {
    "ours": _ours, "whole": _whole, "chunks": _chunks, "tensors": _tensors
}  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
