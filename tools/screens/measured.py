"""What build/operator.json says of the command: what its tests reach, how its errors read, how fast its help is."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chronos_ec2.cli.app import SUMMARIES, load
from tools.error_list import DOCUMENT, ROOT, as_markdown, errors
from tools.newcomer import first_steps

_EVIDENCE = ROOT / "build" / "evidence.json"
_RUNS_A_COMMAND = {"run", "cli", "command", "_command", "_cli", "_json", "_show", "_shoot"}
"""The names under which tests call the command."""
_MODULE = "chronos_ec2.cli"
_COMMAND = re.compile(r"chronos-ec2 ([a-z]+(?: [a-z]+)?)")
_DEMO = "chronos-ec2 local demo"
"""What `make demo` runs."""


def commands(tests: Path = ROOT / "tests") -> dict[str, bool]:
    """Each command, and whether a test runs it, in its own process, in another one, or in README's first steps."""
    called = {words for path in tests.rglob("*.py") for words in _called(ast.parse(path.read_text()))}
    if any("first_steps" in path.read_text() for path in tests.rglob("*.py")):
        steps = "\n".join(first_steps((ROOT / "README.md").read_text()))
        called |= {tuple(words.split()) for words in _COMMAND.findall(steps.replace("make demo", _DEMO))}
    return {" ".join(name): any(words[: len(name)] == name for words in called) for name in _names()}


def _names() -> Iterator[tuple[str, ...]]:
    for name in SUMMARIES:
        inner = getattr(load(name), "commands", {})
        yield from ((name, each) for each in inner) if inner else [(name,)]


def _called(tree: ast.Module) -> Iterator[tuple[str, ...]]:
    """The first words of each command line that a test runs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) in _RUNS_A_COMMAND:
            yield _words(node.args)
        elif isinstance(node, ast.List | ast.Tuple):
            words = [each.value if isinstance(each, ast.Constant) else None for each in node.elts]
            if _MODULE in words:
                yield _words(node.elts[words.index(_MODULE) + 1 :])


def _name(function: ast.expr) -> str:
    return getattr(function, "id", getattr(function, "attr", ""))


def _words(arguments: Sequence[ast.expr]) -> tuple[str, ...]:
    """The first two words, as far as they are written there."""
    found: list[str] = []
    for each in arguments[:2]:
        if not (isinstance(each, ast.Constant) and isinstance(each.value, str)):
            break
        found.append(each.value)
    return tuple(found)


def said_by_errors() -> dict[str, int]:
    """Of all errors that people meet: those whose words are one line, and those with an anchor in the documentation."""
    document = DOCUMENT.read_text()
    anchors = re.findall(r'<a id="(error-[^"]+)"', as_markdown())
    return {
        "cases": len(anchors),
        "one_line": sum("\n" not in problem + hint for rows in errors().values() for problem, hint in rows),
        "with_anchor": sum(f'<a id="{anchor}"' in document for anchor in anchors),
    }


def help_ms(program: str) -> int:
    """The least time that `chronos-ec2 --help` takes of several, in milliseconds."""
    took = []
    for _ in range(7):
        began = time.monotonic()
        subprocess.run([program, "--help"], check=True, capture_output=True)
        took.append(1000 * (time.monotonic() - began))
    return round(min(took))


def worst_case_held(costs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Runs whose final cost is above the worst case of their plan: here, and in the histories of `make evidence`."""
    here = {"above": sum(cost > most for cost, most in costs), "runs": len(costs)}
    if not _EVIDENCE.is_file():
        return {"embedded_aws": here, "simulator": None}
    found: Mapping[str, Any] = json.loads(_EVIDENCE.read_text())
    return {"embedded_aws": here, "simulator": {"above": found["above_the_plan"], "histories": found["histories"]}}
