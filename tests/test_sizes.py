"""A reader sees a folder or a module at a glance: sizes of what is not a test."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = ("src", "agent", "functions", "verification", "benchmarks", "examples", "tools")
LINES, MODULES, FEW_LINES = 300, 12, 15


def oversized(root: Path) -> list[str]:
    """Modules that are too long, folders with too many modules, short modules that could live with their only user."""
    modules = {path: path.read_text() for folder in CODE for path in sorted((root / folder).rglob("*.py"))}
    lines = {path: len(text.splitlines()) for path, text in modules.items()}
    plain = [path for path in modules if path.name != "__init__.py"]
    folders = Counter(path.parent.relative_to(root) for path in plain)
    short = [path for path in plain if lines[path] < FEW_LINES and path.name != "__main__.py"]
    importing = modules.items() if short else ()
    users = Counter(name for path, text in importing for name in imports(text) if name != dotted(path, root))
    return [
        *(f"{path.relative_to(root)} has {count} lines" for path, count in lines.items() if count > LINES),
        *(f"{folder} has {count} modules" for folder, count in folders.items() if count > MODULES),
        *(f"{path.relative_to(root)} has one user" for path in short if users[dotted(path, root)] < 2),
    ]


def imports(text: str) -> set[str]:
    """The modules that a module imports, and whatever it imports from them."""

    def named() -> Iterator[str]:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))

    return set(named())


def dotted(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removeprefix("src.")


def test_modules_and_folders_have_a_readable_size() -> None:
    assert oversized(ROOT) == []


def test_each_package_says_in_a_line_what_may_be_in_it() -> None:
    packages = [path for folder in CODE for path in (ROOT / folder).rglob("__init__.py")]
    assert len(packages) > 40
    assert [path for path in packages if not ast.get_docstring(ast.parse(path.read_text()))] == []


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"agent/long.py": 300}, []),
        ({"agent/long.py": 301}, ["agent/long.py has 301 lines"]),
        ({f"agent/data/{number}.py": 20 for number in range(12)} | {"agent/data/__init__.py": 20}, []),
        ({f"agent/data/{number}.py": 20 for number in range(13)}, ["agent/data has 13 modules"]),
        ({"agent/short.py": 14, "agent/user.py": "agent.short"}, ["agent/short.py has one user"]),
        ({"agent/short.py": 14, "agent/user.py": "agent.short", "tools/other.py": "agent.short"}, []),
        ({"agent/short.py": 15, "agent/user.py": "agent.short"}, []),
        ({"agent/__main__.py": 5}, []),
    ],
)
def test_what_is_too_large_or_too_small_is_found(files: dict[str, int | str], found: list[str], tmp_path: Path) -> None:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        body = "pass\n" * content if isinstance(content, int) else f"from {content} import x\n" + "pass\n" * 20
        path.write_text(body)
    assert oversized(tmp_path) == found
