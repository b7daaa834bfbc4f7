"""The evaluation report: report.json, report.md, series.parquet and the model card."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agent.chronos.evaluate.forecast_table import nulls_for_nan
from agent.chronos.evaluate.metrics import Errors, series_mase, series_wql
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.job_config.data import Data
from chronos_ec2.job_config.usage import by_command, by_library, must_be_coded

_COLUMNS = {"mase": "MASE", "wql": "WQL", "sql": "SQL", "smape": "sMAPE, %", "coverage_80": "80 % coverage"}
_HASHES = {"revision": "revision", "sha256": "SHA-256"}
_MARKUP = re.compile(r"[\\`*_\[\]|~]")
_NAMES = {"auto_ets": "AutoETS", "auto_theta": "AutoTheta", "seasonal_naive": "seasonal naive"}


def write_report(
    folder: Path, document: dict[str, Any], models: Mapping[str, Errors], ids: Mapping[str, pa.Array]
) -> None:
    """Write report.json, report.md and series.parquet into a folder.

    series.parquet has the errors of each series after `ids`, the columns that name it.
    """
    write_documents(folder, document, _markdown(document))
    write_series(folder, models, ids)


def write_documents(folder: Path, document: dict[str, Any], text: str) -> None:
    """Write report.json and report.md into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(without_nan(document), indent=1, allow_nan=False) + "\n")
    (folder / "report.md").write_text(text)


def write_series(folder: Path, models: Mapping[str, Errors], ids: Mapping[str, pa.Array]) -> None:
    """Write series.parquet: the errors of each series, after the columns that name it."""
    columns: dict[str, Any] = dict(ids)
    for name, errors in models.items():
        columns[f"mase_{name}"] = nulls_for_nan(series_mase(errors))
        columns[f"wql_{name}"] = nulls_for_nan(series_wql(errors))
    pq.write_table(pa.table(columns), folder / "series.parquet", compression="zstd")


def write_model_card(
    folder: Path,
    document: dict[str, Any],
    facts: Mapping[str, Any],
    champion: str | None,
    data_sha256: str,
    use: str,
) -> None:
    """Write MODEL_CARD.md next to the model: its origin, how to forecast with it, its evaluation.

    `facts` are those in run.json, `use` is the text of `how_to_forecast`.
    """
    text = f"""# Model card

{escaped(document["family"])}: {_origin(document["exported"], facts, champion)}
Training data: SHA-256 `{data_sha256}`.

{use}

{_markdown(document)}"""
    (folder / "MODEL_CARD.md").write_text(text)


def _origin(exported: str, facts: Mapping[str, Any], champion: str | None) -> str:
    base, base_version = facts["base"], ""
    if base is not None:
        hashes = [f"{name} {code(base[key])}" for key, name in _HASHES.items() if base[key]]
        base_version = ", ".join([code(base["name"]), *hashes])
    if exported == "trained":
        origin = f"fine-tuned from {base_version}," if base_version else "trained from scratch"
        return f"{origin} with chronos-ec2, context length {facts['context_length']}."
    unmodified = base_version if exported == "base" else code(str(champion))
    return f"the unmodified {exported}, {unmodified}. The trained model was not better on the window before the test."


def how_to_forecast(model: str, data: Data, horizon: int) -> str:
    """How to forecast with a model, by the command and by the library, as Markdown."""
    coded = f" {text}" if (text := must_be_coded(data)) else ""
    return f"""Forecast with it on a GPU that is gone afterwards, or here with `folder`, a download of the model:{coded}

```sh
{by_command(model, data, horizon)}
```

```python
{by_library("folder", data, horizon)}
```"""


def without_nan(value: Any) -> Any:
    """Replace non-finite numbers, which JSON cannot hold, by None."""
    if isinstance(value, dict):
        return {name: without_nan(one) for name, one in value.items()}
    if isinstance(value, list):
        return [without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _markdown(document: dict[str, Any]) -> str:
    lines = [
        "# Evaluation",
        "",
        *_verdict(document["verdict"]),
        f"Exported: {document['exported']}. forecasts.parquet and the plots are from this model.",
        *judged_series(document["series"], document["windows"]),
        *(f"Data: {escaped(problem)}." for problem in document["findings"]),
        "",
        *score_table(document["models"]),
        "",
        *undefined_scores(document["undefined"]),
        *differences(document["trained_minus"]),
        "",
        *baselines(document["baselines"]),
        *horizon_table(document["by_horizon"]),
    ]
    return "\n".join(lines) + "\n"


def _verdict(found: dict[str, Any]) -> list[str]:
    score = found["by"] or "wql"
    text = f"**{found['verdict'].capitalize()}** against {shown_name(found['against'])}: {_COLUMNS[score]} "
    text += f"{_difference(found[score])} ({found['test']}, {found['series']} series)."
    return [text, *([f"{found['note']}."] if found["note"] else [])]


def judged_series(found: dict[str, int], windows: int) -> list[str]:
    """What was judged, and what was left out."""
    judged = f"Judged on {found['judged']} series, {windows} {'window' if windows == 1 else 'windows'} each."
    left_out = found["of"] - found["judged"]
    if not left_out:
        return [judged]
    return [f"{judged} Left out: {left_out} series, too short or without observations in the test windows or before."]


def undefined_scores(found: dict[str, str]) -> list[str]:
    """The scores without a value, and why."""
    lines = [f"- {_COLUMNS[score].removesuffix(', %')} is undefined: {reason}" for score, reason in found.items()]
    return [*lines, ""] if lines else []


def baselines(found: dict[str, Any] | None, ours: str = "trained") -> list[str]:
    """What the statistical baselines say."""
    if found is None:
        return []
    if not found["tried"]:
        return ["Statistical baselines: none was fitted in time.", ""]
    missing = [
        f"- {shown_name(name)} could not be fitted to {count} of {found['tried']} series (constant, shorter than two "
        f"seasons, or with too long a season){', and is no baseline' if count == found['tried'] else ''}"
        for name, count in found["not_fitted"].items()
        if count
    ]
    if not found["models"]:
        return ["Statistical baselines:", "", *missing, ""]
    sample = "all" if found["series"] == found["of"] else f"{found['series']} of"
    beside = "the training" if ours == "trained" else "it"
    return [
        f"Statistical models fitted to {sample} {found['of']} series, in {found['seconds_after_evaluation']:.0f} s "
        f"after the evaluation and before that beside {beside}, and every model on the same series:",
        "",
        *score_table(found["models"]),
        "",
        *undefined_scores(found["undefined"]),
        *(differences(found["trained_minus"]) if ours == "trained" else differences(found["best_minus"], ours)),
        *missing,
        "",
    ]


def differences(found: dict[str, dict[str, Any]], ours: str = "trained") -> list[str]:
    """The differences of a model from others, with their intervals, as a list."""
    return [
        f"- {ours} minus {shown_name(name)}: MASE {_difference(one['mase'])}; WQL {_difference(one['wql'])}"
        for name, one in found.items()
    ]


def horizon_table(models: dict[str, list[dict[str, float]]]) -> list[str]:
    """MASE and WQL of each model by forecast step."""
    headers = [f"{shown_name(name)}, {score}" for name in models for score in ("MASE", "WQL")]
    rows = zip(*models.values(), strict=True)
    return [
        "| forecast step | " + " | ".join(headers) + " |",
        "|---" * (len(headers) + 1) + "|",
        *(
            f"| {step} | " + " | ".join(_number(one[score]) for one in row for score in ("mase", "wql")) + " |"
            for step, row in enumerate(rows, 1)
        ),
    ]


def score_table(models: dict[str, dict[str, float]]) -> list[str]:
    """The scores of each model."""
    rows = [
        f"| {shown_name(name)} | " + " | ".join(_number(scores[key]) for key in _COLUMNS) + " |"
        for name, scores in models.items()
    ]
    return ["| model | " + " | ".join(_COLUMNS.values()) + " |", "|---" * (len(_COLUMNS) + 1) + "|", *rows]


def _difference(one: dict[str, Any]) -> str:
    if math.isnan(one["difference"]):
        return "undefined"
    low, high = one["interval"]
    interval = "no interval" if math.isnan(low) else f"95 % interval {low:+.4f} to {high:+.4f}"
    return f"{one['difference']:+.4f}, {interval}"


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.4f}"


def shown_name(model: str) -> str:
    """A model's name in tables."""
    return _NAMES.get(model) or escaped(model)


def code(text: str) -> str:
    """A text from a configuration as code, which no text of its own ends."""
    return f"`{one_line(text).replace('`', chr(39))}`"


def escaped(text: str) -> str:
    """A text from a configuration that is neither Markdown nor HTML."""
    return _MARKUP.sub(r"\\\g<0>", html.escape(one_line(text), quote=False))
