"""Train Amazon Chronos on EC2 GPUs; the instance is gone when the run is over. See ARCHITECTURE.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chronos_ec2.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    """Import the client when it is asked for: a Lambda function and `chronos-ec2 --help` do without."""
    if name != "Client":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from chronos_ec2.client import Client  # noqa: PLC0415

    return Client
