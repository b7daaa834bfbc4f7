"""The models that the trained one is compared with: the base as it came, and the champion."""

from __future__ import annotations

from dataclasses import dataclass

from agent.training.model import load
from agent.training.model.families import Family, family_of
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.training_config.schema import TrainingConfig


@dataclass(frozen=True, slots=True)
class ReferenceModel:
    """`name` is its name in reports, `key` that of the configuration, `source` what stands there."""

    name: str
    key: str
    source: str

    def load(self, device: str, horizon: int, fetched: bool = False) -> Family:
        """With the context that it was made for, whatever the trained model's is: it is to show what it can.

        Raises:
            InvalidInput: it cannot be loaded, or cannot forecast so far ahead.
        """
        pipeline = load.load(self.source, device, fetched, self.key)
        try:
            return family_of(pipeline, pipeline.model_context_length, horizon)
        except InvalidInput as error:
            problem = f"{self.source} cannot be compared with: prediction_length {error.problem}"
            raise InvalidInput(self.key, problem, "lower prediction_length, or leave it out") from error


def reference_models(config: TrainingConfig) -> list[ReferenceModel]:
    """Those of a configuration."""
    sources = {
        ("base", "model.base"): config.model.base,
        ("champion", "evaluation.champion"): config.evaluation.champion,
    }
    return [ReferenceModel(name, key, source) for (name, key), source in sources.items() if source is not None]
