"""A run as the lock records it: its state machine, its verdict, its JSON form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

from chronos_ec2.domain.errors import InvalidDocument, InvalidInput
from chronos_ec2.domain.parsing.codec import Fields, dump_json, load_json
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.capacity import Launching, Waiting
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import RUN_ID_PATTERN
from chronos_ec2.domain.records.status import (
    MAX_VERDICT,
    Cause,
    Job,
    Status,
    Stop,
    Suspect,
    Verdict,
    follows,
    read_stop,
    read_suspect,
    read_verdict,
)

Value = TypeVar("Value", str, float)
SCHEMA_VERSION = 1
LAUNCHING = "launching"
"""The step of an attempt that no agent has claimed yet."""
WAITING = "waiting-for-capacity"
"""The step of an attempt for which EC2 has refused every option."""
CLAIMED = "claimed"
"""The step of an attempt whose agent has claimed it and reported nothing yet."""


@dataclass(frozen=True, slots=True)
class Run:
    """The record of one run. While it is stored at its lane's key, it is the lock of that lane.

    Times are aware UTC. Deadline and cap span all attempts.

    Attributes:
        seq: Grows by one with each write of the lock.
        nonce: New with each write, so that a writer recognises its own.
        instance_type: Until the launch has succeeded, the most expensive type that the run may get.
        launched_at: When the instance of the current attempt was launched, None if it is not known yet.
        claimed_at: When an instance claimed the current attempt, by S3's clock; None if none has.
        ended_at: When the instance of the last attempt ended; `spent_usd` is the whole cost from then on.
        prices: USD per hour of the types that the run may get, each with volume and public address.
        price_per_hour_usd: The price of any other type, None if unknown.
        max_cost_usd: The price cap, None if there is none.
        spent_usd: The cost of the attempts that have ended.
        preemptions_left: How many more attempts may be lost because EC2 reclaimed the instance.
        crashes_left: How many more attempts may be lost because the instance or its agent died.
        launching: The option that EC2 was last asked for, None if it has refused all of them.
        waiting: How the attempt waits for capacity, None if it has not begun to.
        parent: The run that this one takes up, if any.
        models: Name and SHA-256 of each file of its model; only the final record has them.
        job: What the run does.
    """

    run_id: str
    lane: Lane
    status: Status
    current_step: str
    attempt: int
    seq: int
    nonce: str
    instance_type: str
    created_at: datetime
    updated_at: datetime
    deadline: datetime
    instance_id: str | None = None
    price_per_hour_usd: float | None = None
    max_cost_usd: float | None = None
    spent_usd: float = 0.0
    launched_at: datetime | None = None
    claimed_at: datetime | None = None
    ended_at: datetime | None = None
    preemptions_left: int = 0
    crashes_left: int = 0
    verdict: Verdict | None = None
    stop: Stop | None = None
    suspect: Suspect | None = None
    phases: tuple[tuple[Status, datetime], ...] = field(default=())
    prices: tuple[tuple[str, float], ...] = field(default=())
    launching: Launching | None = None
    waiting: Waiting | None = None
    parent: str | None = None
    models: tuple[tuple[str, str], ...] = ()
    job: Job = Job.TRAIN

    @property
    def claimed(self) -> bool:
        """Whether an instance has claimed this attempt."""
        return self.claimed_at is not None

    @property
    def attempt_started_at(self) -> datetime:
        """When the current attempt started: the creation of the run, or the end of the previous attempt."""
        return max(
            (moment for status, moment in self.phases if status is Status.INITIALIZATION), default=self.created_at
        )

    @property
    def launch_due_at(self) -> datetime:
        """When the launch that is in work was due. It is the same for every launcher that takes the launch up."""
        return self.waiting.next_try_at if self.waiting and self.waiting.tries else self.attempt_started_at

    @property
    def launched(self) -> bool:
        """Whether the record says that the current attempt has had an instance."""
        return self.instance_id is not None or (self.verdict is None and self.claimed)

    def advance(self, status: Status, step: str, now: datetime) -> Run:
        """This run in a later phase. Raises ValueError for an invalid transition."""
        if status is not self.status and not follows(self.status, status):
            raise ValueError(f"no transition {self.status} -> {status}")
        phases = self.phases if status is self.status else (*self.phases, (status, now))
        return replace(self, status=status, current_step=step, updated_at=now, phases=phases)

    def claimed_by(self, instance_id: str | None, instance_type: str, at: datetime) -> Run:
        """This run with the claim of an instance; its id is None if it is not known."""
        return replace(
            self,
            current_step=CLAIMED,
            instance_id=instance_id,
            instance_type=instance_type,
            # Its launcher may have died before it could say so.
            launched_at=self.launched_at or (self.launching.since if self.launching else self.updated_at),
            claimed_at=at,
            # The instance is here: a suspicion that it is missing would count as the first of two observations.
            suspect=None,
            waiting=None,
        )

    def end(self, verdict: Verdict, now: datetime) -> Run:
        """This run with a verdict. The first verdict stands."""
        if self.verdict is not None:
            return self
        verdict = replace(verdict, message=one_line(verdict.message, MAX_VERDICT))
        phases = (*self.phases, (verdict.status, now))
        return replace(
            self,
            status=verdict.status,
            current_step=f"ended_{verdict.cause}",
            verdict=verdict,
            updated_at=now,
            phases=phases,
            suspect=None,
        )

    def next_attempt(self, cause: Cause, spent_usd: float, now: datetime) -> Run:
        """This run after a lost attempt, ready for its next launch, with one preemption or crash less left."""
        return replace(
            self,
            status=Status.INITIALIZATION,
            current_step=LAUNCHING,
            attempt=self.attempt + 1,
            instance_id=None,
            instance_type=max(self.prices, key=lambda price: price[1], default=(self.instance_type, 0.0))[0],
            spent_usd=spent_usd,
            launched_at=None,
            claimed_at=None,
            ended_at=None,
            preemptions_left=self.preemptions_left - (cause is Cause.PREEMPTED),
            crashes_left=self.crashes_left - (cause is not Cause.PREEMPTED),
            verdict=None,
            suspect=None,
            launching=None,
            waiting=None,
            updated_at=now,
            phases=(*self.phases, (Status.INITIALIZATION, now)),
        )

    def wait(self, waiting: Waiting, launching: Launching | None, now: datetime) -> Run:
        """This run after EC2 has refused it an instance."""
        step = WAITING if waiting.tries else LAUNCHING
        return replace(self, current_step=step, waiting=waiting, launching=launching, suspect=None, updated_at=now)

    def to_json(self) -> bytes:
        """The record as stored in S3."""
        return dump_json(
            {
                "schema_version": SCHEMA_VERSION,
                "run_id": self.run_id,
                "job": self.job,
                "parent": self.parent,
                "environment": self.lane.environment,
                "lane": self.lane.name,
                "status": self.status,
                "current_step": self.current_step,
                "attempt": self.attempt,
                "seq": self.seq,
                "nonce": self.nonce,
                "instance_id": self.instance_id,
                "instance_type": self.instance_type,
                "created_at": format_time(self.created_at),
                "updated_at": format_time(self.updated_at),
                "deadline": format_time(self.deadline),
                "price_per_hour_usd": self.price_per_hour_usd,
                "prices": dict(self.prices),
                "max_cost_usd": self.max_cost_usd,
                "spent_usd": self.spent_usd,
                "launched_at": self.launched_at and format_time(self.launched_at),
                "claimed_at": self.claimed_at and format_time(self.claimed_at),
                "ended_at": self.ended_at and format_time(self.ended_at),
                "preemptions_left": self.preemptions_left,
                "crashes_left": self.crashes_left,
                "verdict": self.verdict and self.verdict.to_dict(),
                "stop": self.stop and self.stop.to_dict(),
                "suspect": self.suspect and self.suspect.to_dict(),
                "launching": self.launching and self.launching.to_dict(),
                "waiting": self.waiting and self.waiting.to_dict(),
                "models": dict(self.models),
                "timestamps": [{"status": status, "at": format_time(moment)} for status, moment in self.phases],
            }
        )

    @classmethod
    def from_json(cls, raw: bytes, lane: Lane) -> Run:
        """The record of `lane` in `raw`.

        Raises:
            InvalidDocument: not a record of this schema and lane. Never act on its content.
        """
        return _read(raw, lane)

    @classmethod
    def from_fields(cls, fields: Fields, lane: Lane) -> Run:
        """The record in the fields of a document. Raises InvalidDocument, ValueError, InvalidInput."""
        return cls(
            run_id=check_run_id(fields.text("run_id")),
            lane=lane,
            status=Status(fields.text("status")),
            current_step=fields.text("current_step"),
            attempt=fields.count("attempt"),
            seq=fields.count("seq"),
            nonce=fields.text("nonce"),
            instance_id=fields.text_or_none("instance_id"),
            instance_type=fields.text("instance_type"),
            created_at=fields.time("created_at"),
            updated_at=fields.time("updated_at"),
            deadline=fields.time("deadline"),
            price_per_hour_usd=fields.number_or_none("price_per_hour_usd"),
            prices=_pairs(fields, "prices", Fields.number),
            max_cost_usd=fields.number_or_none("max_cost_usd"),
            spent_usd=fields.number("spent_usd"),
            launched_at=fields.time("launched_at") if fields.has("launched_at") else None,
            claimed_at=fields.time("claimed_at") if fields.has("claimed_at") else None,
            ended_at=fields.time("ended_at") if fields.has("ended_at") else None,
            preemptions_left=fields.count("preemptions_left"),
            crashes_left=fields.count("crashes_left"),
            verdict=read_verdict(fields.child("verdict")) if fields.has("verdict") else None,
            stop=read_stop(fields.child("stop")) if fields.has("stop") else None,
            suspect=read_suspect(fields.child("suspect")) if fields.has("suspect") else None,
            launching=Launching.from_fields(fields.child("launching")) if fields.has("launching") else None,
            waiting=Waiting.from_fields(fields.child("waiting")) if fields.has("waiting") else None,
            parent=check_run_id(fields.text("parent")) if fields.has("parent") else None,
            models=_pairs(fields, "models", Fields.text),
            job=Job(fields.text("job")),
            phases=tuple((Status(phase.text("status")), phase.time("at")) for phase in fields.children("timestamps")),
        )


@lru_cache(maxsize=32)
def _read(raw: bytes, lane: Lane) -> Run:
    """Cached: heartbeats and sweeps read the same bytes again and again."""
    fields = Fields(load_json(raw, lane.state_key), lane.state_key)
    if (version := fields.count("schema_version")) != SCHEMA_VERSION:
        raise InvalidDocument(f"{lane.state_key}: schema_version {version}, this release reads {SCHEMA_VERSION}")
    if (fields.text("environment"), fields.text("lane")) != (lane.environment, lane.name):
        raise InvalidDocument(f"{lane.state_key}: a record of another lane")
    try:
        return Run.from_fields(fields, lane)
    except (ValueError, InvalidInput) as error:
        raise InvalidDocument(f"{lane.state_key}: {one_line(str(error), 120)}") from error


def _pairs(fields: Fields, name: str, read: Callable[[Fields, str], Value]) -> tuple[tuple[str, Value], ...]:
    document = fields.raw(name) if fields.has(name) else {}
    return tuple((key, read(fields.child(name), key)) for key in document)


def new_run_id(now: datetime, entropy: bytes) -> str:
    """A run id: `now` to the second, and six hexadecimal digits of `entropy`."""
    return f"{now:%Y%m%dT%H%M%SZ}-{entropy.hex()[:6]}"


def check_run_id(value: str) -> str:
    """Return `value` if it is a run id, else raise InvalidInput."""
    if not RUN_ID_PATTERN.fullmatch(value):
        raise InvalidInput("run id", f"{one_line(value, 60)!r} is not a run id", "like 20260131T120000Z-1a2b3c")
    return value
