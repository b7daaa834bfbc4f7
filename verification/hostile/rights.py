"""What an instance may write: the policy of its role in other words. A test compares both."""

from __future__ import annotations

import re
from enum import Enum, auto

_OF_A_RUN = re.compile(r"(?P<environment>[^/]+)/(?!lanes/).{8}T.{6}Z-.{6}/(?P<name>.*)", re.DOTALL)
"""In a policy, a ? matches a slash too."""
_ONCE = ("claims/", "outcomes/")
_FOLDERS = ("checkpoints/", "models/", "eval/", "forecasts/", "plots/", "tensorboard/", "logs/")
_DOCUMENTS = (
    "heartbeat.json", "status.json", "run.json", "training.json", "metrics.jsonl", "forecasts.parquet", "report.html",
)  # fmt: skip


class Right(Enum):
    """How an object may be written."""

    CREATE = auto()
    """Once: where none is."""
    REPLACE = auto()


def right_to_write(key: str, environment: str) -> Right | None:
    """How an instance of an environment may write an object; None if it may not."""
    match = _OF_A_RUN.fullmatch(key)
    if match is None or match["environment"] != environment:
        return None
    if match["name"].startswith(_ONCE):
        return Right.CREATE
    may = match["name"] in _DOCUMENTS or match["name"].startswith(_FOLDERS)
    return Right.REPLACE if may else None
