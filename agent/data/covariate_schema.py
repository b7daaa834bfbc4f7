"""What the rows of a model's input were, written beside it: a forecast needs the same ones in the same order."""

from __future__ import annotations

from pathlib import Path

from agent.data.panel import Panel
from agent.protocol.trainer import write_json
from chronos_ec2.training_config.schema import Data

_FILE = "covariates.json"
_SCHEMA_VERSION = 1


def write_covariates(folder: Path, data: Data, panel: Panel) -> None:
    """The columns in the order of the model, and the code of each text; nothing for a model of one target alone."""
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
