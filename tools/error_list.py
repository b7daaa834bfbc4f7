"""Lists every error by its words: `python -m tools.error_list` writes the end of docs/troubleshooting.md.

The words are read from the code that raises them, with `…` for what differs from case to case.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "troubleshooting.md"
HEADING = "## Every error by its words\n"
_PEOPLE_SEE = ("src/chronos_ec2", "agent")
_NOT_SEEN = ("src/chronos_ec2/testing/",)
_TREE = ROOT / "src/chronos_ec2/domain/errors.py"
_ROOTS = {"ChronosError"}
_INTERNAL = {"LostRace", "Fenced", "EndedByWatchdog", "Stopped", "InvalidDocument", "ObjectChanged"}
"""Errors that no person meets: they end an agent, or make the watchdog look again."""


@cache
def error_classes() -> set[str]:
    """The names of our error classes, from all modules that people's errors come from."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = set(_ROOTS)
    while more := {name for name, of in bases.items() if of & found} - found:
        found |= more
    return found - _ROOTS - _INTERNAL


@cache
def usual_hints() -> dict[str, str]:
    """The hint of each class that has one for all of its errors, or whose base has."""
    found: dict[str, str] = {}
    for tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                of_base = (found[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in found)
                if hint := next(of_base, ""):
                    found[node.name] = hint
                for child in node.body:
                    match child:
                        case ast.Assign(targets=[ast.Name(id="usual_hint")], value=ast.Constant(value=str(text))):
                            found[node.name] = text
    return found


@cache
def errors() -> dict[str, list[tuple[str, str]]]:
    """By class, the words of each error and of its hint, sorted."""
    classes, usual, found = error_classes(), usual_hints(), defaultdict(set)
    for tree in _trees():
        for node, values in _calls(tree, {}):
            if (name := _name(node.func)) in classes:
                problem, hint = _words(name, node, values, usual)
                if re.search(r"[a-z]{3}", problem):
                    found[name].add((problem, hint))
    return {name: sorted(found[name]) for name in sorted(found)}


def as_markdown() -> str:
    """The section with all errors."""
    lines = [
        HEADING,
        "Written by `python -m tools.error_list`; `…` stands for what differs.\n",
    ]
    taken: set[str] = set()
    for name, rows in errors().items():
        lines += [f"**[{name}](#{name.lower()})**\n", "| The error says | The hint says |", "|---|---|"]
        for problem, hint in rows:
            anchor = _anchor(problem, taken)
            taken.add(anchor)
            lines.append(f'| <a id="{anchor}"></a>{_cell(problem)} | {_cell(hint)} |')
        lines.append("")
    return "\n".join(lines)


def _anchor(problem: str, taken: set[str]) -> str:
    """The first words of an error, as many as make its anchor one of its own."""
    words = re.findall(r"[a-z0-9]+", problem.lower())
    shortest = next((n for n in range(6, len(words)) if "error-" + "-".join(words[:n]) not in taken), len(words))
    anchor = "error-" + "-".join(words[:shortest])
    return next(each for each in (anchor, *(f"{anchor}-{n}" for n in range(2, 99))) if each not in taken)


def with_errors(document: str) -> str:
    """A document with its last section, the errors, written anew."""
    return document.partition(HEADING)[0].rstrip() + "\n\n" + as_markdown()


@cache
def _trees() -> list[ast.Module]:
    paths = (path for folder in _PEOPLE_SEE for path in sorted((ROOT / folder).rglob("*.py")))
    return [ast.parse(path.read_text()) for path in paths if not str(path.relative_to(ROOT)).startswith(_NOT_SEEN)]


def _calls(node: ast.AST, values: Mapping[str, ast.expr]) -> Iterator[tuple[ast.Call, Mapping[str, ast.expr]]]:
    """Each call in a module, with what the names around it were last given: constants, and variables of its function.

    A parameter hides a constant of the same name.
    """
    if isinstance(node, ast.FunctionDef | ast.Lambda):
        arguments = node.args
        hidden = {each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
        values = {name: value for name, value in values.items() if name not in hidden}
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            yield child, values
        yield from _calls(child, values)
        match child:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                values = {**values, name: value}


def _name(function: ast.expr) -> str:
    return (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )


def _words(name: str, call: ast.Call, values: Mapping[str, ast.expr], usual: Mapping[str, str]) -> tuple[str, str]:
    parts = [_text(argument, values) for argument in call.args]
    named = {keyword.arg: _text(keyword.value, values) for keyword in call.keywords}
    if name == "InvalidInput":
        where, *parts = parts or [named.get("where", "…")]
        parts = [f"{where}: {parts[0] if parts else named.get('problem', '…')}", *parts[1:]]
    problem = parts[0] if parts else named.get("problem", "…")
    hint = parts[1] if len(parts) > 1 else named.get("hint", named.get("remedy", ""))
    return problem, hint or usual.get(name, "")


def _text(node: ast.expr, values: Mapping[str, ast.expr]) -> str:
    match node:
        case ast.Name(id=name) if name in values:
            without = {other: value for other, value in values.items() if other != name}
            found = _text(values[name], without)
        case ast.Constant(value=str(text)):
            found = text
        case ast.JoinedStr(values=parts):
            found = "".join(_text(part, values) for part in parts)
        case ast.FormattedValue(value=ast.Name() as inner):
            found = _text(inner, values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            found = _text(left, values) + _text(right, values)
        case ast.IfExp(body=body, orelse=orelse):
            found = " / ".join(text for text in (_text(body, values), _text(orelse, values)) if text)
        case _:
            found = "…"
    return re.sub(r"…(\s*…)+", "…", " ".join(found.split(" ")))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;").strip()


if __name__ == "__main__":
    DOCUMENT.write_text(with_errors(DOCUMENT.read_text()))
    print(DOCUMENT)
