"""One manifest over all shards: of what is a part of a run's forecast, and of nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.groups.manifest import manifest, parts_of, read_manifest
from chronos_ec2.testing.builders import RUN_ID

KEY = f"dev/{RUN_ID}/forecasts/part-00000.parquet"


def said(**changes: Any) -> bytes:
    part = {"key": KEY, "bytes": 9, "sha256": "a" * 64, "rows": 28, "items": 2, "first_item": "a"}
    return json.dumps({"parts": [part | changes]}).encode()


def test_parts_of_all_shards_are_read_again_with_names_of_their_own() -> None:
    parts = [*parts_of(said(), "dev", RUN_ID, 0), *parts_of(said(), "dev", RUN_ID, 11)]
    assert read_manifest(manifest("sales", 12, parts), "sales") == tuple(parts)
    names = ["forecasts/shard-000-part-00000.parquet", "forecasts/shard-011-part-00000.parquet"]
    assert [one.name for one in parts] == names
    document = json.loads(manifest("sales", 12, parts))
    assert (document["rows"], document["items"], document["shards"]) == (56, 4, 12)


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "dev/system-state.json"},
        {"key": KEY.replace(RUN_ID, "20260131T110000Z-ffffff")},
        {"key": f"dev/{RUN_ID}/forecasts/../../request.json"},
        {"key": f"dev/{RUN_ID}/forecasts/part-00000.exe"},
        {"bytes": -1},
        {"rows": "28"},
        {"sha256": "a"},
    ],
)
def test_what_is_no_part_of_the_runs_forecast_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocument):
        parts_of(said(**changes), "dev", RUN_ID, 0)


def test_a_manifest_of_another_schema_is_refused() -> None:
    with pytest.raises(InvalidDocument, match="schema_version 2"):
        read_manifest(b'{"schema_version": 2, "parts": []}', "sales")
