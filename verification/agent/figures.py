"""build/agent.json: measurements of the agent, by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

AGENT = Path("build/agent.json")


def note(name: str, found: Any, path: Path = AGENT) -> None:
    """Write one measurement over its previous one."""
    known = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known | {name: found}, indent=1) + "\n")
