"""How a group has ended. Written once, by whoever sees that no member is at work and none will be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.groups.order import Group
from chronos_ec2.domain.parsing.codec import Fields, dump_json, load_json
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES
from chronos_ec2.domain.schedules.ledger import Ledger

SCHEMA_VERSION = 1
_REASON = 300


@dataclass(frozen=True, slots=True)
class Result:
    """How a group has ended.

    Attributes:
        reason: Why no further member has started.
        succeeded: How many `of` its members have.
        spent_usd: What all have cost.
        problem: Why what they have made could not be put together; None if it was, or if not all have succeeded.
    """

    name: str
    ended_at: datetime
    reason: str
    succeeded: int
    of: int
    spent_usd: float
    problem: str | None = None

    @property
    def whole(self) -> bool:
        """Whether every member has succeeded, and what they have made is put together."""
        return self.succeeded == self.of and self.problem is None

    @property
    def sentence(self) -> str:
        """The result for people."""
        counts = f"{self.succeeded} of {self.of} runs have succeeded, for ${self.spent_usd:.2f}"
        return counts if self.whole else f"{counts}: {self.problem or self.reason}"

    def to_json(self) -> bytes:
        """The result as stored in S3."""
        document: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "name": self.name}
        document |= {"ended_at": format_time(self.ended_at), "reason": self.reason, "problem": self.problem}
        return dump_json(document | {"succeeded": self.succeeded, "of": self.of, "spent_usd": self.spent_usd})

    @classmethod
    def from_json(cls, raw: bytes, name: str) -> Result:
        """The result of a group. Raises InvalidDocument."""
        what = f"result of group {name}"
        fields = Fields(load_json(raw, what, MAX_REQUEST_BYTES), what)
        if (version := fields.count("schema_version")) != SCHEMA_VERSION:
            raise InvalidDocument(f"{what}: schema_version {version}, this release reads {SCHEMA_VERSION}")
        if fields.text("name") != name:
            raise InvalidDocument(f"{what}: the result of another group")
        return cls(
            name, fields.time("ended_at"), fields.line("reason", _REASON), fields.count("succeeded"),
            fields.count("of"), fields.number("spent_usd"), fields.text_or_none("problem"),
        )  # fmt: skip


def result_of(group: Group, ledger: Ledger, reason: str, now: datetime) -> Result:
    """The result of a group whose members have ended."""
    succeeded = sum(one.succeeded is True for one in ledger.entries)
    spent = sum(one.spent_usd or 0.0 for one in ledger.entries)
    return Result(group.name, now, one_line(reason, _REASON), succeeded, len(group.members), round(spent, 4))
