"""Parse a training configuration; every unknown key is refused with a suggestion."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.training_config.schema import Model, TrainingConfig

_ELSEWHERE = {
    "parquet_loader_config": "data",
    "covariate_config": "data.past_covariates and data.known_covariates",
    "incremental_training_config": "model.base and evaluation.champion",
}
"""Names that configurations had in the system before this one, which had four, and where their content belongs now."""


def moved_to(name: str) -> str | None:
    """The keys of train.yaml that took the place of a configuration file of that name, None for any other name."""
    return _ELSEWHERE.get(name.partition(".")[0])


def load_config(path: Path) -> TrainingConfig:
    """The configuration in a YAML file. Raises InvalidInput that names file and key."""
    if (section := moved_to(path.name)) is not None:
        raise InvalidInput(str(path), "is no configuration of its own any more", f"train.yaml has it under {section}")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InvalidInput(str(path), "cannot be read", str(error.strerror)) from error
    return parse_yaml(raw, str(path))


def parse_yaml(raw: bytes, where: str) -> TrainingConfig:
    """The configuration in YAML text. Raises InvalidInput; `where` names the document."""
    try:
        document = yaml.safe_load(raw)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(where, "is not YAML: " + " ".join(str(error).split())) from error
    return parse_config(document, where)


def parse_config(document: Any, where: str) -> TrainingConfig:
    """The configuration in a document. Raises InvalidInput; `where` names the document."""
    if not isinstance(document, dict):
        raise InvalidInput(where, "must be a mapping of keys, see docs/configuration.md")
    try:
        return TrainingConfig.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(where, "; ".join(_explain(problem) for problem in error.errors())) from error


def _explain(problem: Any) -> str:
    path = tuple(str(part) for part in problem["loc"])
    name = ".".join(path)
    if problem["type"] == "extra_forbidden":
        if path[-1] in _NO_KEY:
            return f"unknown key {name}: {_NO_KEY[path[-1]]}"
        return f"unknown key {name}" + (f", did you mean {near}?" if (near := _meant(path)) else "")
    if problem["type"] == "missing":
        return f"{name} is missing"
    return f"{name or 'configuration'}: {problem['msg'].removeprefix('Value error, ')}"


_STATIC = (
    "a row that is the same throughout says nothing to Chronos-2, which scales each by itself; see docs/training.md"
)
_NO_KEY = {"static": _STATIC, "static_covariates": _STATIC, "static_features": _STATIC}


def _meant(path: tuple[str, ...]) -> str | None:
    """The key of that very name in another section, or one that is written much like it in this one."""
    *section, name = path
    places = [(), *((one,) for one in TrainingConfig.model_fields), *(("model", one) for one in Model.model_fields)]
    places += [("training", "early_stopping"), ("data", "problems")]
    elsewhere = [(*place, name) for place in places if name in _keys_at(place)]
    if elsewhere:
        return ".".join(elsewhere[0])
    return next(iter(difflib.get_close_matches(name, _keys_at(tuple(section)), n=1)), None)


def _keys_at(path: tuple[str, ...]) -> list[str]:
    schema = TrainingConfig.model_json_schema()
    node: dict[str, Any] = schema
    for part in path:
        node = node.get("properties", {}).get(part, {})
        reference = next((option["$ref"] for option in (node, *node.get("anyOf", [])) if "$ref" in option), None)
        if reference:
            node = schema["$defs"][reference.rsplit("/", 1)[1]]
    return list(node.get("properties", {}))
