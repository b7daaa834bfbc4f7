"""README admits Python 3.11: Debian 12 has 3.11.2, and libraries have grown since."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LATER_ARGUMENTS = {("extractall", "filter"), ("extract", "filter")}
"""From 3.11.4 on."""
LATER_NAMES = {"data_filter", "tar_filter", "batched"}
WORDS = (*(name for name, _argument in LATER_ARGUMENTS), *LATER_NAMES)


def test_nothing_is_called_that_the_oldest_python_does_not_have() -> None:
    found = []
    for folder in ("src", "agent", "functions", "verification", "benchmarks", "examples", "tools", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            if not any(word in text for word in WORDS):
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    later = {(node.func.attr, keyword.arg) for keyword in node.keywords} & LATER_ARGUMENTS
                    found += [f"{path.relative_to(ROOT)}:{node.lineno} {name}({argument}=)" for name, argument in later]
                if isinstance(node, ast.Attribute) and node.attr in LATER_NAMES:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.attr}")
    assert found == []
