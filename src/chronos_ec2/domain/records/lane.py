"""A lane, and the S3 key of its lock."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chronos_ec2.domain.parsing.names import check_name

MAIN_LANE = "main"
CACHED = "cached-datasets"
_MAIN_KEY = re.compile(r"(?P<environment>[a-z][a-z0-9-]{0,30})/system-state\.json")
_LANE_KEY = re.compile(r"(?P<environment>[a-z][a-z0-9-]{0,30})/lanes/(?P<lane>[a-z][a-z0-9-]{0,30})/system-state\.json")


@dataclass(frozen=True, slots=True, order=True)
class Lane:
    """One lock, so at most one active run. The main lane has the reference's key, each other lane its own."""

    environment: str
    name: str = MAIN_LANE

    def __post_init__(self) -> None:
        check_name(self.environment, "environment")
        check_name(self.name, "lane")

    @property
    def state_key(self) -> str:
        """Key of the lock, which is also the current state of the run."""
        if self.name == MAIN_LANE:
            return f"{self.environment}/system-state.json"
        return f"{lanes_prefix(self.environment)}{self.name}/system-state.json"

    @classmethod
    def from_state_key(cls, key: str) -> Lane | None:
        """The lane whose lock has this key, or None for any other key."""
        if match := _MAIN_KEY.fullmatch(key):
            return None if match["environment"] == CACHED else cls(match["environment"])
        if match := _LANE_KEY.fullmatch(key):
            if match["environment"] == CACHED or match["lane"] == MAIN_LANE:
                return None
            return cls(match["environment"], match["lane"])
        return None

    def __str__(self) -> str:
        return f"environment {self.environment}" + ("" if self.name == MAIN_LANE else f", lane {self.name}")


def lanes_prefix(environment: str) -> str:
    """Prefix of the locks of all lanes except the main one."""
    return f"{environment}/lanes/"
