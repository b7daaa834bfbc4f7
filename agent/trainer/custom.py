"""Custom trainers, `trainer: module:Class`: their interface, loading and checks (docs/trainer.md)."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.job_config.schema import TrainingConfig


class Trainer(Protocol):
    """The interface of a custom trainer."""

    def __init__(self, config: TrainingConfig) -> None:
        """`config.options` are the trainer's own options. Raise UserError for invalid ones."""

    def train(self, workdir: Workdir, metrics: Metrics, stop: StopSignal) -> Mapping[str, Any]:
        """Train on `workdir.data`, report each step to `metrics`, check `stop`, write the model to `workdir.model`.

        Returns plain JSON: `metrics` (names with numbers), `steps`, and `stopped_early` if SIGTERM ended it. Facts
        known before the first step go to run.json: write them to `workdir.facts` with `write_json`.
        """
        ...


_TRY = "import it on your machine with `python -c`; an instance has those of agent/requirements.txt"
_RESULT = "return names with numbers, texts, lists or mappings, such as {'loss': 0.1}; NaN is none"


def load_trainer(config: TrainingConfig, folder: Path) -> Trainer:
    """Import and create a custom trainer. Raises InvalidInput with a one-line message."""
    module_name, _, class_name = config.trainer.partition(":")
    # Last, so that its files cannot shadow modules of the agent and the libraries.
    sys.path.append(str(folder))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise InvalidInput("trainer", f"{module_name} cannot be imported: {_described(error, folder)}", _TRY) from error
    if not str(module.__file__).startswith(f"{folder}/"):
        raise InvalidInput("trainer", f"{module_name} is the name of another installed module", "rename yours")
    trainer = getattr(module, class_name, None)
    if not isinstance(trainer, type):
        raise InvalidInput("trainer", f"{module_name} has no class {class_name}", "name one as module:Class")
    if not _accepts(trainer, 1):
        raise InvalidInput("trainer", f"{class_name} has no __init__(self, config)", "see docs/trainer.md")
    if not _accepts(getattr(trainer, "train", None), 4):
        raise InvalidInput("trainer", f"{class_name} has no train(self, workdir, metrics, stop)", "see docs/trainer.md")
    created: Trainer = trainer(config)
    return created


def check_result(result: Any, trainer: str) -> dict[str, Any]:
    """Check what a custom trainer returned. Raises InvalidInput if it is not JSON."""
    if not isinstance(result, Mapping):
        problem = f"{trainer} returned {type(result).__name__} instead of a mapping"
        raise InvalidInput("trainer", problem, _RESULT)
    try:
        json.dumps(dict(result), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            "trainer", f"{trainer} returned a result that is not JSON: {one_line(str(error))}", _RESULT
        ) from error
    return dict(result)


def _accepts(function: Any, arguments: int) -> bool:
    """Whether a function can be called with so many arguments."""
    try:
        inspect.signature(function).bind(*[None] * arguments)
    except TypeError:
        return False
    return True


def _described(error: Exception, folder: Path) -> str:
    """An exception, with the last line of the user's code in its traceback."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename.startswith(f"{folder}/")]
    place = f" ({frames[-1].filename.removeprefix(f'{folder}/')}, line {frames[-1].lineno})" if frames else ""
    return one_line(f"{type(error).__name__}: {error}{place}")
