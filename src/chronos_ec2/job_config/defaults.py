"""Defaults by instance type for keys that a configuration leaves out.

They are resolved once, at launch, and stored with the run: a later attempt may run on another type, and must continue
with the same batches. The table is a proposal based on memory and cores; nothing in it was measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chronos_ec2.job_config.jobs import JobConfig
from chronos_ec2.job_config.parse import parse_config
from chronos_ec2.job_config.schema import Lora, TrainingConfig

_LORA_LEARNING_RATE = 1e-5
"""Chronos-2's recommendation for LoRA. The schema's default is its recommendation for all weights."""
_SCRATCH_LEARNING_RATE = 1e-3
"""For a model from scratch, which the schema's default of 1e-6 would hardly train."""
_SMALLEST = "xlarge"
"""The only size with four cores; all others have at least eight."""
_WORKERS_OF_SMALLEST = 2


@dataclass(frozen=True, slots=True)
class Defaults:
    """Defaults for one instance family: batch rows with LoRA and with all weights, context in points, workers.

    `lora`: whether a base model gets an adapter if the configuration does not say.
    """

    gpu: str
    lora: bool
    lora_rows: int
    full_rows: int
    context_length: int
    workers: int


BY_FAMILY = {
    "g4dn": Defaults("T4, 16 GB", lora=True, lora_rows=32, full_rows=32, context_length=2048, workers=4),
    "g5": Defaults("A10G, 24 GB", lora=True, lora_rows=128, full_rows=64, context_length=2048, workers=6),
    "g6": Defaults("L4, 24 GB", lora=True, lora_rows=128, full_rows=64, context_length=2048, workers=6),
    "p4d": Defaults("A100, 40 GB", lora=False, lora_rows=256, full_rows=256, context_length=8192, workers=8),
    "p5": Defaults("H100, 80 GB", lora=False, lora_rows=256, full_rows=256, context_length=8192, workers=8),
}


_SINGLE_GPU_SIZES = frozenset({"xlarge", "2xlarge", "4xlarge", "8xlarge", "16xlarge"})
_SINGLE_GPU_FAMILIES = ("g4dn", "g5", "g6")
_GPU_COUNTS = {
    "g4dn.12xlarge": 4,
    "g4dn.metal": 8,
    "g5.12xlarge": 4,
    "g5.24xlarge": 4,
    "g5.48xlarge": 8,
    "g6.12xlarge": 4,
    "g6.24xlarge": 4,
    "g6.48xlarge": 8,
    "p4d.24xlarge": 8,
    "p5.48xlarge": 8,
}


def gpus_of(instance_type: str | None) -> int | None:
    """Number of GPUs of an instance type, from the EC2 instance type guides; None for an unknown type."""
    family, _, size = (instance_type or "").partition(".")
    if family in _SINGLE_GPU_FAMILIES and size in _SINGLE_GPU_SIZES:
        return 1
    return _GPU_COUNTS.get(instance_type or "")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A complete configuration, and the defaults that were applied: plain JSON values by dotted key."""

    config: JobConfig
    chosen: dict[str, Any]


def resolve(config: JobConfig, instance_type: str | None) -> Resolved:
    """Apply the defaults of an instance type, None for one without a GPU. Keys that are set stay as they are."""
    if not isinstance(config, TrainingConfig) or config.trainer != "chronos":
        return Resolved(config, {})
    chosen = dict(_choices(config, instance_type))
    document = config.model_dump(mode="json")
    for key, value in chosen.items():
        section, _, name = key.rpartition(".")
        (document[section] if section else document)[name] = value
    return Resolved(parse_config(document, f"defaults of {instance_type}"), chosen)


def _choices(config: TrainingConfig, instance_type: str | None) -> Iterator[tuple[str, Any]]:
    family, _, size = (instance_type or "").partition(".")
    defaults, explicit = BY_FAMILY.get(family), config.training.model_fields_set
    lora = config.model.lora is not None
    if defaults is not None:
        if config.model.base is not None:
            if defaults.lora and "lora" not in config.model.model_fields_set:
                lora = True
                yield "model.lora", Lora().model_dump()
            if "context_length" not in config.model_fields_set:
                yield "context_length", defaults.context_length
        if "batch_size" not in explicit:
            yield "training.batch_size", defaults.lora_rows if lora else defaults.full_rows
        if "workers" not in explicit:
            yield "training.workers", _WORKERS_OF_SMALLEST if size == _SMALLEST else defaults.workers
    if "learning_rate" not in explicit and (lora or config.model.from_scratch is not None):
        yield "training.learning_rate", _LORA_LEARNING_RATE if lora else _SCRATCH_LEARNING_RATE
