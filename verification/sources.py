"""What the figures of a part are made from, in one word: a part whose word is another was made from other code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = "src/chronos_ec2"
_RULES = tuple(
    f"{_PACKAGE}/{room}"
    for room in ("domain", "services", "testing", "run_store.py", "ports.py", "user_data/__init__.py")
)
_SIMULATED = (
    *_RULES, f"{_PACKAGE}/worker", "verification/simulation", "verification/histories.py",
)  # fmt: skip
ROOMS: dict[str, tuple[str, ...]] = {
    "crash-points": (
        *_SIMULATED,
        *(f"verification/crash_points/{part}.py" for part in ("enumerate", "cases", "situations")),
    ),
    "model": ("verification/model",),
    "histories": _SIMULATED,
    "layers": _SIMULATED,
    "fuzz": (*_RULES, "verification/fuzz.py", "events"),
    "defects": ("src", "agent", "functions", "verification/seeded_defects/defects.py", "template.yaml"),
    "mutation": (f"{_PACKAGE}/domain", "verification/mutation.py", "tests/domain"),
}
"""The files and folders that the figures of each part hang on."""
_KINDS = frozenset({".py", ".json", ".pml", ".yaml", ".toml"})


def fingerprint(part: str, root: Path = ROOT) -> str:
    """A hash of the names and contents of all that a part is made from."""
    found = hashlib.sha256()
    for path in sorted(_files(root / room for room in ROOMS[part])):
        found.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:12]


def _files(rooms: Iterable[Path]) -> Iterator[Path]:
    for room in rooms:
        yield from (path for path in room.rglob("*") if path.suffix in _KINDS) if room.is_dir() else [room]
