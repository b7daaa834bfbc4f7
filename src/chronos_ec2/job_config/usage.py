"""How to forecast with a model, by the command and by the library: the lines for the data that it was trained on."""

from __future__ import annotations

import shlex

from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.job_config.data import Data


def by_command(model: str, data: Data, horizon: int) -> str:
    """The command, on a GPU that is gone afterwards."""
    future = " --future NEXT" if data.known_covariates else ""
    return f"chronos-ec2 forecast --model {one_line(model)} --data DATA --horizon {horizon}{future}{_flags(data)}"


def by_library(folder: str, data: Data, horizon: int) -> str:
    """The Python, where `folder` is an expression for the place of the model."""
    names = {
        "id_column": data.item_id[0] if len(data.item_id) == 1 else data.item_id,
        "timestamp_column": data.timestamp,
        "target": data.target[0] if len(data.target) == 1 else data.target,
    }
    usual = {"id_column": "item_id", "timestamp_column": "timestamp", "target": "target"}
    own = "".join(f", {name}={value!a}" for name, value in names.items() if value != usual[name]).replace("`", "\\x60")
    known = ", future_df=future" if data.known_covariates else ""
    return (
        f"pipeline = BaseChronosPipeline.from_pretrained({folder})\n"
        f"forecasts = pipeline.predict_df(history{known}, prediction_length={horizon}{own})"
    )


def must_be_coded(data: Data) -> str:
    """What has to be done to a table before the library forecasts it; empty if there is nothing."""
    return "Text covariates must be coded as in `covariates.json` first." if len(data.values) > 1 else ""


def _flags(data: Data) -> str:
    """The flags for columns of other names; without those that a shell or Markdown might read otherwise."""
    columns = {
        "--item-id": (data.item_id, ["item_id"]), "--timestamp": ([data.timestamp], ["timestamp"]),
        "--target": (data.target, ["target"]), "--past": (data.past_covariates, []),
        "--known": (data.known_covariates, []),
    }  # fmt: skip
    return "".join(
        f" {flag} {shlex.quote(','.join(names))}"
        for flag, (names, usual) in columns.items()
        if names != usual and all(name.isprintable() and not set(name) & {",", "`"} for name in names)
    )
