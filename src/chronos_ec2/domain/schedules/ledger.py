"""The ledger of a schedule or a group: the runs that it has started or is about to start, and what they cost.

The launcher replaces it on condition before it starts a run, so two that overlap cannot both spend the rest of a month.
verification/model/schedules.pml is the protocol.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from chronos_ec2.domain.errors import InvalidDocument, InvalidInput
from chronos_ec2.domain.limits import LAUNCH_SLOT, TAKE_OVER_AFTER
from chronos_ec2.domain.parsing.codec import Fields, dump_json, load_json
from chronos_ec2.domain.parsing.names import SHA256_PATTERN
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES
from chronos_ec2.domain.records.run import Run, check_run_id
from chronos_ec2.domain.records.status import Job, Outcome

SCHEMA_VERSION = 1
_KEPT = timedelta(days=62)


@dataclass(frozen=True, slots=True)
class Entry:
    """A run of the schedule.

    Attributes:
        at: the time that it is for.
        reserved_at: when it was entered. For some minutes its cap counts although it holds no lane yet.
        data_sha256: hash of its data set.
        cap_usd: the most that it may cost, None without a limit.
        spent_usd: what it has cost, None until it has ended.
        succeeded: whether it has, None until it has ended.
    """

    run_id: str
    job: Job
    at: datetime
    reserved_at: datetime
    data_sha256: str
    cap_usd: float | None
    spent_usd: float | None = None
    succeeded: bool | None = None

    def counts(self, now: datetime) -> bool:
        """Whether the reservation is younger than any launcher that could still act on it."""
        return now - self.reserved_at < TAKE_OVER_AFTER

    def may_start(self, now: datetime) -> bool:
        """Whether there is time left to take a lane for it, before it stops to count."""
        return now - self.reserved_at < LAUNCH_SLOT

    def ended(self, final: Run) -> Entry:
        """This entry with the end of its run."""
        succeeded = final.verdict is not None and final.verdict.outcome is Outcome.SUCCEEDED
        return replace(self, spent_usd=final.spent_usd, succeeded=succeeded)

    def to_dict(self) -> dict[str, Any]:
        """The fields in the ledger."""
        return {
            "run_id": self.run_id,
            "job": self.job,
            "at": format_time(self.at),
            "reserved_at": format_time(self.reserved_at),
            "data_sha256": self.data_sha256,
            "cap_usd": self.cap_usd,
            "spent_usd": self.spent_usd,
            "succeeded": self.succeeded,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Entry:
        """An entry of a ledger. Raises InvalidDocument."""
        try:
            return cls(
                run_id=check_run_id(fields.text("run_id")),
                job=Job(fields.text("job")),
                at=fields.time("at"),
                reserved_at=fields.time("reserved_at"),
                data_sha256=fields.matching("data_sha256", SHA256_PATTERN),
                cap_usd=fields.number_or_none("cap_usd"),
                spent_usd=fields.number_or_none("spent_usd"),
                succeeded=fields.flag("succeeded") if fields.has("succeeded") else None,
            )
        except (ValueError, InvalidInput) as error:
            raise InvalidDocument(f"ledger: {error}") from error


@dataclass(frozen=True, slots=True)
class Ledger:
    """The entries, oldest first. `seq` grows by one with each write, so no content recurs.

    `stopped`: why no run is entered any more, None if one may be. That is for groups: a schedule's order is paused.
    """

    entries: tuple[Entry, ...] = ()
    seq: int = 0
    stopped: str | None = None

    def of(self, run_id: str) -> Entry | None:
        """The entry of a run."""
        return next((one for one in self.entries if one.run_id == run_id), None)

    def with_entry(self, entry: Entry) -> Ledger:
        """The next version, with an entry in place of an older one of the same run."""
        kept = (one for one in self.entries if one.run_id != entry.run_id)
        return replace(self, entries=(*kept, entry), seq=self.seq + 1)

    def without_old(self, now: datetime) -> Ledger:
        """Without what is long over, of which a schedule needs the last training that has succeeded."""
        trained = [one for one in self.entries if one.job is Job.TRAIN and one.succeeded]
        return replace(self, entries=tuple(one for one in self.entries if now - one.at < _KEPT or one in trained[-1:]))

    def to_json(self) -> bytes:
        """The ledger as stored in S3."""
        entries = [one.to_dict() for one in self.entries]
        header = {"schema_version": SCHEMA_VERSION, "seq": self.seq, "stopped": self.stopped}
        return dump_json(header | {"entries": entries})

    @classmethod
    def from_json(cls, raw: bytes) -> Ledger:
        """A ledger. Raises InvalidDocument."""
        fields = Fields(load_json(raw, "ledger", MAX_REQUEST_BYTES), "ledger")
        if (version := fields.count("schema_version")) != SCHEMA_VERSION:
            raise InvalidDocument(f"ledger: schema_version {version}, this release reads {SCHEMA_VERSION}")
        entries = tuple(map(Entry.from_fields, fields.children("entries")))
        return cls(entries, fields.count("seq"), fields.text_or_none("stopped"))
