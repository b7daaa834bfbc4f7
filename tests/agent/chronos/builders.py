"""Tiny models of all three families, and small panels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from chronos import BaseChronosPipeline, ChronosBoltPipeline, ChronosConfig, ChronosPipeline
from chronos.chronos import ChronosModel
from chronos.chronos_bolt import ChronosBoltModelForForecasting
from transformers import T5Config, T5ForConditionalGeneration

from agent.chronos.model.families import Family, family_of
from agent.chronos.model.from_scratch import new_pipeline
from agent.data.ingest.read import read_panel
from agent.data.panel import Panel
from chronos_ec2.job_config.data import Data
from chronos_ec2.job_config.schema import FromScratch

CONTEXT, HORIZON = 24, 6


def a_panel(tmp_path: Path, count: int = 8, length: int = 60, seed: int = 0, **columns: Any) -> Panel:
    """`count` noisy sines of at least `length` points; further columns are functions of time and a generator."""
    random = np.random.default_rng(seed)
    lengths = [length + index for index in range(count)]
    times = np.concatenate([np.arange(one) for one in lengths])
    target = np.sin(times / 3) * 10 + random.normal(size=len(times)) + np.repeat(np.arange(count) * 5, lengths)
    table = {
        "item_id": np.repeat([f"item{index:03d}" for index in range(count)], lengths),
        "timestamp": np.datetime64("2024-01-01", "ms") + times * np.timedelta64(1, "D"),
        "target": target.astype(np.float32),
    }
    extra = {name: make(times, random) for name, make in columns.items()}
    path = tmp_path / f"data-{seed}.parquet"
    pq.write_table(pa.table(table | extra), path)
    past = [name for name in columns if name.startswith("past")]
    known = [name for name in columns if name.startswith("known")]
    more = [name for name in columns if name.startswith("target")]
    data = Data.model_validate(
        {"path": "x", "target": ["target", *more], "past_covariates": past, "known_covariates": known}
    )
    return read_panel([path], data, 1, tmp_path / f"panel-{seed}")


def a_family(name: str, dropout: float = 0.1) -> Family:
    """A new tiny model with the same weights each time."""
    torch.manual_seed(1)
    return family_of(_PIPELINES[name](dropout), CONTEXT, HORIZON)


def _chronos2(dropout: float) -> BaseChronosPipeline:
    shape = FromScratch(d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, patch=6, dropout=dropout)
    return new_pipeline(shape, CONTEXT, HORIZON)


def _t5(dropout: float, **chronos: Any) -> T5Config:
    config = T5Config(
        d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, dropout_rate=dropout, vocab_size=64,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, feed_forward_proj="relu",
    )  # fmt: skip
    config.chronos_config = chronos
    return config


def _bolt(dropout: float) -> BaseChronosPipeline:
    config = _t5(
        dropout, context_length=CONTEXT, prediction_length=8, input_patch_size=4, input_patch_stride=4,
        quantiles=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], use_reg_token=True,
    )  # fmt: skip
    config.chronos_pipeline_class = "ChronosBoltPipeline"
    config.architectures = ["ChronosBoltModelForForecasting"]
    return ChronosBoltPipeline(ChronosBoltModelForForecasting(config))


def _chronos_t5(dropout: float) -> BaseChronosPipeline:
    settings = {
        "tokenizer_class": "MeanScaleUniformBins", "tokenizer_kwargs": {"low_limit": -15.0, "high_limit": 15.0},
        "context_length": CONTEXT, "prediction_length": 8, "n_tokens": 64, "n_special_tokens": 2, "pad_token_id": 0,
        "eos_token_id": 1, "use_eos_token": True, "model_type": "seq2seq", "num_samples": 20, "temperature": 1.0,
        "top_k": 50, "top_p": 1.0,
    }  # fmt: skip
    model = T5ForConditionalGeneration(_t5(dropout, **settings))
    chronos = ChronosConfig(**settings)
    return ChronosPipeline(chronos.create_tokenizer(), ChronosModel(chronos, model))


_PIPELINES = {"chronos-2": _chronos2, "chronos-bolt": _bolt, "chronos-t5": _chronos_t5}
FAMILIES = tuple(_PIPELINES)
