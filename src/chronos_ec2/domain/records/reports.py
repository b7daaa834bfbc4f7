"""What an instance says about its attempt: its claim, its status and its outcome. Parsed strictly: it may be hostile.

Claim and outcome are one-shot registers: whoever creates the object first has decided. The watchdog creates a claim as
void, so that no instance can claim the attempt any more, and an outcome with its own verdict, so that the first verdict
stands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from chronos_ec2.domain.errors import InvalidDocument, InvalidInput
from chronos_ec2.domain.parsing.codec import Fields, dump_json, load_json
from chronos_ec2.domain.parsing.names import INSTANCE_ID_PATTERN, SHA256_PATTERN, one_line
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.run import check_run_id
from chronos_ec2.domain.records.status import MAX_VERDICT, Cause, DecidedBy, Outcome, Status, Verdict

SCHEMA_VERSION = 1
MAX_MODEL_FILES = 64
MAX_CLEANED = 32
"""How many things a report of a cleanup lists."""
_CLEANED_WORDS = 80
_STEP = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_NONCE = re.compile(r"[0-9a-f]{1,64}")
_BOOT_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_MODEL = re.compile(r"[a-z][a-z0-9_]{0,30}")
"""The name of a model in a comparison, such as `trained` or `seasonal_naive`."""
_FILE = re.compile(r"[0-9A-Za-z][0-9A-Za-z._/-]{0,99}")
_PHASES = (Status.INITIALIZATION, Status.DATA_SYNC, Status.TRAINING, Status.RESULTS_SYNC)


@dataclass(frozen=True, slots=True)
class Claim:
    """Who works on an attempt: an instance, or if it is void nobody, ever.

    Attributes:
        instance_id: None if the claim is void.
        nonce: By which its writer recognises it.
    """

    run_id: str
    attempt: int
    instance_id: str | None
    boot_id: str
    nonce: str

    @classmethod
    def of_nobody(cls, run_id: str, attempt: int) -> Claim:
        """A void claim."""
        return cls(run_id, attempt, None, "", "")

    @property
    def void(self) -> bool:
        """Whether no instance may work on the attempt."""
        return self.instance_id is None

    def to_json(self) -> bytes:
        """The claim as stored in S3."""
        header = _header(self.run_id, self.attempt) | {"void": self.void}
        own = {"instance_id": self.instance_id, "boot_id": self.boot_id, "nonce": self.nonce}
        return dump_json(header if self.void else header | own)

    @classmethod
    def from_json(cls, raw: bytes, run_id: str, attempt: int) -> Claim:
        """The claim of an attempt. Raises InvalidDocument."""
        fields = _fields(raw, "claim", run_id, attempt)
        if fields.flag("void"):
            return cls.of_nobody(run_id, attempt)
        return cls(
            run_id,
            attempt,
            fields.matching("instance_id", INSTANCE_ID_PATTERN),
            fields.matching("boot_id", _BOOT_ID),
            fields.matching("nonce", _NONCE),
        )


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The phases that an attempt has entered, by its agent's clock, and its current step."""

    run_id: str
    attempt: int
    phases: tuple[tuple[Status, datetime], ...]
    step: str

    def to_json(self) -> bytes:
        """The report as stored in S3."""
        phases = [{"status": status, "at": format_time(moment)} for status, moment in self.phases]
        return dump_json(_header(self.run_id, self.attempt) | {"step": self.step, "phases": phases})

    @classmethod
    def from_json(cls, raw: bytes, run_id: str, attempt: int) -> StatusReport:
        """The report on an attempt. Raises InvalidDocument."""
        fields = _fields(raw, "status", run_id, attempt)
        phases = tuple((phase.text("status"), phase.time("at")) for phase in fields.children("phases"))
        named = tuple(status for status, _ in phases)
        if not phases or named != _PHASES[: len(named)]:
            raise InvalidDocument("status: field 'phases' does not list the phases of a run in order")
        return cls(run_id, attempt, tuple((Status(name), at) for name, at in phases), fields.matching("step", _STEP))


@dataclass(frozen=True, slots=True)
class CleanedUp:
    """What became of one thing on the instance."""

    kind: str
    name: str
    state: str


@dataclass(frozen=True, slots=True)
class CleanupReport:
    """The agent's part of the cleanup receipt: what became of things on the instance, and what it has uploaded."""

    instance: tuple[CleanedUp, ...]
    objects: int
    bytes: int
    checkpoints: int
    complete: bool

    def to_dict(self) -> dict[str, Any]:
        """The report as it appears in outcome and receipt, shortened to what a reader accepts."""
        uploads = {
            "objects": self.objects,
            "bytes": self.bytes,
            "checkpoints": self.checkpoints,
            "complete": self.complete,
        }
        instance = [
            {
                field: one_line(text, _CLEANED_WORDS)
                for field, text in (("kind", one.kind), ("id", one.name), ("state", one.state))
            }
            for one in self.instance[:MAX_CLEANED]
        ]
        return {"instance": instance, "uploads": uploads}

    @classmethod
    def from_fields(cls, fields: Fields) -> CleanupReport:
        """The report in an outcome. Raises InvalidDocument."""
        instance, uploads = fields.children("instance"), fields.child("uploads")
        if len(instance) > MAX_CLEANED:
            raise InvalidDocument(f"outcome: more than {MAX_CLEANED} things were cleaned up")
        return cls(
            tuple(CleanedUp(*(one.line(name, _CLEANED_WORDS) for name in ("kind", "id", "state"))) for one in instance),
            uploads.count("objects"),
            uploads.count("bytes"),
            uploads.count("checkpoints"),
            uploads.flag("complete"),
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Which model a training run has exported, `trained` or a reference model, and how the trained one compares.

    `better_than` names the models than which the trained one is significantly better, out of those `compared`.
    `selection` is the WQL of the exported model on the windows before the test, None if there are none.
    """

    exported: str
    compared: tuple[str, ...]
    better_than: tuple[str, ...]
    selection: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The comparison in an outcome."""
        names = {"exported": self.exported, "compared": list(self.compared), "better_than": list(self.better_than)}
        return names | {"selection": self.selection}

    @classmethod
    def from_fields(cls, fields: Fields) -> Comparison:
        """The comparison in an outcome. Raises InvalidDocument."""
        exported = fields.matching("exported", _MODEL)
        compared, better_than = (tuple(fields.texts(name)) for name in ("compared", "better_than"))
        if len(compared) > MAX_MODEL_FILES or not all(map(_MODEL.fullmatch, compared)):
            raise InvalidDocument("outcome: field 'compared' does not have its form")
        if not set(better_than) <= set(compared):
            raise InvalidDocument("outcome: field 'better_than' names models that were not compared")
        return cls(exported, compared, better_than, fields.number_or_none("selection"))


@dataclass(frozen=True, slots=True)
class OutcomeReport:
    """How a claimed attempt ended, by its agent or by the watchdog that ended it.

    Attributes:
        nonce: By which its writer recognises it.
        cleanup: None from the watchdog, or if the agent could not clean up.
        models: Name and SHA-256 of each file below `models/`.
        comparison: How its model compares with others; None if it has trained none.
    """

    run_id: str
    attempt: int
    nonce: str
    verdict: Verdict
    cleanup: CleanupReport | None = None
    models: tuple[tuple[str, str], ...] = ()
    comparison: Comparison | None = None

    def __post_init__(self) -> None:
        """Shorten the message to one line, as each reader does."""
        message = one_line(self.verdict.message, MAX_VERDICT)
        object.__setattr__(self, "verdict", replace(self.verdict, message=message))

    def to_json(self) -> bytes:
        """The outcome as stored in S3."""
        return dump_json(
            _header(self.run_id, self.attempt)
            | {"nonce": self.nonce}
            | self.verdict.to_dict()
            | {"cleanup": self.cleanup and self.cleanup.to_dict(), "models": dict(self.models)}
            | {"comparison": self.comparison and self.comparison.to_dict()}
        )

    @classmethod
    def from_json(cls, raw: bytes, run_id: str, attempt: int) -> OutcomeReport:
        """The outcome of an attempt. Raises InvalidDocument."""
        fields = _fields(raw, "outcome", run_id, attempt)
        try:
            verdict = Verdict(
                Outcome(fields.text("outcome")),
                Cause(fields.text("cause")),
                fields.line("message", MAX_VERDICT),
                DecidedBy(fields.text("decided_by")),
            )
        except ValueError as error:
            raise InvalidDocument(f"outcome: {one_line(str(error), 120)}") from error
        if _OUTCOME_OF.get(verdict.cause, Outcome.FAILED) is not verdict.outcome:
            raise InvalidDocument(f"outcome: no run is {verdict.outcome} because of {verdict.cause}")
        cleanup = CleanupReport.from_fields(fields.child("cleanup")) if fields.has("cleanup") else None
        models = read_model_hashes(fields, "models")
        comparison = Comparison.from_fields(fields.child("comparison")) if fields.has("comparison") else None
        of_agent = verdict.outcome is Outcome.SUCCEEDED or cleanup or models or comparison
        if verdict.decided_by is DecidedBy.WATCHDOG and of_agent:
            raise InvalidDocument("outcome: a verdict of the watchdog is no success, and has nothing of an agent")
        return cls(run_id, attempt, fields.matching("nonce", _NONCE), verdict, cleanup, models, comparison)


_OUTCOME_OF = {Cause.COMPLETED: Outcome.SUCCEEDED, Cause.REQUESTED: Outcome.KILLED}


def read_model_hashes(fields: Fields, name: str) -> tuple[tuple[str, str], ...]:
    """Name and SHA-256 of each file of a model, in a field. Raises InvalidDocument."""
    hashes = fields.child(name)
    return tuple((file, hashes.matching(file, SHA256_PATTERN)) for file in check_model_names(fields.raw(name)))


def check_model_names(names: Sequence[str] | dict[str, Any]) -> tuple[str, ...]:
    """The names of a model's files. Raises InvalidDocument for one that no record has, or for too many."""
    if len(names) > MAX_MODEL_FILES:
        raise InvalidDocument(f"models: more than {MAX_MODEL_FILES} files")
    for name in names:
        if not _FILE.fullmatch(name) or name != PurePosixPath(name).as_posix() or ".." in PurePosixPath(name).parts:
            raise InvalidDocument(f"models: {one_line(name, 60)!r} is not a valid name of a file")
    return tuple(names)


def _header(run_id: str, attempt: int) -> dict[str, Any]:
    return {"schema_version": SCHEMA_VERSION, "run_id": run_id, "attempt": attempt}


def _fields(raw: bytes, what: str, run_id: str, attempt: int) -> Fields:
    """The fields of a report on this attempt. Raises InvalidDocument, also for a report on another."""
    fields = Fields(load_json(raw, what), what)
    if (version := fields.count("schema_version")) != SCHEMA_VERSION:
        raise InvalidDocument(f"{what}: schema_version {version}, this release reads {SCHEMA_VERSION}")
    try:
        own = (check_run_id(fields.text("run_id")), fields.count("attempt")) == (run_id, attempt)
    except InvalidInput as error:
        raise InvalidDocument(f"{what}: {error}") from error
    if not own:
        raise InvalidDocument(f"{what}: of another attempt")
    return fields
