"""What build/operator.json says of the command: what its tests reach, how its errors read, how fast its help is."""

from __future__ import annotations

import ast
import json
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from chronos_ec2.cli.app import app
from tools.error_list import DOCUMENT, ROOT, errors

_EVIDENCE = ROOT / "build" / "evidence.json"


def commands() -> dict[str, bool]:
    """Each command, and whether a test runs it: with a fixture, with CliRunner, or as a process."""
    words = {arguments for path in (ROOT / "tests").rglob("*.py") for arguments in _calls(path)}
    return {" ".join(name): any(each[: len(name)] == name for each in words) for name in _names()}


def _names() -> Iterator[tuple[str, ...]]:
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="chronos-ec2")
    for name in group.list_commands(context):  # type: ignore[attr-defined]
        found = group.resolve_command(context, [name])[1]  # type: ignore[attr-defined]
        nested = getattr(found, "commands", {})
        yield from ((name, each) for each in nested) if nested else [(name,)]


def _calls(path: Path) -> Iterator[tuple[str, ...]]:
    """The leading words of each call and list in a test."""
    for node in ast.walk(ast.parse(path.read_text())):
        values = (
            node.args if isinstance(node, ast.Call) else node.elts if isinstance(node, ast.List | ast.Tuple) else []
        )
        found = [
            each.value if isinstance(each, ast.Constant) and isinstance(each.value, str) else "" for each in values
        ]
        yield from (tuple(found[start : start + 2]) for start in range(len(found)))
        yield from (tuple(word.split()[:2]) for word in found if word)


def said_by_errors() -> dict[str, int]:
    """Of all errors that people meet: those of one line, and those whose class has an anchor in the documentation."""
    document = DOCUMENT.read_text()
    all_of_them = [(name, words) for name, rows in errors().items() for words in rows]
    return {
        "cases": len(all_of_them),
        "one_line": sum("\n" not in problem + hint for _, (problem, hint) in all_of_them),
        "with_anchor": sum(f"### {name}\n" in document for name, _ in all_of_them),
    }


def help_ms(program: str) -> float:
    """The median time of `chronos-ec2 --help`, in milliseconds."""
    took = []
    for _ in range(5):
        began = time.monotonic()
        subprocess.run([program, "--help"], check=True, capture_output=True)
        took.append((time.monotonic() - began) * 1000)
    return round(statistics.median(took), 0)


def plans(planned: Sequence[float], runs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Runs whose final cost is above the worst case that was printed: in this session, and in the simulator."""
    above = sum(run["cost_usd"] > max(planned) for run in runs)
    if not _EVIDENCE.is_file():
        return {"above": above, "runs": len(runs)}
    simulated = json.loads(_EVIDENCE.read_text())
    return {
        "above": above, "runs": len(runs), "simulated_above": simulated["above_the_plan"],
        "simulated_histories": simulated["histories"],
    }  # fmt: skip
