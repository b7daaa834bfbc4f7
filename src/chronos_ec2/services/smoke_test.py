"""The smoke test: a run of the `probe` trainer, which does everything but real training and costs cents."""

from __future__ import annotations

import math
from contextlib import suppress
from importlib import resources

from chronos_ec2.domain.errors import LostRace
from chronos_ec2.domain.parsing.numbers import check_number
from chronos_ec2.domain.records.s3_keys import shared_key
from chronos_ec2.job_config.parse import parse_training
from chronos_ec2.job_config.schema import Ending, TrainingConfig
from chronos_ec2.run_store import RunStore

PROBE_DATA_PATH = "training-data/probe/"
_STEP_SECONDS = 0.5
_STEPS_A_MINUTE = int(60 / _STEP_SECONDS)
_HORIZON = 6


def probe_config(minutes: float, ending: Ending) -> TrainingConfig:
    """Configure a probe that runs for `minutes`, saves a checkpoint each minute and ends with `ending`.

    Raises:
        InvalidInput: `minutes` is not between 0 and 1440.
    """
    check_number(minutes, "--minutes", 0, 24 * 60, above=True)
    probe = {
        "ending": ending,
        "steps": math.ceil(minutes * _STEPS_A_MINUTE),
        "step_seconds": _STEP_SECONDS,
        "checkpoint_steps": _STEPS_A_MINUTE,
    }
    config = {"trainer": "probe", "data": {"path": PROBE_DATA_PATH}, "prediction_length": _HORIZON, "probe": probe}
    return parse_training(config, "probe")


def put_probe_data(store: RunStore, environment: str) -> None:
    """Upload the probe's data set, two short series, unless the bucket has it. It is downloaded, not trained on."""
    body = resources.files("chronos_ec2.services").joinpath("smoke_test.parquet").read_bytes()
    with suppress(LostRace):
        store.objects.create(shared_key(environment, f"{PROBE_DATA_PATH}series.parquet"), body)
