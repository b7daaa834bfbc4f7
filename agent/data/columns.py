"""The columns of a data set across its Parquet files: where each is, and whether its types fit its role."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa

from agent.data.findings import EXAMPLES, Finding, Findings, setting_for
from agent.data.ingest.likely import columns_hint
from agent.data.ingest.parts import Part, alike, is_text, open_parts, value_type
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.job_config.data import Data

_LOOKED_AT = 1000
"""How many rows of a file are looked at for a hint."""
_UNITS = ("s", "ms", "us", "ns")
_OFFSET = re.compile(r"(?:UTC|GMT|Etc/UTC)?([+-])(\d{1,2}):?(\d{2})?", re.IGNORECASE)
_NUMBER = re.compile(r"\s*(?:[+-]?[\d.]+(?:e[+-]?\d+)?|nan|na|n/a|null)?\s*", re.IGNORECASE)
_PERIOD = "pandas.period"
_RESERVED = {"__fragment_index", "__batch_index", "__last_in_fragment", "__filename"}
"""Columns that Arrow adds to what it reads."""


def check_columns(parts: Sequence[Part], data: Data, findings: Findings) -> int:
    """Check the types of all files without reading them; returns the total number of rows.

    Raises:
        InvalidInput: names file and column.
    """
    groups = alike(parts)
    for role, allows in _ROLES.items():
        for column in getattr(data, role) if role != "timestamp" else [data.timestamp]:
            _check_column(groups, data, column, role, allows)
    _check_zones(parts, data, findings)
    return sum(part.rows for part in parts)


def count_rows(files: Sequence[Path], data: Data) -> int:
    """The number of rows of files whose columns fit. Raises InvalidInput, which names file and column."""
    return check_columns(open_parts(files, data), data, Findings(data.problems))


def common_time(parts: Sequence[Part], column: str) -> pa.DataType:
    """int64, or a timestamp with the finest unit, in the common zone, or in UTC if zones differ."""
    kinds = [value_type(field.type) for part, *_ in alike(parts) if (field := part.field(column)) is not None]
    known = [kind for kind in kinds if not pa.types.is_null(kind)]
    if known and pa.types.is_integer(known[0]):
        return pa.int64()
    stamps = [kind for kind in known if pa.types.is_timestamp(kind)]
    finest = max((kind.unit for kind in stamps), key=_UNITS.index, default="ms")
    zones = {zone_of(kind) for kind in known}
    return pa.timestamp(finest, zones.pop() if len(zones) == 1 else "UTC" if zones else None)


def stored_time(parts: Sequence[Part], column: str, common: pa.DataType) -> pa.DataType:
    """The type of the times for outputs: dates if they are dates in all files, else the common one."""
    kinds = {field.type for part, *_ in alike(parts) if (field := part.field(column)) is not None}
    only = kinds.pop() if len(kinds) == 1 else common
    return only if pa.types.is_date(only) else common


def zone_of(kind: pa.DataType) -> str | None:
    """The zone of a type as Arrow computes with it: UTC+09:00, as pandas writes it, is +09:00."""
    zone: str | None = getattr(kind, "tz", None)
    if not zone:
        return None
    if zone.upper() in {"UTC", "Z", "GMT", "ETC/UTC"}:
        return "UTC"
    if (offset := _OFFSET.fullmatch(zone)) is not None:
        return f"{offset[1]}{int(offset[2]):02}:{offset[3] or '00'}"
    return zone


def names_of(paths: Iterable[Part]) -> str:
    """A few names of files."""
    return ", ".join(one_line(part.name, 80) for part in islice(paths, EXAMPLES))


def _check_column(
    groups: Sequence[list[Part]], data: Data, column: str, role: str, allows: Callable[[pa.DataType], bool]
) -> None:
    """Check that each file has the column once, with a type its role allows, and that all types are of one kind."""
    kinds: dict[str, list[Part]] = {}
    for group in groups:
        part = group[0]
        field = part.field(column)
        if field is None:
            raise InvalidInput(part.name, f"has no column {column!r} for data.{role}", _hint(part, data))
        if part.schema.names.count(column) > 1:
            times = part.schema.names.count(column)
            raise InvalidInput(part.name, f"has {times} columns of the name {column!r}", "rename all but one")
        if column in _RESERVED:
            raise InvalidInput(part.name, f"column {column!r} has a name that Arrow keeps for itself", "rename it")
        if (period := _period(field)) is not None:
            problem = f"column {column!r} has pandas periods{period}, which are written as plain numbers"
            raise InvalidInput(part.name, problem, "write times: df[column].dt.to_timestamp()")
        kind = value_type(field.type)
        # A column without any value may have been written as null.
        if not pa.types.is_null(kind) and not allows(kind):
            example = _example(part, column) if is_text(kind) else ""
            problem = f"column {column!r} is {field.type}{example}, which cannot be data.{role}"
            raise InvalidInput(part.name, problem, _HINTS[role](kind))
        # Items are read as text if their types differ; a column without any value has no kind.
        if role != "item_id" and not pa.types.is_null(kind):
            kinds.setdefault(_kind(kind), []).extend(group)
    if len(kinds) > 1:
        count = sum(map(len, groups))
        problem = "; ".join(f"{kind} in {_of_files(group, count)}" for kind, group in _rarest_first(kinds))
        raise InvalidInput(f"column {column!r}", problem, f"data.{role} must be of one kind in all files")


def _hint(part: Part, data: Data) -> str:
    try:
        return columns_hint(part.head(_LOOKED_AT), data, converted=part.converted)
    except (pa.ArrowException, OSError, KeyError):  # damaged rows, or two columns of one name: reported after this
        return "its columns: " + one_line(", ".join([*part.schema.names, *part.keys]), 160)


def _example(part: Part, column: str) -> str:
    try:
        values = [str(value) for value in part.head(_LOOKED_AT)[column].drop_null().to_pylist()]
    except (pa.ArrowException, OSError):
        return ""
    return next((f", such as {one_line(value, 40)!r}" for value in values if not _NUMBER.fullmatch(value)), "")


def _check_zones(parts: Sequence[Part], data: Data, findings: Findings) -> None:
    zones: dict[str, list[Part]] = {}
    for group in alike(parts):
        part = group[0]
        field = part.field(data.timestamp)
        if field is None or pa.types.is_null(field.type):
            continue
        zone = zone_of(field.type)
        if zone is not None and not _known_zone(zone):
            problem = f"column {data.timestamp!r} is in the time zone {one_line(field.type.tz, 40)!r}, which is unknown"
            raise InvalidInput(part.name, problem, "write its times in UTC or in a zone such as Europe/Berlin")
        zones.setdefault(f"in {zone}" if zone else "without a zone", []).extend(group)
    if len(zones) > 1:
        problem = "; ".join(f"times {zone} in {_of_files(group, len(parts))}" for zone, group in _rarest_first(zones))
        remedy = setting_for("zones", "utc treats times as instants, those without a zone as UTC")
        counts = {zone: len(group) for zone, group in zones.items()}
        findings.report(Finding("zones", f"column {data.timestamp!r}", problem, remedy, counts))


def _known_zone(zone: str) -> bool:
    if _OFFSET.fullmatch(zone):
        return True
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        return False
    return True


def _period(field: pa.Field) -> str | None:
    """The frequency of a column of pandas periods, as text; None for any other column."""
    about = field.metadata or {}
    name = getattr(field.type, "extension_name", about.get(b"ARROW:extension:name", b"").decode(errors="replace"))
    if name != _PERIOD:
        return None
    freq = getattr(field.type, "freq", None)
    return f" ({freq})" if isinstance(freq, str) else ""


def _rarest_first(groups: Mapping[str, list[Part]]) -> list[tuple[str, list[Part]]]:
    return sorted(groups.items(), key=lambda group: len(group[1]))


def _of_files(group: Sequence[Part], count: int) -> str:
    return f"{len(group)} of {count} files, for instance {names_of(group)}"


def _kind(kind: pa.DataType) -> str:
    if is_text(kind):
        return "text"
    return "a time" if pa.types.is_timestamp(kind) or pa.types.is_date(kind) else "a number"


def _is_item(kind: pa.DataType) -> bool:
    return is_text(kind) or bool(pa.types.is_integer(kind))


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_integer(kind))


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return any(is_it(kind) for is_it in (types.is_floating, types.is_integer, types.is_decimal, types.is_boolean))


def _is_covariate(kind: pa.DataType) -> bool:
    return _is_number(kind) or is_text(kind)


_ROLES = {
    "item_id": _is_item,
    "timestamp": _is_time,
    "target": _is_number,
    "past_covariates": _is_covariate,
    "known_covariates": _is_covariate,
}


def _write_as(what: str) -> Callable[[pa.DataType], str]:
    return lambda kind: f"write it as {what}" + (": pandas.to_datetime" if what == "times" and is_text(kind) else "")


_HINTS = {
    "item_id": _write_as("text or integers"),
    "timestamp": _write_as("times"),
    "target": _write_as("numbers"),
    "past_covariates": _write_as("numbers or text"),
    "known_covariates": _write_as("numbers or text"),
}
