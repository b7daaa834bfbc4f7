"""What figures are made from, in one word: a part whose word is another was made from other code."""

from __future__ import annotations

import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_ROOMS, _KINDS = (
    ("src", "agent", "functions", "evidence", "events"),
    frozenset({".py", ".json", ".pml", ".yaml", ".toml"}),
)


def fingerprint(root: Path = ROOT) -> str:
    """A hash of the names and contents of all code that evidence is made from, and of the template."""
    found = hashlib.sha256()
    files = [path for room in _ROOMS for path in (root / room).rglob("*") if path.suffix in _KINDS]
    for path in sorted([*files, root / "template.yaml"]):
        found.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:12]
