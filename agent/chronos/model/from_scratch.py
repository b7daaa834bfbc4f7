"""New models with random weights from torch's global generator; other settings as in the published models."""

from __future__ import annotations

import math
from typing import Any

from chronos import BaseChronosPipeline, Chronos2Pipeline, ChronosBoltPipeline, ChronosConfig, ChronosPipeline
from chronos.chronos import ChronosModel
from chronos.chronos2 import Chronos2CoreConfig, Chronos2Model
from chronos.chronos_bolt import ChronosBoltModelForForecasting
from transformers import T5Config, T5ForConditionalGeneration

from agent.chronos.batching.held_out import QUANTILES
from chronos_ec2.job_config.schema import FromScratch

# With T5's default of 1.0 a model is still worse than seasonal naive after 1,500 steps on M3.
_INITIALIZER_FACTOR = 0.05
_PATCH = 12
_TOKENS = 4096


def new_pipeline(shape: FromScratch, context_length: int, prediction_length: int) -> BaseChronosPipeline:
    """A new model of the shape's family. Chronos-Bolt and Chronos-T5 forecast no further than `prediction_length`."""
    make = {"chronos-2": _chronos2, "chronos-bolt": _bolt, "chronos-t5": _t5}[shape.family]
    return make(shape, context_length, prediction_length)


def _chronos2(shape: FromScratch, context_length: int, prediction_length: int) -> BaseChronosPipeline:
    patch = shape.patch or _PATCH
    config = Chronos2CoreConfig(
        **_layers(shape),
        chronos_config={
            "context_length": context_length,
            "input_patch_size": patch,
            "input_patch_stride": patch,
            "output_patch_size": patch,
            "max_output_patches": math.ceil(prediction_length / patch),
            "quantiles": list(QUANTILES),
            "use_arcsinh": True,
            # The forward pass requires this token.
            "use_reg_token": True,
            "time_encoding_scale": context_length,
        },
    )
    # For BaseChronosPipeline.from_pretrained.
    config.chronos_pipeline_class = "Chronos2Pipeline"
    config.architectures = ["Chronos2Model"]
    return Chronos2Pipeline(Chronos2Model(config))


def _bolt(shape: FromScratch, context_length: int, prediction_length: int) -> BaseChronosPipeline:
    patch = shape.patch or _PATCH
    config = _t5_config(shape, vocabulary=2)
    config.chronos_config = {
        "context_length": context_length,
        "prediction_length": prediction_length,
        "input_patch_size": patch,
        "input_patch_stride": patch,
        "quantiles": list(QUANTILES),
        "use_reg_token": True,
    }
    config.chronos_pipeline_class = "ChronosBoltPipeline"
    config.architectures = ["ChronosBoltModelForForecasting"]
    return ChronosBoltPipeline(ChronosBoltModelForForecasting(config))


def _t5(shape: FromScratch, context_length: int, prediction_length: int) -> BaseChronosPipeline:
    settings: dict[str, Any] = {
        "tokenizer_class": "MeanScaleUniformBins",
        "tokenizer_kwargs": {"low_limit": -15.0, "high_limit": 15.0},
        "context_length": context_length,
        "prediction_length": prediction_length,
        "n_tokens": _TOKENS,
        "n_special_tokens": 2,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "use_eos_token": True,
        "model_type": "seq2seq",
        "num_samples": 20,
        "temperature": 1.0,
        "top_k": 50,
        "top_p": 1.0,
    }
    config = _t5_config(shape, _TOKENS)
    config.chronos_config = settings
    config.architectures = ["T5ForConditionalGeneration"]
    chronos = ChronosConfig(**settings)
    return ChronosPipeline(chronos.create_tokenizer(), ChronosModel(chronos, T5ForConditionalGeneration(config)))


def _layers(shape: FromScratch) -> dict[str, Any]:
    return {
        "d_model": shape.d_model,
        "d_kv": shape.d_kv,
        "d_ff": shape.d_ff,
        "num_layers": shape.num_layers,
        "num_heads": shape.num_heads,
        "dropout_rate": shape.dropout,
        "initializer_factor": _INITIALIZER_FACTOR,
    }


def _t5_config(shape: FromScratch, vocabulary: int) -> T5Config:
    config = T5Config(**_layers(shape), vocab_size=vocabulary, pad_token_id=0, eos_token_id=1, feed_forward_proj="relu")
    config.decoder_start_token_id = 0
    return config
