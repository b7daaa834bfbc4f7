"""Which training configuration a launch uses: a file, the smoke test, or the default in the bucket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Literal

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.champion import Promote, Promotion
from chronos_ec2.domain.records.model_source import ChampionModel
from chronos_ec2.domain.records.s3_keys import shared_key
from chronos_ec2.job_config.jobs import JobConfig
from chronos_ec2.job_config.parse import load_config, moved_to, parse_yaml
from chronos_ec2.job_config.schema import Ending, TrainingConfig
from chronos_ec2.model_registry import Registry
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.smoke_test import probe_config

Trainer = Literal["probe"]
DEFAULT_CONFIG = "configs/train.yaml"
"""Below the prefix of what an environment's runs share."""
_PROBE_MINUTES = 3.0


def requested_config(
    path: Path | None, trainer: Trainer | None, minutes: float | None, ending: Ending | None
) -> JobConfig | None:
    """Return the configuration that the options name; None if they name none. Raises InvalidInput."""
    if trainer == "probe":
        if path is not None:
            raise InvalidInput("--trainer", "probe and --config exclude each other", "give one of them")
        return probe_config(_PROBE_MINUTES if minutes is None else minutes, ending or "ok")
    if minutes is not None or ending is not None:
        option = "--minutes" if ending is None else "--ending"
        raise InvalidInput(option, "is for the probe", "give --trainer probe too")
    return load_config(path) if path else None


def default_config(store: RunStore, environment: str, warn: Callable[[str], None]) -> JobConfig:
    """Read the default configuration from the bucket; warn about files there that an older system read.

    Raises:
        InvalidInput: the bucket has no default configuration, or it is invalid.
    """
    for named, _ in store.objects.keys(shared_key(environment, "configs/")):
        if (section := moved_to(PurePosixPath(named).name)) is not None:
            warn(f"{one_line(named, 200)} is not read: train.yaml has it under {section}")
    key = shared_key(environment, DEFAULT_CONFIG)
    found = store.objects.read(key)
    if found is None:
        remedy = "give --config FILE, or upload one with `chronos-ec2 upload config train.yaml`"
        raise InvalidInput("--config", f"not given, and the bucket has no {key}", remedy)
    return parse_yaml(found.body, key)


def with_champion(
    config: JobConfig, registry: Registry, rule: Promote | None, model: str
) -> tuple[JobConfig, Promotion | None]:
    """The configuration, which compares with the champion that there is, and what the run asks for; None: nothing.

    Raises:
        InvalidInput: the run trains no model that could be promoted, or is to be compared with another champion.
    """
    if rule is None:
        return config, None
    if not isinstance(config, TrainingConfig) or config.trainer != "chronos":
        what = f"trainer {config.trainer}" if isinstance(config, TrainingConfig) else f"job {config.job}"
        raise InvalidInput("--promote", f"{what} trains no model that is compared with others", "leave it out")
    champion, name = registry.champion(model), str(ChampionModel(model))
    if champion is None:
        return config, Promotion(model, rule, 0)
    given = config.evaluation.champion
    if given not in (None, name):
        problem = f"evaluation.champion is {given}, but the champion of model {model} is in the registry"
        raise InvalidInput("--promote", problem, f"write evaluation.champion: {name}, or leave it out")
    evaluation = config.evaluation.model_copy(update={"champion": name})
    return config.model_copy(update={"evaluation": evaluation}), Promotion(model, rule, champion.seq)
