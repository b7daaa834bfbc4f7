"""The Parquet files of a data set in the bucket."""

from __future__ import annotations

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.records.s3_keys import shared_key
from chronos_ec2.run_store import RunStore

PARQUET = ".parquet"


def find_dataset(store: RunStore, environment: str, data_path: str) -> tuple[tuple[str, int], ...]:
    """List (key, bytes) of every Parquet file of a data set. Raises InvalidInput if there is none, or one is empty."""
    prefix = shared_key(environment, data_path)
    found = tuple(
        (key, size)
        for key, size in store.objects.keys(prefix)
        if key.endswith(PARQUET) and (key == prefix or prefix.endswith("/") or key.startswith(prefix + "/"))
    )
    if not found:
        remedy = "upload them with `chronos-ec2 upload data FOLDER NAME`"
        raise InvalidInput("data.path", f"no {PARQUET} files below {prefix} in the bucket", remedy)
    if empty := [key for key, size in found if size == 0]:
        raise InvalidInput("data.path", f"{empty[0]} is empty", "upload it again")
    return found
