"""covariates.json next to a model: the columns and category codes that a forecast needs."""

from __future__ import annotations

from pathlib import Path

from agent.data.panel import Panel
from agent.protocol.trainer import write_json
from chronos_ec2.job_config.data import Data

_FILE = "covariates.json"
_SCHEMA_VERSION = 1


def write_covariates(folder: Path, data: Data, panel: Panel) -> None:
    """Write the columns in the model's row order, and the codes of text covariates; nothing for a single target."""
    if len(data.values) == 1:
        return
    document = {
        "schema_version": _SCHEMA_VERSION,
        "targets": data.target,
        "past_covariates": data.past_covariates,
        "known_covariates": data.known_covariates,
        "categories": {
            name: {text: code for code, text in enumerate(texts)} for name, texts in panel.categories.items()
        },
    }
    write_json(folder / _FILE, document)
