"""The import time of each handler from its built bundle, next to that of boto3 and the logger alone.

Each subject is imported by a fresh interpreter with the standard library and one folder of compiled byte code. CPU time
is measured inside it, so other load on the machine does not count. Subjects take turns.
"""

from __future__ import annotations

import compileall
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from samtranslator.yaml_helper import yaml_parse

from chronos_ec2.local.sam_invoke import functions

_ROUNDS = 5
_AT_MOST = 1.9
_FLOOR = "boto3 and Logger"
_IMPORT = """\
import sys, time
sys.path.insert(0, {folder!r})
start = time.process_time()
import {modules}
print(1000 * (time.process_time() - start))
"""


def handler_import_ms(built: Path) -> dict[str, float]:
    """Median CPU milliseconds of each function's handler, and of boto3 and the logger.

    `built` is the output folder of `sam build`, such as `.aws-sam/build`.
    """
    resources = yaml_parse((built / "template.yaml").read_text())["Resources"]
    subjects: dict[str, tuple[str, Path]] = {}
    """Modules to import and the folder that has them."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in functions():
            bundle = Path(scratch) / name
            shutil.copytree(built / name, bundle)
            compileall.compile_dir(bundle, quiet=1)
            subjects[name] = (resources[name]["Properties"]["Handler"].rpartition(".")[0], bundle)
        subjects[_FLOOR] = ("boto3, aws_lambda_powertools.logging", bundle)
        rounds = [{name: _import_ms(*subject) for name, subject in subjects.items()} for _ in range(_ROUNDS)]
    return {name: round(statistics.median(times[name] for times in rounds), 1) for name in subjects}


def _import_ms(modules: str, folder: Path) -> float:
    code = _IMPORT.format(folder=str(folder), modules=modules)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def slow_handlers(import_ms: Mapping[str, float]) -> list[str]:
    """A line for each handler that takes over 1.9 times as long as boto3 and the logger."""
    floor = import_ms[_FLOOR]
    return [
        f"importing {name} takes {taken} ms, over {_AT_MOST} times the {floor} ms of {_FLOOR}"
        for name, taken in sorted(import_ms.items())
        if taken > _AT_MOST * floor
    ]
