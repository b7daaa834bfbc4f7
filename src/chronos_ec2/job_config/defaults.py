"""Defaults by instance type for keys that a configuration leaves out.

They are resolved once, at launch, and stored with the run: a later attempt may run on another type, and must continue
with the same batches. The rule is a proposal by memory and cores; nothing in it was measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chronos_ec2.domain.planning.instance_type import InstanceType
from chronos_ec2.job_config.jobs import JobConfig
from chronos_ec2.job_config.parse import parse_config
from chronos_ec2.job_config.schema import Lora, TrainingConfig

_LORA_LEARNING_RATE = 1e-5
"""Chronos-2's recommendation for LoRA. The schema's default is its recommendation for all weights."""
_SCRATCH_LEARNING_RATE = 1e-3
"""For a model from scratch, which the schema's default of 1e-6 would hardly train."""
_CORES_KEPT, _MOST_WORKERS = 2, 8
"""For trainer and agent, beside the workers of each GPU; and where more workers build no batches faster."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """Defaults for GPUs of a size: batch rows with LoRA and with all weights, context in points.

    `lora`: whether a base model gets an adapter if the configuration does not say.
    """

    lora: bool
    lora_rows: int
    full_rows: int
    context_length: int


BY_GPU_GIB = {
    36: Defaults(lora=False, lora_rows=256, full_rows=256, context_length=8192),
    20: Defaults(lora=True, lora_rows=128, full_rows=64, context_length=2048),
    12: Defaults(lora=True, lora_rows=32, full_rows=32, context_length=2048),
    0: Defaults(lora=True, lora_rows=8, full_rows=8, context_length=2048),
}
"""By the least memory of each GPU: the first that a type reaches counts. Each GPU trains with its own batch."""


def defaults_of(kind: InstanceType) -> Defaults:
    """The defaults for the GPUs of an instance type."""
    return next(found for least, found in BY_GPU_GIB.items() if kind.gpu_memory_mib >= least * 1024)


def workers_of(kind: InstanceType) -> int:
    """Processes per GPU that build batches: its cores without those that are kept, at least one."""
    return max(1, min(_MOST_WORKERS, kind.vcpus // kind.gpus - _CORES_KEPT))


@dataclass(frozen=True, slots=True)
class Resolved:
    """A complete configuration, and the defaults that were applied: plain JSON values by dotted key."""

    config: JobConfig
    chosen: dict[str, Any]


def resolve(config: JobConfig, kind: InstanceType | None) -> Resolved:
    """Apply the defaults of an instance type, None for one that is not known. Keys that are set stay as they are."""
    if not isinstance(config, TrainingConfig) or config.trainer != "chronos":
        return Resolved(config, {})
    chosen = dict(_choices(config, kind if kind and kind.cuda else None))
    document = config.model_dump(mode="json")
    for key, value in chosen.items():
        section, _, name = key.rpartition(".")
        (document[section] if section else document)[name] = value
    return Resolved(parse_config(document, f"defaults of {kind.name if kind else 'a CPU'}"), chosen)


def _choices(config: TrainingConfig, kind: InstanceType | None) -> Iterator[tuple[str, Any]]:
    explicit, lora = config.training.model_fields_set, config.model.lora is not None
    if kind is not None:
        defaults = defaults_of(kind)
        if config.model.base is not None:
            if defaults.lora and "lora" not in config.model.model_fields_set:
                lora = True
                yield "model.lora", Lora().model_dump()
            if "context_length" not in config.model_fields_set:
                yield "context_length", defaults.context_length
        if "batch_size" not in explicit:
            yield "training.batch_size", defaults.lora_rows if lora else defaults.full_rows
        if "workers" not in explicit:
            yield "training.workers", workers_of(kind)
    if "learning_rate" not in explicit and (lora or config.model.from_scratch is not None):
        yield "training.learning_rate", _LORA_LEARNING_RATE if lora else _SCRATCH_LEARNING_RATE
