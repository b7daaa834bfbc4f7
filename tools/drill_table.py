"""Writes the table of a drill into README.md: `python -m tools.drill_table`, of the demo's or of another drill.json."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"(<!-- drill -->\n).*?(<!-- /drill -->)", re.DOTALL)


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table: what happened, how long the instance lived on, and how long it may."""
    lines = ["| What happens to a run | Its instance ends after | Guaranteed |", "|---|---:|---:|"]
    for row in rows:
        seconds = max(row["seconds"], 0.0)
        lines.append(f"| {row['what']} | {seconds:.0f} s from {row['since']} | {row['guaranteed']:.0f} s |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Replace the table in README.md. Raises ValueError for a drill that did not keep its guarantees."""
    drilled = json.loads(Path(arguments[0] if arguments else ROOT / "build" / "demo" / "drill.json").read_text())
    if drilled["left"] or not all(row["kept"] for row in drilled["rows"]):
        raise ValueError("this drill did not keep its guarantees")
    readme = ROOT / "README.md"
    table = as_markdown(drilled["rows"])
    readme.write_text(_BLOCK.sub(lambda found: found[1] + table + found[2], readme.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
