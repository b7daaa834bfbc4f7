"""covariates.json next to a model: the columns and category codes that a forecast needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from agent.data.panel import Block, Floats, Panel
from agent.protocol.trainer import write_json
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
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


def categories_of(model: Path) -> dict[str, list[str]]:
    """The texts of each text covariate that a model was trained with, in the order of their codes; none without a file.

    Raises InvalidInput if the file cannot be read.
    """
    path = model / _FILE
    if not path.exists():
        return {}
    try:
        found: Any = json.loads(path.read_bytes())["categories"]
        return {str(name): sorted(map(str, codes), key=codes.__getitem__) for name, codes in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInput(
            "model", f"its {_FILE} cannot be read: {one_line(str(error), 120)}", "train it again"
        ) from error


def with_categories(panel: Panel, data: Data, categories: Mapping[str, Sequence[str]], path: Path) -> Panel:
    """The panel with the codes of these categories, its values in a file; a text that they do not have is missing.

    Raises InvalidInput if a covariate is a number here and text there.
    """
    known = panel.categories
    for name in set(categories) & {*data.past_covariates, *data.known_covariates}:
        check_kind(name, known.get(name), categories, "of the data", "what the model was trained with")
    other = {name: texts for name, texts in categories.items() if name in known and texts != known[name]}
    if not other:
        return panel
    block = Block(path, len(data.values), len(panel.ticks))
    for index, (name, row) in enumerate(zip(data.values, panel.values, strict=True)):
        block.write(index, 0, recoded(row, panel.categories[name], other[name]) if name in other else row)
    block.close()
    values = np.asarray(np.load(path, mmap_mode="r"))
    return replace(panel, values=values, categories={**panel.categories, **other})


def check_kind(
    name: str, texts: Sequence[str] | None, categories: Mapping[str, Sequence[str]], here: str, there: str
) -> None:
    """Refuse a covariate that is text in one place and a number in the other: codes of texts are no numbers.

    `texts`: those of the column, None for numbers. `categories`: of the text covariates `there`.
    """
    if (texts is None) == (name in categories):
        kinds = ("text", "a number") if texts is not None else ("a number", "text")
        raise InvalidInput(f"column {name!r} {here}", f"is {kinds[0]}, and {kinds[1]} in {there}", "write both alike")


def recoded(codes: Floats, texts: Sequence[str], wanted: Sequence[str]) -> Floats:
    """Codes of `texts` as those of the same texts in `wanted`; NaN for other texts."""
    code_of = {text: code for code, text in enumerate(wanted)}
    table = np.array([*(code_of.get(text, np.nan) for text in texts), np.nan], dtype=np.float32)
    found: Floats = table[np.where(np.isnan(codes), -1, codes).astype(np.int64)]
    return found
