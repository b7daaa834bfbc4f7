"""A sweep: a base configuration, and the values to try of single keys. Each combination, or some drawn at random."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.groups.order import MAX_MEMBERS
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.job_config.data import Section
from chronos_ec2.job_config.held_out import choices
from chronos_ec2.job_config.parse import load_document, parse_training
from chronos_ec2.job_config.schema import TrainingConfig

_SAME = {
    "job": "a sweep compares trainings; job: evaluate compares models without training",
    "trainer": "a sweep compares trainings of trainer: chronos, which scores them all in the same way",
    "data": "scores on other series or windows cannot be compared; a sweep for each data set tells more",
    "prediction_length": "a shorter horizon has better scores and is no better; a sweep for each horizon tells more",
    "evaluation": "scores on other windows cannot be compared; set it in the base, the same for all",
}
"""What no configuration may differ in, and why: all are compared on the same windows."""


class Grid(Section):
    """The file of a sweep."""

    base: str | dict[str, Any]
    """The configuration that all have in common: a file beside this one, or its keys."""
    values: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)]
    """By dotted key, the values to try."""
    random: int | None = Field(None, ge=2)
    """Try so many combinations, drawn at random; all of them by default."""
    seed: int = Field(0, ge=0)


@dataclass(frozen=True, slots=True)
class Sweep:
    """A configuration, the file that it was read from, and the changes of each member."""

    base: dict[str, Any]
    path: Path
    changes: tuple[dict[str, Any], ...]

    def config(self, changes: Mapping[str, Any]) -> TrainingConfig:
        """A configuration with some changes. Raises InvalidInput."""
        document = copy.deepcopy(self.base)
        for key, value in changes.items():
            *sections, name = key.split(".")
            section = document
            for each in sections:
                section[each] = section[each] if isinstance(section.get(each), dict) else {}
                section = section[each]
            section[name] = value
        said = ", ".join(f"{key}: {one_line(str(value), 40)}" for key, value in changes.items())
        return parse_training(document, f"{self.path} with {said}" if said else str(self.path))


def load_sweep(path: Path) -> Sweep:
    """Read the file of a sweep, and check every configuration. Raises InvalidInput, which names file and key."""
    document = load_document(path)
    try:
        grid = Grid.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        remedy = "base: train.yaml, and values: {training.learning_rate: [0.00001, 0.0001]}"
        raise InvalidInput(str(path), f"{where}: {first['msg']}", remedy) from error
    for key in grid.values:
        if why := _SAME.get(key.partition(".")[0]):
            raise InvalidInput(str(path), f"values: {key} cannot be varied", why)
    base_path = path.parent / grid.base if isinstance(grid.base, str) else path
    base = load_document(base_path) if isinstance(grid.base, str) else grid.base
    if not isinstance(base, dict):
        raise InvalidInput(str(base_path), "must be a mapping of keys", "docs/configuration.md has them all")
    sweep = Sweep(base, base_path, _combinations(grid, path))
    for changes in ({}, *sweep.changes):
        _check_windows(sweep.config(changes), base_path)
    return sweep


def _combinations(grid: Grid, path: Path) -> tuple[dict[str, Any], ...]:
    lengths = [len(values) for values in grid.values.values()]
    count = math.prod(lengths)
    if grid.random is None and not 2 <= count <= MAX_MEMBERS:
        problem = f"values: {count:,} combinations, and a sweep has from 2 to {MAX_MEMBERS}"
        raise InvalidInput(str(path), problem, "random: 20 tries so many of them")
    if grid.random is not None and grid.random > min(count, MAX_MEMBERS):
        raise InvalidInput(str(path), f"random: at most {min(count, MAX_MEMBERS)}", f"there are {count:,} combinations")
    chosen = range(count) if grid.random is None else random.Random(grid.seed).sample(range(count), grid.random)
    return tuple(_combination(grid.values, number) for number in chosen)


def _combination(values: Mapping[str, list[Any]], number: int) -> dict[str, Any]:
    found = {}
    for key, each in reversed([*values.items()]):
        number, index = divmod(number, len(each))
        found[key] = each[index]
    return dict(reversed([*found.items()]))


def _check_windows(config: TrainingConfig, path: Path) -> None:
    """Raise InvalidInput for a configuration without windows to compare it on, beside those of the test."""
    if config.trainer != "chronos":
        raise InvalidInput(str(path), f"trainer {config.trainer} is not compared with others", "trainer: chronos")
    if "selection" not in choices(config):
        problem = "has no windows before the test to compare configurations on"
        raise InvalidInput(str(path), problem, "name model.base, and leave evaluation.export at better")
