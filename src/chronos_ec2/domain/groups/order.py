"""The order of a group: what its members are like, how many run at a time, and what all may cost. Written once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from chronos_ec2.domain.errors import InvalidDocument, InvalidInput
from chronos_ec2.domain.parsing.codec import Fields, dump_json, load_json
from chronos_ec2.domain.parsing.names import is_name, one_line
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES, Budget, ModelReference, Request
from chronos_ec2.domain.records.run import new_run_id
from chronos_ec2.domain.schedules.ledger import Entry
from chronos_ec2.domain.schedules.order import data_sha256

SCHEMA_VERSION = 1
MAX_NAME = 20
"""Characters of a group's name: the lanes of its members are named after it."""
MAX_MEMBERS = 100
"""As many as its run ids have room for, and fewer."""


class Purpose(StrEnum):
    """What a group is for."""

    SHARDS = "shards"
    """One forecast, of which each member makes the part of some series."""
    SWEEP = "sweep"
    """Trainings that differ in their configuration, to choose the best one."""


@dataclass(frozen=True, slots=True)
class Member:
    """What one of the runs is like.

    Attributes:
        config: Its configuration.
        models: Exactly the models to load.
        differs_in: The dotted keys, and their values, by which it differs from the others.
    """

    config: Mapping[str, Any]
    models: tuple[ModelReference, ...]
    differs_in: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The member in an order."""
        models = [one.to_dict() for one in self.models]
        return {"config": dict(self.config), "models": models, "differs_in": dict(self.differs_in)}

    @classmethod
    def from_fields(cls, fields: Fields) -> Member:
        """The member in an order. Raises InvalidDocument."""
        models = tuple(ModelReference.from_fields(one) for one in fields.children("models"))
        return cls(fields.raw("config"), models, fields.raw("differs_in"))


@dataclass(frozen=True, slots=True)
class Group:
    """The order of a group.

    Attributes:
        request: What all members have in common; its deadline and cap are those of the group.
        parallel: How many members run at a time, at most.
    """

    name: str
    purpose: Purpose
    created_at: datetime
    request: Request
    members: tuple[Member, ...]
    parallel: int

    @property
    def environment(self) -> str:
        """Its environment."""
        return self.request.lane.environment

    @property
    def budget(self) -> Budget:
        """What all members may cost together, and when the last of them ends. Raises ValueError without one."""
        if self.request.budget is None:
            raise ValueError("a group needs a budget")
        return self.request.budget

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs of its members, in order: the same whoever starts them, so each is started once."""
        digest = hashlib.sha256(f"{self.environment}/{self.name}".encode()).digest()
        return tuple(new_run_id(self.created_at, digest[:2] + bytes([index])) for index in range(len(self.members)))

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes of its members, in order."""
        return tuple(Lane(self.environment, f"{self.name}-{index}") for index in range(len(self.members)))

    def entry(self, index: int, cap_usd: float | None, now: datetime) -> Entry:
        """What enters a member into the ledger."""
        data = data_sha256(self.request.dataset_keys)
        return Entry(self.run_ids[index], self.request.job, self.created_at, now, data, cap_usd)

    def request_of(self, entry: Entry) -> Request:
        """The request of the member that is entered: the same whoever writes it."""
        index = self.run_ids.index(entry.run_id)
        deadline = min(entry.reserved_at + self.request.limits.max_runtime, self.budget.deadline)
        return replace(
            self.request, run_id=entry.run_id, lane=self.lanes[index], config=self.members[index].config,
            models=self.members[index].models, group=self.name,
            budget=replace(self.budget, deadline=deadline, max_cost_usd=entry.cap_usd),
        )  # fmt: skip

    def to_json(self) -> bytes:
        """The order as stored in S3."""
        return dump_json(
            {
                "schema_version": SCHEMA_VERSION,
                "name": self.name,
                "purpose": self.purpose,
                "created_at": format_time(self.created_at),
                "parallel": self.parallel,
                "request": load_json(self.request.to_json(), "request", MAX_REQUEST_BYTES),
                "members": [one.to_dict() for one in self.members],
            }
        )

    @classmethod
    def from_json(cls, raw: bytes, name: str) -> Group:
        """The order of a group. Raises InvalidDocument."""
        what = f"group {name}"
        fields = Fields(load_json(raw, what, MAX_REQUEST_BYTES), what)
        if (version := fields.count("schema_version")) != SCHEMA_VERSION:
            raise InvalidDocument(f"{what}: schema_version {version}, this release reads {SCHEMA_VERSION}")
        if fields.text("name") != name:
            raise InvalidDocument(f"{what}: the order of another group")
        members = fields.children("members")
        if not 1 <= len(members) <= MAX_MEMBERS or fields.count("parallel") < 1:
            raise InvalidDocument(f"{what}: {len(members)} members, {fields.count('parallel')} at a time")
        try:
            made = cls(
                name=check_group_name(name),
                purpose=Purpose(fields.text("purpose")),
                created_at=fields.time("created_at"),
                request=Request.from_json(dump_json(fields.raw("request"))),
                members=tuple(map(Member.from_fields, members)),
                parallel=fields.count("parallel"),
            )
        except (InvalidInput, ValueError) as error:
            raise InvalidDocument(f"{what}: {one_line(str(error), 120)}") from error
        if made.request.budget is None:
            raise InvalidDocument(f"{what}: it has no budget")
        return made


def may_be_of_a_group(lane: Lane) -> bool:
    """Whether the lane is named like those of members. Other lanes may be, too."""
    name, _, index = lane.name.rpartition("-")
    return bool(name) and index.isdecimal()


def check_group_name(name: str, where: str = "GROUP") -> str:
    """Return `name` if a group may have it, else raise InvalidInput."""
    if not is_name(name) or len(name) > MAX_NAME:
        problem = f"{one_line(name, 60)!r} is not a name of a group"
        raise InvalidInput(where, problem, f"lower-case letters, digits and '-', at most {MAX_NAME}")
    return name
