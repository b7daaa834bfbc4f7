"""The embedded AWS, for the demo and for tests: `up`, `down`, `local_aws`. Needs Linux and a checkout."""

from chronos_ec2.local.lifecycle import LocalAws, down, local_aws, up
from chronos_ec2.local.state_dir import DEFAULT_STATE_DIR, LocalAwsFailed

__all__ = ["DEFAULT_STATE_DIR", "LocalAws", "LocalAwsFailed", "down", "local_aws", "up"]
