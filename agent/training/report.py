"""The evaluation for people and for programs: report.json, report.md, and the errors of each series."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agent.training.judgement import Errors, series_mase, series_wql

_COLUMNS = {"mase": "MASE", "wql": "WQL", "sql": "SQL", "smape": "sMAPE, %", "coverage_80": "80 % coverage"}
_NAMES = {"auto_ets": "AutoETS", "auto_theta": "AutoTheta"}


def write_report(folder: Path, document: dict[str, Any], found: Mapping[str, Errors], items: Sequence[str]) -> None:
    """Write all three into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(plain(document), indent=1, allow_nan=False) + "\n")
    (folder / "report.md").write_text(_markdown(document))
    columns: dict[str, Any] = {"item_id": pa.array(items, pa.string())}
    for name, errors in found.items():
        columns |= {f"mase_{name}": series_mase(errors), f"wql_{name}": series_wql(errors)}
    pq.write_table(pa.table(columns), folder / "series.parquet", compression="zstd")


def write_model_card(folder: Path, base: str, family: str, document: dict[str, Any], data_sha256: str) -> None:
    """What the model is, beside it: where it comes from, how good it is, how it is loaded."""
    text = f"""# Model card

{family}, {"trained from scratch" if base == "" else f"fine-tuned from `{base}`"} with chronos-ec2;
`BaseChronosPipeline.from_pretrained` loads it from this folder. {document["exported"].capitalize()} is what lies here.
Data set: SHA-256 `{data_sha256}`.

{_markdown(document)}"""
    (folder / "MODEL_CARD.md").write_text(text)


def plain(value: Any) -> Any:
    """A document without NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _markdown(document: dict[str, Any]) -> str:
    verdict = document["verdict"]
    lines = [
        "# Evaluation",
        "",
        f"**{verdict['verdict'].capitalize()}** against {_name(verdict['against'])}: WQL {_difference(verdict['wql'])} "
        "(bootstrap over series).",
        f"Exported: {document['exported']}.",
        "",
        *_table(document["models"]),
        "",
        *_baselines(document["baselines"]),
        "| points ahead | MASE | WQL |",
        "|---|---|---|",
        *(f"| {ahead} | {one['mase']:.4f} | {one['wql']:.4f} |" for ahead, one in enumerate(document["by_horizon"], 1)),
    ]
    return "\n".join(lines) + "\n"


def _baselines(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return []
    if not found["series"]:
        return ["Statistical baselines: left out, no time was left for them.", ""]
    which = "all" if found["series"] == found["of"] else f"{found['series']} of"
    lines = [
        f"Statistical models, fitted to each of {which} {found['of']} series in {found['seconds']:.0f} s, and every "
        "model on the same series:",
        "",
        *_table(found["models"]),
        "",
    ]
    for name, one in found["trained_less"].items():
        lines.append(f"- trained less {_name(name)}: MASE {_difference(one['mase'])}; WQL {_difference(one['wql'])}")
    for name, count in found["fell_back"].items():
        if count:
            lines.append(f"- {_name(name)} is seasonal naive {count} times: see docs/training.md")
    return [*lines, ""]


def _table(models: dict[str, dict[str, float]]) -> list[str]:
    rows = [
        f"| {_name(name)} | " + " | ".join(f"{scores[key]:.4f}" for key in _COLUMNS) + " |"
        for name, scores in models.items()
    ]
    return ["| model | " + " | ".join(_COLUMNS.values()) + " |", "|---" * (len(_COLUMNS) + 1) + "|", *rows]


def _difference(one: dict[str, Any]) -> str:
    low, high = one["interval"]
    interval = "no interval" if math.isnan(low) else f"95 % interval {low:+.4f} to {high:+.4f}"
    return f"{one['difference']:+.4f}, {interval}"


def _name(model: str) -> str:
    return _NAMES.get(model, model.replace("_", " "))
