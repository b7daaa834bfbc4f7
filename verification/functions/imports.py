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
from dataclasses import dataclass
from pathlib import Path

from samtranslator.yaml_helper import yaml_parse

from chronos_ec2.local.tool_venv import isolated_python

_ROUNDS = 5
_AT_MOST = 1.9
_FLOOR = "boto3 and Logger"
_PEER = "c7n.handler"
_IMPORT = """\
import sys, time
sys.path.insert(0, {folder!r})
start = time.process_time()
import {modules}
print(1000 * (time.process_time() - start))
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """Modules to import and the folder that has them."""

    modules: str
    folder: Path

    def import_ms(self) -> float:
        """CPU milliseconds of one cold import."""
        code = _IMPORT.format(folder=str(self.folder), modules=self.modules)
        done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
        return float(done.stdout)


def handler_import_ms(built: Path) -> dict[str, float]:
    """Median CPU milliseconds of each function's handler, of boto3 and the logger, and of Cloud Custodian's handler.

    `built` is the output folder of `sam build`, such as `.aws-sam/build`.
    """
    functions = {
        name: resource["Properties"]["Handler"].rpartition(".")[0]
        for name, resource in yaml_parse((built / "template.yaml").read_text())["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    with tempfile.TemporaryDirectory() as scratch:
        bundles = {name: Path(scratch) / name for name in functions}
        for name, bundle in bundles.items():
            shutil.copytree(built / name, bundle)
            compileall.compile_dir(bundle, quiet=1)
        any_bundle = next(iter(bundles.values()))
        subjects = {name: Subject(module, bundles[name]) for name, module in functions.items()}
        subjects["boto3"] = Subject("boto3", any_bundle)
        subjects[_FLOOR] = Subject("boto3, aws_lambda_powertools.logging", any_bundle)
        subjects[_PEER] = Subject("c7n.handler", _peer())
        times: dict[str, list[float]] = {name: [] for name in subjects}
        for _ in range(_ROUNDS):
            for name, subject in subjects.items():
                times[name].append(subject.import_ms())
    return {name: round(statistics.median(taken), 1) for name, taken in times.items()}


def slow_handlers(import_ms: Mapping[str, float]) -> list[str]:
    """A line for each handler that takes over 1.9 times as long as boto3 and the logger."""
    ours = import_ms.keys() - {"boto3", _FLOOR, _PEER}
    return [
        f"importing {name} takes {import_ms[name]} ms, over {_AT_MOST} times the {import_ms[_FLOOR]} ms of {_FLOOR}"
        for name in sorted(ours)
        if import_ms[name] > _AT_MOST * import_ms[_FLOOR]
    ]


def _peer() -> Path:
    """The folder of Cloud Custodian's packages; pip has compiled them."""
    lock = Path(__file__).with_name("peer-requirements.txt").read_text()
    python = isolated_python("peer", lock, print)
    show = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([str(python), "-c", show], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())
