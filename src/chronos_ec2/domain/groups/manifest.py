"""One manifest over the forecasts of all shards, from what each instance says of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.parsing.codec import Fields, dump_json, load_json
from chronos_ec2.domain.parsing.names import SHA256_PATTERN
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES
from chronos_ec2.domain.records.s3_keys import FORECASTS, run_key

SCHEMA_VERSION = 1
_PART = re.compile(r"part-[0-9]{5,9}\.(?:parquet|csv)")


@dataclass(frozen=True, slots=True)
class ShardPart:
    """A file of forecasts: its key, its size, its hash, how many rows and series it has, and of which shard it is."""

    shard: int
    key: str
    bytes: int
    sha256: str
    rows: int
    items: int

    @property
    def name(self) -> str:
        """Its name in a folder with those of all shards."""
        return f"{FORECASTS}shard-{self.shard:03d}-{self.key.rpartition('/')[2]}"

    def to_dict(self) -> dict[str, Any]:
        """The part in a manifest."""
        counts = {"bytes": self.bytes, "sha256": self.sha256, "rows": self.rows, "items": self.items}
        return {"shard": self.shard, "key": self.key} | counts

    @classmethod
    def from_fields(cls, fields: Fields, shard: int) -> ShardPart:
        """The part in a manifest. Raises InvalidDocument."""
        sha256 = fields.matching("sha256", SHA256_PATTERN)
        counts = (fields.count(name) for name in ("rows", "items"))
        return cls(shard, fields.text("key"), fields.count("bytes"), sha256, *counts)


def parts_of(raw: bytes, environment: str, run_id: str, shard: int) -> tuple[ShardPart, ...]:
    """The parts that the manifest of a run names. Raises InvalidDocument, also for keys that are not the run's."""
    what = f"manifest of run {run_id}"
    fields, prefix = Fields(load_json(raw, what, MAX_REQUEST_BYTES), what), run_key(environment, run_id, FORECASTS)
    parts = tuple(ShardPart.from_fields(one, shard) for one in fields.children("parts"))
    for part in parts:
        if not part.key.startswith(prefix) or not _PART.fullmatch(part.key.removeprefix(prefix)):
            raise InvalidDocument(f"{what}: it names what is no part of its forecast")
    return parts


def manifest(name: str, shards: int, parts: Iterable[ShardPart]) -> bytes:
    """The manifest of a group."""
    found = [*parts]
    counts = {"rows": sum(one.rows for one in found), "items": sum(one.items for one in found)}
    document = {"schema_version": SCHEMA_VERSION, "group": name, "shards": shards, **counts}
    return dump_json(document | {"parts": [one.to_dict() for one in found]})


def read_manifest(raw: bytes, name: str) -> tuple[ShardPart, ...]:
    """The parts of all shards. Raises InvalidDocument."""
    what = f"manifest of group {name}"
    fields = Fields(load_json(raw, what, MAX_REQUEST_BYTES), what)
    if (version := fields.count("schema_version")) != SCHEMA_VERSION:
        raise InvalidDocument(f"{what}: schema_version {version}, this release reads {SCHEMA_VERSION}")
    return tuple(ShardPart.from_fields(one, one.count("shard")) for one in fields.children("parts"))
