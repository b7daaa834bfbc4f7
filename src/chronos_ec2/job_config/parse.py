"""Parse a training configuration. Unknown keys are refused with a suggestion."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.schema import Model, TrainingConfig

_ELSEWHERE = {
    "parquet_loader_config": "data",
    "covariate_config": "data.past_covariates and data.known_covariates",
    "incremental_training_config": "model.base and evaluation.champion",
}
"""The other three configuration files of the previous system, and the sections that replace them."""


def moved_to(name: str) -> str | None:
    """The keys of train.yaml that replace a configuration file of this name; None for any other name."""
    return _ELSEWHERE.get(name.partition(".")[0])


def load_config(path: Path) -> TrainingConfig:
    """Read a YAML file. Raises InvalidInput, which names file and key."""
    if (section := moved_to(path.name)) is not None:
        raise InvalidInput(str(path), "is no longer a separate file", f"put its content under {section} in train.yaml")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InvalidInput(str(path), "cannot be read", str(error.strerror)) from error
    return parse_yaml(raw, str(path))


def parse_yaml(raw: bytes, where: str) -> TrainingConfig:
    """Parse YAML. Raises InvalidInput; `where` names the document."""
    try:
        document = yaml.safe_load(raw)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        remedy = "mend the line that it names; docs/configuration.md has an example of each key"
        raise InvalidInput(where, "is not YAML: " + " ".join(str(error).split()), remedy) from error
    return parse_config(document, where)


def parse_config(document: Any, where: str) -> TrainingConfig:
    """Validate a document. Raises InvalidInput; `where` names the document."""
    if not isinstance(document, dict):
        raise InvalidInput(where, "must be a mapping of keys", "docs/configuration.md has them all")
    try:
        return TrainingConfig.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(where, "; ".join(_explain(problem) for problem in error.errors())) from error


def _explain(problem: Any) -> str:
    path = tuple(str(part) for part in problem["loc"])
    name = ".".join(path)
    if problem["type"] == "extra_forbidden":
        if path[-1] in _UNSUPPORTED:
            return f"unknown key {name}: {_UNSUPPORTED[path[-1]]}"
        return f"unknown key {name}" + (f", did you mean {near}?" if (near := _suggestion(path)) else "")
    if problem["type"] == "missing":
        return f"{name} is missing"
    return f"{name or 'configuration'}: {problem['msg'].removeprefix('Value error, ')}"


_STATIC = "Chronos-2 scales each row by itself, so a constant row carries no information; see docs/training.md"
_UNSUPPORTED = {"static": _STATIC, "static_covariates": _STATIC, "static_features": _STATIC}


def _suggestion(path: tuple[str, ...]) -> str | None:
    """Suggest the key of the same name in another section, or a similar one in the same section."""
    *section, name = path
    sections = [(), *((key,) for key in TrainingConfig.model_fields), *(("model", key) for key in Model.model_fields)]
    sections += [("training", "early_stopping"), ("data", "problems")]
    elsewhere = [(*other, name) for other in sections if name in _keys_at(other)]
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
