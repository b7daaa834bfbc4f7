"""Where figures go: build/bench.json by their names, and a section of docs/benchmarks.md."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT, FIGURES = ROOT / "docs" / "benchmarks.md", ROOT / "build" / "bench.json"
_HEAD = "# Benchmarks\n\nMade by `make bench` on two cores; each section names the command for itself alone.\n"


def publish(figures: Mapping[str, Any], title: str, text: str) -> None:
    """Put figures and their section in the place of those that were there."""
    FIGURES.parent.mkdir(exist_ok=True)
    found = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    FIGURES.write_text(json.dumps(found | dict(figures), indent=1) + "\n")
    document = DOCUMENT.read_text() if DOCUMENT.exists() else _HEAD
    section = f"## {title}\n\n{text.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(document):
        document = pattern.sub(lambda _: section + "\n", document)
    else:
        document = f"{document.rstrip()}\n\n{section}"
    DOCUMENT.write_text(document.rstrip() + "\n")
