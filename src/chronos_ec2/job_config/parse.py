"""Parse a configuration. Unknown keys are refused with a suggestion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import did_you_mean, one_line
from chronos_ec2.input_files import read_input, shown
from chronos_ec2.job_config.data import Section
from chronos_ec2.job_config.jobs import JOBS, JobConfig
from chronos_ec2.job_config.schema import TrainingConfig

_ELSEWHERE = {
    "parquet_loader_config": "data",
    "covariate_config": "data.past_covariates and data.known_covariates",
    "incremental_training_config": "model.base and evaluation.champion",
}
"""The other three configuration files of the previous system, and the sections that replace them."""


MAX_BYTES = 1 << 20
"""How large a configuration file may be."""
MAX_VALUES = 100_000
"""How many keys and values a document may have once its aliases are replaced: a few lines can stand for billions."""


def moved_to(name: str) -> str | None:
    """The keys of train.yaml that replace a configuration file of this name; None for any other name."""
    return _ELSEWHERE.get(name.partition(".")[0])


def load_config(path: Path) -> JobConfig:
    """Read a YAML file. Raises InvalidInput, which names file and key."""
    return parse_config(load_document(path), shown(path))


def load_document(path: Path) -> Any:
    """Read a YAML file without validating it. Raises InvalidInput."""
    return _document(read_config(path), shown(path))


def read_config(path: Path) -> bytes:
    """The content of a YAML file. Raises InvalidInput."""
    if (section := moved_to(path.name)) is not None:
        raise InvalidInput(
            shown(path), "is no longer a separate file", f"put its content under {section} in train.yaml"
        )
    return read_input(path, MAX_BYTES, remedy="name a configuration in YAML, such as train.yaml")


def parse_yaml(raw: bytes, where: str) -> JobConfig:
    """Parse YAML. Raises InvalidInput; `where` names the document."""
    return parse_config(_document(raw, where), where)


def parse_config(document: Any, where: str) -> JobConfig:
    """Validate a document by the schema of its `job`. Raises InvalidInput; `where` names the document."""
    if not isinstance(document, dict):
        raise InvalidInput(where, "must be a mapping of keys", "docs/configuration.md has them all")
    job = document.get("job", "train")
    schema = JOBS.get(job) if isinstance(job, str) else None
    if schema is None:
        problem = f"job: must be train, forecast or evaluate, not {one_line(str(job), 40)!r}"
        raise InvalidInput(where, problem, "leave it out to train")
    try:
        return schema.model_validate(document)
    except ValidationError as error:
        problems = "; ".join(_explain(problem, schema) for problem in error.errors())
        raise InvalidInput(where, problems, f"docs/configuration.md has every key of job: {job}") from error


def parse_training(document: Any, where: str) -> TrainingConfig:
    """Validate the document of a training job. Raises InvalidInput."""
    config = parse_config(document, where)
    if not isinstance(config, TrainingConfig):
        raise InvalidInput(where, f"is of job {config.job}, not train", "write job: train, or leave it out")
    return config


def _document(raw: bytes, where: str) -> Any:
    try:
        loader = yaml.SafeLoader(raw)
        node = loader.get_single_node()
        if _has_more_than(MAX_VALUES, node):
            raise InvalidInput(where, f"has more than {MAX_VALUES:,} values, its aliases replaced", "shorten it")
        if (key := _twice(node)) is not None:
            raise InvalidInput(where, f"has key {one_line(key, 80)} twice in one mapping", "leave out one of them")
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        remedy = "mend the line that it names; docs/configuration.md has an example of each key"
        raise InvalidInput(where, "is not YAML: " + " ".join(str(error).split()), remedy) from error


def _has_more_than(limit: int, node: yaml.Node | None) -> bool:
    """Whether a document has more nodes, each counted wherever an alias stands for it."""
    left, seen = [node] if node else [], 0
    while left and seen <= limit:
        value, seen = left.pop().value, seen + 1
        if isinstance(value, list):  # of a sequence, or pairs of a mapping
            left += [part for parts in value for part in (parts if isinstance(parts, tuple) else (parts,))]
    return bool(left)


def _twice(node: yaml.Node | None) -> str | None:
    """A key that a mapping of the document has twice, of which YAML would take the last."""
    left, seen = [node] if node else [], set[int]()
    while left:
        one = left.pop()
        if id(one) in seen or not isinstance(one.value, list):
            continue
        seen.add(id(one))
        pairs = one.value if isinstance(one, yaml.MappingNode) else []
        names = [key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode)]
        if twice := [name for name in names if names.count(name) > 1]:
            return str(twice[0])
        left += [value for _, value in pairs] if pairs else one.value
    return None


def _explain(problem: Any, schema: type[Section]) -> str:
    path = tuple(str(part) for part in problem["loc"])
    name = ".".join(path)
    if problem["type"] == "extra_forbidden":
        if path[-1] in _UNSUPPORTED:
            return f"unknown key {name}: {_UNSUPPORTED[path[-1]]}"
        if others := [job for job, other in JOBS.items() if len(path) == 1 and name in other.model_fields]:
            return f"unknown key {name}, which is for job: {' or '.join(others)}"
        return f"unknown key {name}" + (f", {near}" if (near := _suggestion(path, schema)) else "")
    if problem["type"] == "missing":
        return f"{name} is missing"
    return f"{name or 'configuration'}: {problem['msg'].removeprefix('Value error, ')}"


_STATIC = "Chronos-2 scales each row by itself, so a constant row carries no information; see docs/training.md"
_UNSUPPORTED = {"static": _STATIC, "static_covariates": _STATIC, "static_features": _STATIC}


def _suggestion(path: tuple[str, ...], schema: type[Section]) -> str:
    """Suggest the key of the same name in another section, or a similar one in the same section."""
    *section, name = path
    sections = _sections(schema.model_json_schema())
    elsewhere = [(*other, name) for other, keys in sections.items() if name in keys]
    if elsewhere:
        return f"did you mean {'.'.join(elsewhere[0])}?"
    return did_you_mean(name, sections.get(tuple(section), []))


def _sections(schema: dict[str, Any]) -> dict[tuple[str, ...], list[str]]:
    """The keys of each section by its path, the outer ones first."""
    found: dict[tuple[str, ...], list[str]] = {}
    waiting: list[tuple[tuple[str, ...], dict[str, Any]]] = [((), schema)]
    for path, node in waiting:
        reference = next((option["$ref"] for option in (node, *node.get("anyOf", [])) if "$ref" in option), None)
        keys = (schema["$defs"][reference.rsplit("/", 1)[1]] if reference else node).get("properties")
        if keys:
            found[path] = list(keys)
            waiting += [((*path, name), inner) for name, inner in keys.items()]
    return found
