"""The Parquet files of a data set in the bucket."""

from __future__ import annotations

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import did_you_mean
from chronos_ec2.domain.records.request import DataObject
from chronos_ec2.domain.records.s3_keys import shared_key
from chronos_ec2.run_store import RunStore

PARQUET = ".parquet"
TRAINING_DATA = "training-data/"
"""Below it, each data set has its folder."""


def find_dataset(store: RunStore, environment: str, data_path: str, where: str = "data.path") -> tuple[DataObject, ...]:
    """List every Parquet file of a data set. Raises InvalidInput if there is none, or one is empty."""
    prefix = shared_key(environment, data_path)
    found = tuple(
        DataObject(one.key, one.size, one.etag)
        for one in store.objects.listed(prefix)
        if one.key.endswith(PARQUET) and (one.key == prefix or prefix.endswith("/") or one.key.startswith(prefix + "/"))
    )
    if not found:
        others = store.objects.children(shared_key(environment, TRAINING_DATA))
        named = data_path.removeprefix(TRAINING_DATA).strip("/")
        remedy = did_you_mean(named, others, "upload them with `chronos-ec2 upload data FOLDER NAME`")
        raise InvalidInput(where, f"no {PARQUET} files below {prefix} in the bucket", remedy)
    if empty := [one.key for one in found if one.size == 0]:
        raise InvalidInput(where, f"{empty[0]} is empty", "upload it again")
    return found
