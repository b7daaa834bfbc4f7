"""The documents of the model registry: the champion pointer, the judgement on a run, and what a run asks for.

The pointer of a model is replaced on condition that it has not changed, and each version carries the next `seq`, so no
content recurs. verification/model/registry.pml is the protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from chronos_ec2.domain.errors import InvalidDocument, InvalidInput
from chronos_ec2.domain.parsing.codec import Fields, dump_json, load_json
from chronos_ec2.domain.parsing.names import check_name
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.reports import read_model_hashes
from chronos_ec2.domain.records.run import check_run_id

Member = TypeVar("Member", bound=StrEnum)
SCHEMA_VERSION = 1
DEFAULT_MODEL = "default"
_REASON = 200


class Promote(StrEnum):
    """When a run's model becomes the champion by itself: if it is significantly better, or always."""

    BETTER = "better"
    ALWAYS = "always"


class How(StrEnum):
    """How a model became the champion: by a run's conclusion, or by an operator."""

    CONCLUSION = "conclusion"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled-back"


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a run asks for: the model that it may become, when, and the version of the champion it is compared with.

    `compared_with` is the `seq` of the champion at the launch, 0 if there was none.
    """

    model: str
    rule: Promote
    compared_with: int

    def to_dict(self) -> dict[str, object]:
        """The promotion in a request."""
        return {"model": self.model, "rule": self.rule, "compared_with": self.compared_with}

    @classmethod
    def from_fields(cls, fields: Fields) -> Promotion:
        """The promotion in a request. Raises InvalidDocument."""
        return cls(_model_name(fields), _member(Promote, fields, "rule"), fields.count("compared_with"))


@dataclass(frozen=True, slots=True)
class Champion:
    """A version of the pointer: the model in use, and since when.

    Attributes:
        files: Name below `models/` of the run, and SHA-256, of each of its files.
        reason: Why it was promoted, for people.
    """

    model: str
    seq: int
    run_id: str
    files: tuple[tuple[str, str], ...]
    how: How
    reason: str
    since: datetime

    def to_json(self) -> bytes:
        """The version as stored in S3."""
        return dump_json(
            {
                "schema_version": SCHEMA_VERSION,
                "model": self.model,
                "seq": self.seq,
                "run_id": self.run_id,
                "sha256": dict(self.files),
                "how": self.how,
                "reason": self.reason,
                "since": format_time(self.since),
            }
        )

    @classmethod
    def from_json(cls, raw: bytes, model: str) -> Champion:
        """A version of a model's pointer. Raises InvalidDocument."""
        fields = _fields(raw, "champion")
        if fields.text("model") != model:
            raise InvalidDocument("champion: of another model")
        return cls(
            model,
            fields.count("seq"),
            _run_id(fields),
            read_model_hashes(fields, "sha256"),
            _member(How, fields, "how"),
            fields.line("reason", _REASON),
            fields.time("since"),
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a run's model is to become the champion. Made once: a crash after it must not decide anew.

    `replaces` is the version that it takes the place of; the reason is for people.
    """

    run_id: str
    promote: bool
    replaces: int
    reason: str

    def to_json(self) -> bytes:
        """The judgement as stored in S3."""
        return dump_json(
            {
                "schema_version": SCHEMA_VERSION,
                "run_id": self.run_id,
                "promote": self.promote,
                "replaces": self.replaces,
                "reason": self.reason,
            }
        )

    @classmethod
    def from_json(cls, raw: bytes) -> Judgement:
        """A judgement. Raises InvalidDocument."""
        fields = _fields(raw, "judgement")
        return cls(_run_id(fields), fields.flag("promote"), fields.count("replaces"), fields.line("reason", _REASON))


def _fields(raw: bytes, what: str) -> Fields:
    fields = Fields(load_json(raw, what), what)
    if (version := fields.count("schema_version")) != SCHEMA_VERSION:
        raise InvalidDocument(f"{what}: schema_version {version}, this release reads {SCHEMA_VERSION}")
    return fields


def _run_id(fields: Fields) -> str:
    try:
        return check_run_id(fields.text("run_id"))
    except InvalidInput as error:
        raise InvalidDocument(str(error)) from error


def _model_name(fields: Fields) -> str:
    try:
        return check_name(fields.text("model"), "model")
    except InvalidInput as error:
        raise InvalidDocument(str(error)) from error


def _member(kind: type[Member], fields: Fields, name: str) -> Member:
    try:
        return kind(fields.text(name))
    except ValueError as error:
        raise InvalidDocument(f"{name}: {error}") from error
