"""Defects of the libraries that the engine works around. When one of these tests fails, upstream has fixed it.

Each has a report in docs/upstream.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chronos import BaseChronosPipeline, Chronos2Pipeline
from chronos.chronos2 import Chronos2Dataset, preprocess
from chronos.chronos2.dataset import DatasetMode
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from tests.agent.chronos import stock_two_processes
from tests.agent.chronos.builders import CONTEXT, HORIZON, a_family

SERIES = [np.sin(np.arange(60) / (3 + index)).astype(np.float32) for index in range(6)]


class Losses(TrainerCallback):
    """Records the step of each logged loss."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if "loss" in kwargs["logs"]:
            self.steps.append(state.global_step)


def fitted(folder: Path, **more: Any) -> Chronos2Pipeline:
    pipeline = a_family("chronos-2").pipeline
    assert isinstance(pipeline, Chronos2Pipeline)
    settings = {"num_steps": 3, "batch_size": 4, "learning_rate": 1e-3, "disable_tqdm": True, "logging_steps": 1,
                "context_length": CONTEXT}  # fmt: skip
    return pipeline.fit(SERIES, prediction_length=HORIZON, output_dir=folder, **settings | more)


def test_a_fitted_pipeline_is_left_in_train_mode(tmp_path: Path) -> None:
    assert fitted(tmp_path).model.training


def test_fit_ignores_resume_from_checkpoint(tmp_path: Path) -> None:
    fitted(tmp_path, save_strategy="steps", save_steps=3, save_only_model=False)
    assert (tmp_path / "checkpoint-3" / "optimizer.pt").exists()
    losses = Losses()
    fitted(tmp_path, num_steps=6, resume_from_checkpoint=str(tmp_path / "checkpoint-3"), callbacks=[losses])
    assert losses.steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.thorough
def test_every_rank_draws_the_same_batches(tmp_path: Path) -> None:
    first, second = stock_two_processes.hashes(tmp_path)
    assert first == second
    assert len(set(first)) == 3


def test_a_longer_context_is_truncated_in_training_and_saved_afterwards(tmp_path: Path) -> None:
    lengths = []

    class RecordLengths(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            model = kwargs["model"]
            patch = model.patch.register_forward_hook(lambda _module, given, _made: lengths.append(given[0].shape[-1]))
            assert patch is not None

    longer = fitted(tmp_path, context_length=2 * CONTEXT, callbacks=[RecordLengths()], min_past=2 * CONTEXT)
    assert set(lengths) == {CONTEXT}
    assert longer.model_context_length == 2 * CONTEXT


def test_data_loader_workers_repeat_the_validation_data() -> None:
    rows = []
    for workers in (0, 2):
        dataset = Chronos2Dataset(SERIES, CONTEXT, HORIZON, 4, 6, 1, DatasetMode.VALIDATION)
        rows.append(sum(len(batch["context"]) for batch in DataLoader(dataset, batch_size=None, num_workers=workers)))
    assert rows == [6, 12]


def test_the_base_class_cannot_load_an_adapter(tmp_path: Path) -> None:
    fitted(tmp_path, finetune_mode="lora")
    with pytest.raises(ValueError, match=r"model_type|Unrecognized"):
        BaseChronosPipeline.from_pretrained(tmp_path / "finetuned-ckpt")


def test_chronos_bolt_has_no_input_embeddings() -> None:
    model: Any = a_family("chronos-bolt").model
    del model.get_input_embeddings  # the engine's workaround
    with pytest.raises(NotImplementedError):
        get_peft_model(model, LoraConfig(target_modules=["SelfAttention.q"])).get_input_embeddings()


def test_categories_are_encoded_by_future_targets() -> None:
    codes = []
    for last in (1.0, 100.0):
        target = np.array([1.0, 2.0, 3.0, 4.0, last, last], dtype=np.float32)
        kinds = np.array(["x", "y", "x", "y", "x", "y"])
        (found,) = preprocess.from_list_of_dicts(
            [{"target": target, "past_covariates": {"kind": kinds}}], prediction_length=2
        )
        codes.append(found["context"][1, :4])
    assert not torch.equal(codes[0], codes[1])
