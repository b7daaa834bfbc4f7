"""Where figures about the agent are kept: build/agent.json, one key for each measurement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

AGENT = Path("build/agent.json")


def note(name: str, found: Any, path: Path = AGENT) -> None:
    """Put one measurement in place of its last one."""
    known = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known | {name: found}, indent=1) + "\n")
