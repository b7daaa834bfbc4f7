"""build/agent.json: measurements of the agent, by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def note(name: str, found: Any) -> None:
    """Write one measurement over its previous one."""
    path = Path("build/agent.json")
    known = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(known | {name: found}, indent=1) + "\n")
