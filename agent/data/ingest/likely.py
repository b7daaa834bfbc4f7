"""What the columns of a table are likely to be, for hints: options that name them, and the form of times in text."""

from __future__ import annotations

import shlex
from itertools import product

import pyarrow as pa
import pyarrow.compute as pc

from agent.data.ingest.parts import is_text, value_type
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.job_config.data import Data

_DAYS = (
    "%d.%m.%Y", "%d.%m.%y", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y",
    "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%b %Y", "%b-%y", "%m/%Y", "%m.%Y", "%Y/%m", "%Y%m%d",
)  # fmt: skip
"""In `strptime` a %b is also the name of a month in full."""
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_SAMPLE = 1000
_YEARS = pa.scalar(1800), pa.scalar(2300)


def forms_of(texts: pa.Array | pa.ChunkedArray) -> list[str]:
    """The forms of `strptime` that all of these texts have, of those in use around the world."""
    known = texts.drop_null()
    some = known.slice(0, _SAMPLE)
    forms = [form for form in map("".join, product(_DAYS, _CLOCKS)) if len(some) and _has_form(some, form)]
    return [form for form in forms if _has_form(known, form)]


def columns_hint(table: pa.Table, data: Data, *, converted: bool) -> str:
    """The columns of a table without one that a run needs, and the options and keys that are likely to name them.

    Args:
        table: some rows.
        data: the names so far.
        converted: it comes from a file that may be wide, a column for each series, if its time is named.
    """
    hint = "its columns: " + one_line(", ".join(table.column_names), 160)
    options = _likely(table, data, converted=converted)
    if not options:
        return hint
    flags = " ".join(f"--{role.replace('_', '-')} {shlex.quote(name)}" for role, name in options.items())
    keys = ", ".join(f"{role}: {name}" for role, name in options.items() if role != "timestamp_format")
    return f"{hint}; perhaps {one_line(flags, 200)}, or data: {{{one_line(keys, 160)}}} in the configuration"


def _likely(table: pa.Table, data: Data, *, converted: bool) -> dict[str, str]:
    """Names by role, of the roles that the table has no column for and exactly one that fits."""
    given = {*data.item_id, data.timestamp, *data.target, *data.past_covariates, *data.known_covariates}
    kinds = {field.name: value_type(field.type) for field in table.schema if field.name not in given}
    forms = {name: forms_of(table[name].cast(pa.string())) for name, kind in kinds.items() if is_text(kind)}
    times = [name for name, kind in kinds.items() if pa.types.is_temporal(kind)]
    times = times or [name for name, found in forms.items() if found]
    texts = [name for name in forms if name not in times]
    numbers = [name for name, kind in kinds.items() if pa.types.is_floating(kind) or pa.types.is_decimal(kind)]
    numbers = numbers or [name for name, kind in kinds.items() if pa.types.is_integer(kind)]
    found: dict[str, str] = {}
    if not set(data.item_id) <= set(table.column_names) and len(texts) == 1:
        found["item_id"] = texts[0]
    if data.timestamp not in table.column_names and len(times) == 1:
        found["timestamp"] = times[0]
    wide = converted and not texts and not set(data.target) & set(table.column_names)
    if not wide and not set(data.target) <= set(table.column_names) and len(numbers) == 1:
        found["target"] = numbers[0]
    if form := next(iter(forms.get(found.get("timestamp", ""), [])), ""):
        found["timestamp_format"] = form
    return found


def _has_form(texts: pa.Array | pa.ChunkedArray, form: str) -> bool:
    try:
        years = pc.year(pc.strptime(texts, format=form, unit="s"))
    except (pa.ArrowException, ValueError):
        return False
    first, last = _YEARS
    return bool(pc.all(pc.and_(pc.greater(years, first), pc.less(years, last))).as_py())
