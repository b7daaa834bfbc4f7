"""A trainer of the user's own, `trainer: module:Class`: what it has to have, and how it gets onto the box."""

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
from chronos_ec2.training_config.schema import TrainingConfig


class Trainer(Protocol):
    """What a class has to be to be named as the trainer of a configuration."""

    def __init__(self, config: TrainingConfig) -> None:
        """`config.options` is the class's own part. Raise UserError for what cannot be trained."""

    def train(self, workdir: Workdir, metrics: Metrics, stop: StopSignal) -> Mapping[str, Any]:
        """Train on `workdir.data`, tell `metrics` of each step, look at `stop`, leave the model in `workdir.model`.

        The result is plain JSON: `metrics`, names with numbers, `steps`, `stopped_early` when SIGTERM ended it. What is
        known before the first step, as `child.write_json` puts it into `workdir.facts`, goes to run.json.
        """
        ...


def load_trainer(config: TrainingConfig, folder: Path) -> Trainer:
    """The trainer that a configuration names, made. Raises InvalidInput in one line for whatever is wrong with it."""
    module_name, _, class_name = config.trainer.partition(":")
    # Last: what the agent and the library are made of is found first, whatever the module and its files are called.
    sys.path.append(str(folder))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise InvalidInput("trainer", f"{module_name} cannot be imported: {_described(error, folder)}") from error
    if not str(module.__file__).startswith(f"{folder}/"):
        raise InvalidInput("trainer", f"{module_name} is the name of another module on the box", "rename yours")
    trainer = getattr(module, class_name, None)
    if not isinstance(trainer, type):
        raise InvalidInput("trainer", f"{module_name} has no class {class_name}")
    if not _takes(trainer, 1):
        raise InvalidInput("trainer", f"{class_name} is not made from a config alone", "see docs/trainer.md")
    if not _takes(getattr(trainer, "train", None), 4):
        raise InvalidInput("trainer", f"{class_name} has no train(self, workdir, metrics, stop)", "see docs/trainer.md")
    made: Trainer = trainer(config)
    return made


def checked(result: Any, trainer: str) -> dict[str, Any]:
    """What a trainer of the user's own has returned. Raises InvalidInput when JSON cannot hold it."""
    if not isinstance(result, Mapping):
        raise InvalidInput("trainer", f"{trainer} returned {type(result).__name__}, and should return a mapping")
    try:
        json.dumps(dict(result), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput("trainer", f"{trainer} returned what JSON cannot hold: {one_line(str(error))}") from error
    return dict(result)


def _takes(function: Any, arguments: int) -> bool:
    """Whether something can be called with so many arguments."""
    try:
        inspect.signature(function).bind(*[None] * arguments)
    except TypeError:
        return False
    return True


def _described(error: Exception, folder: Path) -> str:
    """An exception with the place in the user's own code that it comes from."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename.startswith(f"{folder}/")]
    place = f" ({frames[-1].filename.removeprefix(f'{folder}/')}, line {frames[-1].lineno})" if frames else ""
    return one_line(f"{type(error).__name__}: {error}{place}")
