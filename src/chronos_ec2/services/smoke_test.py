"""A run of the stand-in trainer: everything but real training, to try an account for cents."""

from __future__ import annotations

import math
from contextlib import suppress
from importlib import resources

from chronos_ec2.domain.errors import InvalidInput, LostRace
from chronos_ec2.domain.records.lane import CACHED
from chronos_ec2.run_store import RunStore
from chronos_ec2.training_config.parse import parse_config
from chronos_ec2.training_config.schema import Ending, TrainingConfig

_PATH = "training-data/probe/"
_STEP_SECONDS = 0.5
_STEPS_A_MINUTE = int(60 / _STEP_SECONDS)
_HORIZON = 6


def probe_config(minutes: float, ending: Ending) -> TrainingConfig:
    """A training that takes so long, saves a checkpoint each minute, and ends like this. Raises InvalidInput."""
    if not 0 < minutes <= 24 * 60:
        raise InvalidInput("--minutes", f"{minutes:g} is not a time to probe for", "between 0 and 1440")
    probe = {
        "ending": ending,
        "steps": math.ceil(minutes * _STEPS_A_MINUTE),
        "step_seconds": _STEP_SECONDS,
        "checkpoint_steps": _STEPS_A_MINUTE,
    }
    config = {"trainer": "probe", "data": {"path": _PATH}, "prediction_length": _HORIZON, "probe": probe}
    return parse_config(config, "probe")


def put_probe_data(store: RunStore) -> None:
    """See that the bucket has two short series for the probe to fetch; nobody trains on them."""
    body = resources.files("chronos_ec2.services").joinpath("smoke_test.parquet").read_bytes()
    with suppress(LostRace):
        store.objects.create(f"{CACHED}/{_PATH}series.parquet", body)
