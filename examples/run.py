"""Train and evaluate an example on this machine, without AWS.

    python -m examples.run m3_monthly [--config demo.yaml] [--validation] [--output FOLDER]

With `--validation` the test set is cut off first, and the windows before it are evaluated: the examples' settings were
chosen on those.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from agent.protocol.workdir import Workdir
from chronos_ec2.domain.errors import UserError
from chronos_ec2.job_config.parse import load_config
from chronos_ec2.job_config.schema import TrainingConfig

_HERE = Path(__file__).parent


def main(arguments: list[str] | None = None) -> int:
    """Run an example; the exit code is the trainer's."""
    parser = argparse.ArgumentParser(
        prog="examples.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=sorted(path.parent.name for path in _HERE.glob("*/prepare.py")))
    parser.add_argument("--config", default="train.yaml", help="a file next to the example's prepare.py")
    parser.add_argument("--validation", action="store_true", help="evaluate the windows before the test set")
    parser.add_argument("--output", type=Path, help="build/examples/NAME by default; existing contents are deleted")
    options = parser.parse_args(arguments)
    try:
        config = load_config(_HERE / options.name / options.config)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    folder = options.output or Path("build") / "examples" / options.name
    return run(options.name, config, folder, validation=options.validation)


def run(name: str, config: TrainingConfig, folder: Path, *, validation: bool = False) -> int:
    """Train an example in a folder, which is emptied first, and print the report."""
    shutil.rmtree(folder, ignore_errors=True)
    workdir = Workdir(folder)
    workdir.create()
    importlib.import_module(f"examples.{name}.prepare").main(workdir.data)
    if validation:
        for path in workdir.data.glob("*.parquet"):
            pq.write_table(without_test(pq.read_table(path), config), path)
    workdir.config.write_text(config.model_dump_json())
    code = subprocess.run([sys.executable, "-m", "agent.trainer", "--workdir", str(folder)], check=False).returncode
    if code == 0:
        result = json.loads(workdir.result.read_text())
        print((workdir.evaluation / "report.md").read_text())
        print(f"{result['steps']} steps, {result['parameters']:,} parameters; seconds: {result['seconds']}; {folder}")
    return code


def without_test(table: pa.Table, config: TrainingConfig) -> pa.Table:
    """A table sorted by series and time, without the test windows of the evaluated series."""
    rows = table.to_pandas()
    left = rows.groupby(config.data.item_id, sort=False).cumcount(ascending=False)
    items = rows[config.data.item_id].astype(str).agg("/".join, axis=1)
    evaluated = items.map(lambda item: fnmatchcase(item, config.evaluation.series))
    test = config.evaluation.windows * config.prediction_length
    return table.filter(pa.array(~evaluated | (left >= test)))


if __name__ == "__main__":
    sys.exit(main())
