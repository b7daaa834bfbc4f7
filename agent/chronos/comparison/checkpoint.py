"""The checkpoint of a comparison: what the models have scored so far, and the forecasts of the best of them.

It is written after each model, so that an interrupted comparison goes on with the next one. It counts for the same
configuration and data alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from agent.chronos.evaluate.evaluate import EvaluatedModels
from agent.chronos.evaluate.metrics import Errors
from agent.data.panel import Floats
from agent.protocol.checkpoint_dir import folder_of, steps_in
from agent.protocol.trainer import write_json

_MODELS, _SCORES, _FORECASTS = "models.json", "scores.npz", "best.npy"
_SCHEMA_VERSION = 1
_STEP_SCORES = ("mase", "wql")


@dataclass(frozen=True, slots=True)
class BestModel:
    """The best model so far: as the configuration gives it, its family, and its forecasts of the windows."""

    given: str
    family: str
    forecasts: Floats


def save(
    checkpoints: Path, step: int, comparison: str, models: EvaluatedModels, facts: Mapping[str, Any], best: BestModel
) -> None:
    """Write a checkpoint atomically. `comparison` names the configuration and data; `facts` are those of each model."""
    folder = folder_of(checkpoints, step)
    draft = folder.with_name(f"draft-{step}")
    draft.mkdir(exist_ok=True)
    arrays: dict[str, Any] = {}
    for number, (name, found) in enumerate(models.errors.items()):
        arrays |= {f"{number}-{field}": values for field, values in asdict(found).items()}
        arrays[f"{number}-steps"] = [[one[score] for score in _STEP_SCORES] for one in models.by_horizon[name]]
    np.savez(draft / _SCORES, **arrays)
    np.save(draft / _FORECASTS, best.forecasts)
    document = {"schema_version": _SCHEMA_VERSION, "comparison": comparison, "models": list(models.errors),
                "facts": dict(facts), "best": [best.given, best.family]}  # fmt: skip
    write_json(draft / _MODELS, document)
    shutil.rmtree(folder, ignore_errors=True)
    draft.replace(folder)


def load(checkpoints: Path, comparison: str, models: EvaluatedModels) -> tuple[dict[str, Any], BestModel] | None:
    """Add the models of the latest checkpoint; their facts, and the best one. None without one of this comparison."""
    steps = steps_in(checkpoints)
    if not steps:
        return None
    folder = folder_of(checkpoints, steps[-1])
    document: dict[str, Any] = json.loads((folder / _MODELS).read_text())
    if document["comparison"] != comparison:
        return None
    with np.load(folder / _SCORES) as arrays:
        for number, name in enumerate(document["models"]):
            models.errors[name] = Errors(*(arrays[f"{number}-{field.name}"] for field in fields(Errors)))
            steps_of = arrays[f"{number}-steps"].tolist()
            models.by_horizon[name] = [dict(zip(_STEP_SCORES, scores, strict=True)) for scores in steps_of]
    given, family = document["best"]
    return document["facts"], BestModel(given, family, np.load(folder / _FORECASTS))
