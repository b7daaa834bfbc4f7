"""The models that the trained one is compared with: its unmodified base and the champion."""

from __future__ import annotations

from dataclasses import dataclass

from agent.chronos.model.families import Family, family_of
from agent.chronos.model.load import load_pipeline
from agent.protocol.workdir import Workdir
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.schema import TrainingConfig


@dataclass(frozen=True, slots=True)
class ReferenceModel:
    """`name` in reports, `key` of the configuration that names it as `given`, and the `source` to load it from."""

    name: str
    key: str
    given: str
    source: str

    def load(self, trained: Family, cached: bool = False) -> Family:
        """Load it for forecasts as the trained model's, but with the context it was made for.

        Raises:
            InvalidInput: it cannot be loaded, or its horizon is shorter.
        """
        pipeline = load_pipeline(self.source, trained.device, cached, self.key)
        try:
            return family_of(pipeline, pipeline.model_context_length, trained.horizon, trained.precision)
        except InvalidInput as error:
            problem = f"{self.given} cannot be compared with: prediction_length {error.detail}"
            raise InvalidInput(self.key, problem, "lower prediction_length, or leave it out") from error


def reference_models(config: TrainingConfig, workdir: Workdir) -> list[ReferenceModel]:
    """The reference models of a configuration."""
    named = {
        ("base", "model.base"): config.model.base,
        ("champion", "evaluation.champion"): config.evaluation.champion,
    }
    return [
        ReferenceModel(name, key, given, workdir.model_source(given))
        for (name, key), given in named.items()
        if given is not None
    ]
