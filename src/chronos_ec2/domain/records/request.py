"""The request of a run: written once at launch, read by the agent and by a relaunch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from chronos_ec2.domain.errors import InvalidDocument, InvalidInput
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.parsing.codec import Fields, dump_json, load_json
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import check_run_id

SCHEMA_VERSION = 1
Market = Literal["on-demand", "spot"]
ON_DEMAND: Market = "on-demand"
SPOT: Market = "spot"
REQUEST = "request.json"
MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""Room for the list of about a hundred thousand data files."""
_REST_BYTES = 64 * 1024
"""Room for everything in a request but its configuration and its data files."""


@dataclass(frozen=True, slots=True)
class Request:
    """The write-once request of a run.

    Attributes:
        config: The resolved training configuration, see `training_config`.
        bundle_sha256: Hash of the agent's code.
        dataset_keys: Key and size in bytes of exactly the objects to train on.
        log_group: The CloudWatch log group, if the logs go there too.
        code_sha256: Hash of the user's own trainer, if any.
        commit: The git commit of the launching code, None if unknown.
    """

    run_id: str
    lane: Lane
    config: Mapping[str, Any]
    instance_types: tuple[str, ...]
    bundle_sha256: str
    dataset_keys: tuple[tuple[str, int], ...]
    limits: Limits
    allow_cpu: bool = False
    market: Market = ON_DEMAND
    log_group: str | None = None
    code_sha256: str | None = None
    commit: str | None = None

    def to_json(self) -> bytes:
        """The request as stored in S3."""
        return dump_json(
            {
                "schema_version": SCHEMA_VERSION,
                "run_id": self.run_id,
                "environment": self.lane.environment,
                "lane": self.lane.name,
                "instance_types": list(self.instance_types),
                "bundle_sha256": self.bundle_sha256,
                "code_sha256": self.code_sha256,
                "commit": self.commit,
                "allow_cpu": self.allow_cpu,
                "market": self.market,
                "log_group": self.log_group,
                "limits": self.limits.to_seconds(),
                "config": dict(self.config),
                "dataset": _dataset(self.dataset_keys),
            }
        )

    @classmethod
    def from_json(cls, raw: bytes) -> Request:
        """The request in `raw`. Raises InvalidDocument."""
        fields = Fields(load_json(raw, REQUEST, MAX_REQUEST_BYTES), REQUEST)
        if (version := fields.count("schema_version")) != SCHEMA_VERSION:
            raise InvalidDocument(f"{REQUEST}: schema_version {version}, this release reads {SCHEMA_VERSION}")
        try:
            return cls(
                run_id=check_run_id(fields.text("run_id")),
                lane=Lane(fields.text("environment"), fields.text("lane")),
                config=fields.raw("config"),
                instance_types=tuple(fields.texts("instance_types")),
                bundle_sha256=fields.text("bundle_sha256"),
                dataset_keys=tuple((part.text("key"), part.count("bytes")) for part in fields.children("dataset")),
                limits=Limits.from_overrides(fields.raw("limits")),
                allow_cpu=fields.flag("allow_cpu"),
                market=SPOT if fields.text_or_none("market") == SPOT else ON_DEMAND,
                log_group=fields.text_or_none("log_group"),
                code_sha256=fields.text_or_none("code_sha256"),
                commit=fields.text_or_none("commit"),
            )
        except (ValueError, InvalidInput) as error:
            raise InvalidDocument(f"{REQUEST}: {one_line(str(error), 120)}") from error


def _dataset(keys: tuple[tuple[str, int], ...]) -> list[dict[str, Any]]:
    return [{"key": key, "bytes": size} for key, size in keys]


def check_request_size(config: Mapping[str, Any], dataset_keys: tuple[tuple[str, int], ...]) -> None:
    """Raise InvalidInput, which names what is too large, if no reader would accept a request with these."""
    of_config, of_data = len(dump_json(config)), len(dump_json({"dataset": _dataset(dataset_keys)}))
    if of_config + of_data + _REST_BYTES <= MAX_REQUEST_BYTES:
        return
    limit = f"a run's request has room for {MAX_REQUEST_BYTES / 1e6:.1f} MB"
    if of_data >= of_config:
        problem = f"the list of its {len(dataset_keys)} files has {of_data / 1e6:.1f} MB, and {limit}"
        raise InvalidInput("data.path", problem, "merge small files into larger ones")
    raise InvalidInput("--config", f"the configuration has {of_config / 1e6:.1f} MB, and {limit}", "shorten it")
