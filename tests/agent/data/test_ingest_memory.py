"""Reading a data set takes much less memory than a table of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

_SERIES, _LENGTH = 3_000, 1_000
_BYTES_A_ROW = 65
"""In pandas, with strings as objects, such a row takes 90, and sorting as much again."""
_READ_AHEAD_BYTES = 50 << 20
"""What Arrow decodes ahead does not depend on the number of rows."""

_READ = """
import sys
from pathlib import Path
import pandas  # pyarrow imports it at the first conversion
from agent.data.ingest.read import read_panel
from chronos_ec2.job_config.data import Data

def kilobytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])

data = Data.model_validate({"path": "x", "known_covariates": ["price", "kind"]})
before = kilobytes("VmRSS")
panel = read_panel([Path(sys.argv[1])], data, 1, Path(sys.argv[1]).with_suffix(".panel"))
assert panel.lengths.tolist() == [1_000] * 3_000
print(1024 * (kilobytes("VmHWM") - before))
"""


@pytest.mark.parametrize("shuffled", [False, True], ids=["sorted", "shuffled"])
def test_reading_takes_a_bounded_number_of_bytes_per_row(tmp_path: Path, shuffled: bool) -> None:
    path = tmp_path / "data.parquet"
    write(path, shuffled)
    done = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, check=True)
    assert (int(done.stdout) - _READ_AHEAD_BYTES) / (_SERIES * _LENGTH) < _BYTES_A_ROW


def write(path: Path, shuffled: bool) -> None:
    random = np.random.default_rng(0)
    rows = _SERIES * _LENGTH
    order = random.permutation(rows) if shuffled else np.arange(rows)
    columns = {
        "item_id": pa.array([f"item_{index:05d}" for index in range(_SERIES)]).take(pa.array(order // _LENGTH)),
        "timestamp": np.datetime64("2020-01-01", "ms") + (order % _LENGTH) * np.timedelta64(1, "D"),
        "target": random.normal(size=rows).astype(np.float32),
        "price": random.normal(size=rows),
        "kind": pa.array(["a", "b", "c"]).take(pa.array(random.integers(3, size=rows))),
    }
    pq.write_table(pa.table(columns), path)
