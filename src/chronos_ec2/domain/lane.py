"""Where things lie in the bucket. The only module that spells an S3 key of ours."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chronos_ec2.domain.text import check_name

MAIN_LANE = "main"
CACHED = "cached-datasets"
RUN_ID_PATTERN = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")

_MAIN_KEY = re.compile(r"(?P<environment>[a-z][a-z0-9-]{0,30})/system-state\.json")
_LANE_KEY = re.compile(r"(?P<environment>[a-z][a-z0-9-]{0,30})/lanes/(?P<lane>[a-z][a-z0-9-]{0,30})/system-state\.json")


@dataclass(frozen=True, slots=True, order=True)
class Lane:
    """One lock: at most one active run. The main lane has the reference's key, further lanes have their own."""

    environment: str
    name: str = MAIN_LANE

    def __post_init__(self) -> None:
        check_name(self.environment, "environment")
        check_name(self.name, "lane")

    @property
    def state_key(self) -> str:
        """Key of the lock, which is also the live state."""
        if self.name == MAIN_LANE:
            return f"{self.environment}/system-state.json"
        return f"{lanes_prefix(self.environment)}{self.name}/system-state.json"

    @classmethod
    def from_state_key(cls, key: str) -> Lane | None:
        """The lane whose lock lies at `key`; None for any other key."""
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
    """Prefix of the locks of all lanes but the main one."""
    return f"{environment}/lanes/"


def run_prefix(environment: str, run_id: str) -> str:
    """Prefix of everything that one run writes."""
    return f"{environment}/{run_id}/"


def run_key(environment: str, run_id: str, name: str) -> str:
    """Key of one document of a run, for instance `request.json` or `logs/agent.log`."""
    return run_prefix(environment, run_id) + name


def last_words_key(environment: str, run_id: str, attempt: int) -> str:
    """Key of what the box of an attempt said of its end. It lies where the user data puts it."""
    return run_key(environment, run_id, f"logs/last-words-{attempt}.txt")


def incident_key(environment: str, incident: str, kind: str, attempt: int | None) -> str:
    """Key of the marker that a message was sent. An incident is a run, or what has no run: an instance, a bad lock."""
    name = kind if attempt is None else f"{kind}-{attempt}"
    if RUN_ID_PATTERN.fullmatch(incident):
        return run_key(environment, incident, f"notified/{name}")
    return f"{environment}/incidents/{incident}/{name}"


def set_aside_key(lane: Lane, etag: str) -> str:
    """Key under which an unreadable lock is kept after its release."""
    return f"{lane.environment}/unreadable/{_lock_name(lane, etag)}"


def suspect_key(environment: str, instance_id: str) -> str:
    """Key of the note that an instance without a record was seen once."""
    return f"{environment}/suspects/{instance_id}.json"


def forsaken_key(lane: Lane, etag: str) -> str:
    """Key of the note that an unreadable lock was once seen with nothing alive beside it."""
    return f"{lane.environment}/suspects/{_lock_name(lane, etag)}.json"


def _lock_name(lane: Lane, etag: str) -> str:
    return f"{lane.name}-{''.join(filter(str.isalnum, etag))}"


def bundle_key(sha256: str) -> str:
    """Key of an agent bundle, named by its content."""
    return f"{CACHED}/agent/{sha256}.tar.gz"


def code_key(sha256: str) -> str:
    """Key of an archive with a trainer of the user's own, named by its content."""
    return f"{CACHED}/code/{sha256}.zip"


def python_env_key(sha256: str) -> str:
    """Key of the archive with the agent's Python packages, named by its content."""
    return f"{CACHED}/python-env/{sha256}.tar"
