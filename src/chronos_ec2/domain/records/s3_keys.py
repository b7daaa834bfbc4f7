"""The S3 keys of everything except the lock. Only this module and `lane` spell keys."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import PurePosixPath

from chronos_ec2.domain.records.lane import CACHED, Lane

RUN_ID_PATTERN = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")
LOGS = "logs/"
CHECKPOINTS = "checkpoints/"
"""Prefix of checkpoints below the prefix of the run, with one folder per step."""
COPIED_MODELS = f"{CACHED}/models/"
"""Prefix of the models that were copied into the bucket."""
FORECASTS = "forecasts/"
"""Prefix of a forecast job's output below the prefix of the run: its parts, and manifest.json last."""
SUCCESS = "_SUCCESS"
"""Name of the mark that a data set is whole, as Spark and others write it."""
_REPORT = re.compile(
    rf"(?P<environment>[a-z][a-z0-9-]{{0,30}})/(?P<run_id>{RUN_ID_PATTERN.pattern})/"
    r"(?:status|claims/[0-9]{1,9}|outcomes/[0-9]{1,9})\.json"
)
_LATER_PART = re.compile(r"\.([0-9]{4,})\Z")


def run_prefix(environment: str, run_id: str) -> str:
    """Prefix of everything that a run writes."""
    return f"{environment}/{run_id}/"


def run_key(environment: str, run_id: str, name: str) -> str:
    """Key of a document of a run, such as `request.json` or `logs/agent.log`."""
    return run_prefix(environment, run_id) + name


def claim_key(environment: str, run_id: str, attempt: int) -> str:
    """Key of an attempt's claim: the instance that works on it, or void. Written once."""
    return run_key(environment, run_id, f"claims/{attempt}.json")


def status_key(environment: str, run_id: str) -> str:
    """Key of the phase and step that the current attempt's agent reports."""
    return run_key(environment, run_id, "status.json")


def outcome_key(environment: str, run_id: str, attempt: int) -> str:
    """Key of an attempt's outcome, by its agent or by the watchdog, whoever is first. Written once."""
    return run_key(environment, run_id, f"outcomes/{attempt}.json")


def run_of_report(key: str) -> tuple[str, str] | None:
    """The environment and the run of a claim, a status or an outcome, by its key; None for any other key."""
    match = _REPORT.fullmatch(key)
    return None if match is None or match["environment"] == CACHED else (match["environment"], match["run_id"])


def exit_report_key(environment: str, run_id: str, attempt: int) -> str:
    """Key of an attempt's exit report: one line on why its instance ended, written by the user data's scripts."""
    return run_key(environment, run_id, f"logs/exit-report-{attempt}.txt")


def incident_key(environment: str, incident: str, kind: str, attempt: int | None) -> str:
    """Key of the marker of a sent message. `incident` is a run id, or without a run an instance id or another name.

    Not below the prefix of the run, where its instance could write the marker and silence the message.
    """
    name = kind if attempt is None else f"{kind}-{attempt}"
    folder = "notified" if RUN_ID_PATTERN.fullmatch(incident) else "incidents"
    return f"{environment}/{folder}/{incident}/{name}"


def sent_in_hour_prefix(environment: str, now: datetime) -> str:
    """Prefix of the marks of the messages that count towards the limit of an hour."""
    return f"{environment}/notified/hours/{now:%Y%m%dT%H}/"


def set_aside_key(lane: Lane, etag: str) -> str:
    """Key where an unreadable lock is kept after its release."""
    return f"{lane.environment}/unreadable/{_lock_name(lane, etag)}"


def suspect_key(environment: str, instance_id: str) -> str:
    """Key of the mark of the first observation of an instance without a record."""
    return f"{environment}/suspects/{instance_id}.json"


def idle_unreadable_key(lane: Lane, etag: str) -> str:
    """Key of the mark of the first observation of an unreadable lock without a living instance."""
    return f"{lane.environment}/suspects/{_lock_name(lane, etag)}.json"


def _lock_name(lane: Lane, etag: str) -> str:
    return f"{lane.name}-{''.join(filter(str.isalnum, etag))}"


def teardown_key(environment: str) -> str:
    """Key of the mark that an environment's stack is being deleted: no run may start."""
    return f"{environment}/teardown.json"


def shared_key(environment: str, name: str) -> str:
    """Key of a file that an environment's operators upload for its runs, below `training-data/` or `configs/`."""
    return f"{CACHED}/{environment}/{name}"


def lane_turn_key(environment: str) -> str:
    """Key of the lane that the last sweep has ended with."""
    return f"{environment}/sweep.json"


def champion_key(environment: str, model: str) -> str:
    """Key of the champion pointer of a model in the registry."""
    return f"{models_prefix(environment)}{model}/champion.json"


def champion_version_key(environment: str, model: str, seq: int) -> str:
    """Key of a former or present version of a champion pointer. Written once."""
    return f"{models_prefix(environment)}{model}/history/{seq:06d}.json"


def judgement_key(environment: str, model: str, run_id: str) -> str:
    """Key of the judgement whether a run's model becomes the champion. Written once."""
    return f"{models_prefix(environment)}{model}/judgements/{run_id}.json"


def models_prefix(environment: str) -> str:
    """Prefix of an environment's model registry."""
    return f"{environment}/models/"


def schedules_prefix(environment: str) -> str:
    """Prefix of an environment's schedules."""
    return f"{environment}/schedules/"


def schedule_key(environment: str, name: str) -> str:
    """Key of the order of a schedule."""
    return f"{schedules_prefix(environment)}{name}/order.json"


def ledger_key(environment: str, name: str) -> str:
    """Key of the ledger of a schedule: its runs and what they cost. Replaced on condition."""
    return f"{schedules_prefix(environment)}{name}/ledger.json"


def groups_prefix(environment: str) -> str:
    """Prefix of an environment's groups."""
    return f"{environment}/groups/"


def group_key(environment: str, name: str, document: str) -> str:
    """Key of a document of a group: `order.json` and `result.json`, written once, and `ledger.json`."""
    return f"{groups_prefix(environment)}{name}/{document}"


def followed_key(environment: str, run_id: str) -> str:
    """Key of the word of the launcher that what comes after a run has been seen to. Written once."""
    return f"{environment}/followed/{run_id}.json"


def success_key(environment: str, data_path: str) -> str:
    """Key of the mark that a data set is whole, written after all of its files."""
    return shared_key(environment, f"{data_path.rstrip('/')}/{SUCCESS}")


def data_set_of(environment: str, key: str) -> str | None:
    """The data set that the mark at a key says is whole; None for any other key."""
    match = re.fullmatch(rf"{CACHED}/{re.escape(environment)}/training-data/([^/]+)/{SUCCESS}", key)
    return None if match is None else match[1]


def bundle_key(sha256: str) -> str:
    """Key of an agent bundle, by the hash of its content."""
    return f"{CACHED}/agent/{sha256}.tar.gz"


def code_key(sha256: str) -> str:
    """Key of an archive with a user's own trainer, by the hash of its content."""
    return f"{CACHED}/code/{sha256}.zip"


def model_key(sha256: str, name: str) -> str:
    """Key of a file of a model that was copied into the bucket, by the hash of all its files."""
    return f"{COPIED_MODELS}{sha256}/{name}"


def hub_model_key(environment: str, name: str, commit: str) -> str:
    """Key of the note under which hash a model of the hub was copied into the bucket, by its name and commit."""
    return shared_key(environment, f"models/{name}/{commit}.json")


def python_env_key(sha256: str) -> str:
    """Key of the archive with the agent's Python packages, by the hash of its content."""
    return f"{CACHED}/python-env/{sha256}.tar"


def log_key(environment: str, run_id: str, file_name: str, attempt: int, part: int = 1) -> str:
    """Key of a part of an attempt's log, by the log's file name.

    `logs/trainer.log`, then `logs/trainer.log.0002`; for the second attempt `logs/trainer-2.log`.
    """
    name = PurePosixPath(file_name)
    numbered = file_name if attempt == 1 else f"{name.stem}-{attempt}{name.suffix}"
    return run_key(environment, run_id, LOGS + numbered + ("" if part == 1 else f".{part:04d}"))


def log_of_part(key: str) -> tuple[str, int]:
    """Key of the first part of a log, and the number of this part, by the key of any part."""
    found = _LATER_PART.search(key)
    return (key, 1) if found is None else (key[: found.start()], int(found[1]))


def log_parts(keys: Iterable[str], first: str) -> list[str]:
    """The keys of a log's parts in order, among all that begin with the key of its first part."""
    parts = sorted((number, key) for key in keys for log, number in (log_of_part(key),) if log == first)
    return [key for _, key in parts]
