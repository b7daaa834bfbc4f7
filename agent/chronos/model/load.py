"""Load the model to train, add and merge LoRA adapters, extend its context."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from chronos import BaseChronosPipeline, Chronos2Pipeline
from chronos.chronos2 import Chronos2Model
from peft import LoraConfig, PeftModel, get_peft_model
from transformers.utils.hub import cached_file

from agent.chronos.model.families import Family, family_of
from agent.chronos.model.from_scratch import new_pipeline
from agent.chronos.model.precision import choose_precision
from agent.data.hashing import sha256_of
from agent.protocol.trainer import write_json
from agent.protocol.workdir import Workdir
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.job_config.jobs import EvaluateConfig, ForecastConfig
from chronos_ec2.job_config.schema import Lora, TrainingConfig


def initial_model(config: TrainingConfig, device: str, workdir: Workdir, cached: bool = False) -> Family:
    """The model to train, on a device, with fp32 weights: a gradient scaler cannot train half-precision weights.

    `cached`: another process of this run has already downloaded the base.

    Raises:
        InvalidInput: the base cannot be loaded, or its horizon is shorter.
    """
    if config.model.from_scratch is not None:
        pipeline = new_pipeline(config.model.from_scratch, config.context_length, config.prediction_length)
        pipeline.model.to(device)
    else:
        pipeline = load_pipeline(workdir.model_source(config.model.base or ""), device, cached)
    if isinstance(pipeline, Chronos2Pipeline):
        # Before training, because the model truncates its input to its configured context.
        extend_context(pipeline.model, config.context_length, config.prediction_length)
    precision = choose_precision(config.training.precision, device)
    return family_of(pipeline, config.context_length, config.prediction_length, precision)


def load_pipeline(base: str, device: str, cached: bool = False, key: str = "model.base") -> BaseChronosPipeline:
    """Load a hub id, `s3://` URI or local path: only its safetensors, and no code.

    Raises:
        InvalidInput: it cannot be loaded, or is an adapter, which names the model to load with it. With the
            configuration's `key`.
    """
    if Path(base, "adapter_config.json").exists():
        raise InvalidInput(key, f"{base} is an adapter of another model", "merge it into that model first")
    # Without force the library trusts any file in its cache, even one left by a download that was killed.
    forced = {"force_s3_download": True} if base.startswith("s3://") and not cached else {}
    try:
        pipeline: BaseChronosPipeline = BaseChronosPipeline.from_pretrained(
            base, device_map=device, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, **forced
        )
    except (OSError, ValueError) as error:
        remedy = "name the folder or hub id of a whole model, as save_pretrained writes it"
        raise InvalidInput(key, f"{base} cannot be loaded: {one_line(str(error), 200)}", remedy) from error
    return pipeline


def forecasting_model(folder: Path, config: ForecastConfig | EvaluateConfig, device: str) -> Family:
    """A model to forecast with, on a device, as the configuration wants it. Raises InvalidInput."""
    pipeline = load_pipeline(str(folder), device, key="model")
    context = min(config.context_length, int(pipeline.model_context_length))
    precision = choose_precision(config.precision, device)
    family = family_of(pipeline, context, config.prediction_length, precision)
    if isinstance(config, ForecastConfig) and config.cross_learning:
        family.learn_across()
    return family


def origin(base: str, model: Any) -> dict[str, str | None]:
    """Which weights a loaded base had: name, hub revision, and SHA-256 of the weights file as the hub shows it."""
    try:
        # Already downloaded: in the hub's cache, in Chronos's S3 cache, or a local path.
        weights = cached_file(model.name_or_path, "model.safetensors", local_files_only=True)
    except OSError:
        # Weights in another format, or in several files.
        weights = None
    return {
        "name": base,
        "revision": getattr(model.config, "_commit_hash", None),
        "sha256": None if weights is None else sha256_of(Path(weights)),
    }


def add_lora(family: Family, lora: Lora) -> None:
    """Add a low-rank adapter, and freeze all other weights."""
    settings = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(family.lora_targets)
    )
    model: Any = family.model
    family.replace_model(get_peft_model(model, settings))


def save_lora(family: Family, folder: Path, base: Mapping[str, Any]) -> None:
    """Save the adapter, if any, with the origin of its base in `base.json`: it fits no other weights."""
    if isinstance(family.model, PeftModel):
        family.model.save_pretrained(str(folder))
        write_json(folder / "base.json", base)


def for_forecasts(family: Family) -> None:
    """Merge the adapter, if any, and set evaluation mode: the library leaves a model in train mode, with dropout."""
    if isinstance(family.model, PeftModel):
        merged: Any = family.model.merge_and_unload()
        family.replace_model(merged)
    family.model.eval()


def extend_context(model: Chronos2Model, context_length: int, prediction_length: int) -> None:
    """Raise a Chronos-2 model's context length and number of output patches where they are too small."""
    settings = model.chronos_config
    settings.context_length = max(settings.context_length, context_length)
    patches = math.ceil(prediction_length / settings.output_patch_size)
    settings.max_output_patches = max(settings.max_output_patches, patches)
    model.config.chronos_config = dict(vars(settings))
