"""The table of a drill in its guide, and in README."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_TABLE = re.compile(r"(<!-- drill -->\n).*?(<!-- /drill -->)", re.DOTALL)
_HEADER = ("Fault", "What happens", "Seconds from", "Seconds", "Guaranteed", "Cause in the record")


def with_table(document: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A document with the table of a drill in place of its former one. Raises ValueError if a guarantee was broken."""
    if not all(row["kept"] for row in rows):
        raise ValueError("this drill did not keep its guarantees")
    lines = [_line(_HEADER), "|---|---|---|---:|---:|---|"]
    for row in rows:
        seconds, cause = max(row["seconds"], 0.0), row["cause"] or "no record"
        lines.append(
            _line((f"`{row['fault']}`", row["what"], row["since"], f"{seconds:.0f}", f"{row['guaranteed']:.0f}", cause))
        )
    return _TABLE.sub(lambda found: found[1] + "\n".join(lines) + "\n" + found[2], document)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
