"""The heartbeat: proof that the instance is alive, and separately, that the work makes progress."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from chronos_ec2.domain.errors import InvalidDocument, InvalidInput
from chronos_ec2.domain.parsing.codec import Fields, dump_json, load_json
from chronos_ec2.domain.parsing.names import INSTANCE_ID_PATTERN, one_line
from chronos_ec2.domain.records.run import check_run_id
from chronos_ec2.domain.records.status import Status

SCHEMA_VERSION = 1
_BOOT_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_MAX_SENT_AT = 64
_LONGEST = 10 * 366 * 86400
"""Seconds. Sums of shorter durations, and with any time of ours, stay in range."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One heartbeat of an agent.

    Attributes:
        counter: Grows with all progress in any phase: bytes synced, optimiser steps, windows evaluated.
        stalled_for: How long it has not grown, by the instance's monotonic clock.
        checkpoint_age: Age of the latest checkpoint in S3.
        gpu_utilisation: Per cent, for people.
        sent_at: The agent's wall clock, for people.
    """

    run_id: str
    attempt: int
    instance_id: str
    boot_id: str
    status: Status
    counter: int
    stalled_for: timedelta
    step: int = 0
    total_steps: int = 0
    bytes_synced: int = 0
    loss: float | None = None
    trainer_pid: int | None = None
    checkpoint_age: timedelta | None = None
    gpu_utilisation: float | None = None
    sent_at: str = ""

    def to_json(self) -> bytes:
        """The heartbeat as stored in S3, durations in seconds."""
        return dump_json(
            {
                "schema_version": SCHEMA_VERSION,
                "run_id": self.run_id,
                "attempt": self.attempt,
                "instance_id": self.instance_id,
                "boot_id": self.boot_id,
                "status": self.status,
                "counter": self.counter,
                "stalled_seconds": round(self.stalled_for.total_seconds(), 3),
                "step": self.step,
                "total_steps": self.total_steps,
                "bytes_synced": self.bytes_synced,
                "loss": self.loss,
                "trainer_pid": self.trainer_pid,
                "checkpoint_age_seconds": None
                if self.checkpoint_age is None
                else round(self.checkpoint_age.total_seconds(), 3),
                "gpu_utilisation": self.gpu_utilisation,
                "sent_at": self.sent_at,
            }
        )

    @classmethod
    def from_json(cls, raw: bytes) -> Heartbeat:
        """The heartbeat in `raw`. Raises InvalidDocument if it is not one of this schema."""
        fields = Fields(load_json(raw, "heartbeat.json"), "heartbeat.json")
        if (version := fields.count("schema_version")) != SCHEMA_VERSION:
            raise InvalidDocument(f"heartbeat.json: schema_version {version}, this release reads {SCHEMA_VERSION}")
        try:
            return cls(
                run_id=check_run_id(fields.text("run_id")),
                attempt=fields.count("attempt"),
                instance_id=fields.matching("instance_id", INSTANCE_ID_PATTERN),
                boot_id=fields.matching("boot_id", _BOOT_ID),
                status=Status(fields.text("status")),
                counter=fields.count("counter"),
                stalled_for=_seconds(fields.number("stalled_seconds")),
                step=fields.count("step"),
                total_steps=fields.count("total_steps"),
                bytes_synced=fields.count("bytes_synced"),
                loss=fields.number_or_none("loss", minimum=-1e15),
                trainer_pid=fields.count_or_none("trainer_pid"),
                checkpoint_age=_seconds(fields.number("checkpoint_age_seconds"))
                if fields.has("checkpoint_age_seconds")
                else None,
                gpu_utilisation=fields.number_or_none("gpu_utilisation"),
                sent_at=fields.text("sent_at", _MAX_SENT_AT),
            )
        except (ValueError, InvalidInput) as error:
            raise InvalidDocument(f"heartbeat.json: {one_line(str(error), 120)}") from error


def _seconds(value: float) -> timedelta:
    if value > _LONGEST:
        raise ValueError(f"{value:.0f} s is longer than any run")
    return timedelta(seconds=value)
