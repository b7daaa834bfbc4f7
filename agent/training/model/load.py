"""The model to train: a new one of a given shape, or one that exists, with an adapter or without."""

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

from agent.data.hashing import sha256_of
from agent.protocol.trainer import write_json
from agent.training.model.families import Family, family_of
from agent.training.model.from_scratch import new_pipeline
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.training_config.schema import Lora, TrainingConfig


def starting_family(config: TrainingConfig, device: str, fetched: bool = False) -> Family:
    """The model of the configuration, on a device, in float32: weights in half cannot be trained with a scaler.

    `fetched` says that another process of this run has put the base's weights on the disk.

    Raises:
        InvalidInput: the base cannot be loaded, or cannot be trained for this horizon.
    """
    if config.model.from_scratch is not None:
        pipeline = new_pipeline(config.model.from_scratch, config.context_length, config.prediction_length)
        pipeline.model.to(device)
    else:
        pipeline = load(config.model.base or "", device, fetched)
    if isinstance(pipeline, Chronos2Pipeline):
        # Before training: the model cuts off what is longer than it knows of.
        widen(pipeline.model, config.context_length, config.prediction_length)
    return family_of(pipeline, config.context_length, config.prediction_length)


def load(base: str, device: str, fetched: bool = False, key: str = "model.base") -> BaseChronosPipeline:
    """A trained model: hub id, `s3://` URI or local path. Raises InvalidInput with the key of the configuration."""
    # Without force the library trusts any file that an earlier, perhaps killed, download left in its cache.
    forced = {"force_s3_download": True} if base.startswith("s3://") and not fetched else {}
    try:
        pipeline: BaseChronosPipeline = BaseChronosPipeline.from_pretrained(
            base, device_map=device, dtype=torch.float32, **forced
        )
    except (OSError, ValueError) as error:
        raise InvalidInput(key, f"{base} cannot be loaded: {one_line(str(error), 200)}") from error
    return pipeline


def origin(base: str, model: Any) -> dict[str, str | None]:
    """Which weights a loaded base had: the hub's revision, and the SHA-256 of the file, as the hub shows it."""
    try:
        # What was loaded is at hand: in the hub's cache, in Chronos's cache of S3, or where it always was.
        weights = cached_file(model.name_or_path, "model.safetensors", local_files_only=True)
    except OSError:
        # Weights in another format, or in several files.
        weights = None
    return {
        "name": base,
        "revision": getattr(model.config, "_commit_hash", None),
        "sha256": None if weights is None else sha256_of(Path(weights)),
    }


def adapt(family: Family, lora: Lora) -> None:
    """Put a low-rank adapter on the family's model; from then on only that is trained."""
    settings = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(family.adapted)
    )
    model: Any = family.model
    family.replace(get_peft_model(model, settings))


def merge(family: Family, folder: Path, base: Mapping[str, Any]) -> None:
    """Merge an adapter into the weights, so that any host can load them; the adapter by itself goes into the folder.

    With it `base.json`, its origin: to other weights it does not belong.
    """
    model = family.model
    if not isinstance(model, PeftModel):
        return
    model.save_pretrained(str(folder))
    write_json(folder / "base.json", base)
    merged: Any = model.merge_and_unload()
    family.replace(merged)


def widen(model: Chronos2Model, context_length: int, prediction_length: int) -> None:
    """Have the model look back at a longer context, and forecast further, than it came with."""
    settings = model.chronos_config
    settings.context_length = max(settings.context_length, context_length)
    patches = math.ceil(prediction_length / settings.output_patch_size)
    settings.max_output_patches = max(settings.max_output_patches, patches)
    model.config.chronos_config = dict(vars(settings))
