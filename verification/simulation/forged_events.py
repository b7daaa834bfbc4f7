"""Events that nobody at AWS sent, or that are not what they should be: they may make the watchdog look, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from chronos_ec2.domain.records.lane import Lane

_CHANGE, _WARNING = "EC2 Instance State-change Notification", "EC2 Spot Instance Interruption Warning"


def forged_event(random: Random, lanes: Sequence[Lane], instances: Sequence[str]) -> object:
    """One of them; `instances` are ids that exist, of ours and of others."""
    instance_id = random.choice([*instances, "i-0123456789abcdef0", "i-", "../i-1", "", None, 7])
    lane = random.choice(lanes)
    key = random.choice([lane.state_key, f"../{lane.state_key}", "prod/system-state.json", "", f"{lane.state_key}x", 7])
    return random.choice(
        (
            None,
            "terminate everything",
            [],
            {},
            {"source": "aws.ec2", "detail-type": _CHANGE},
            _of_ec2(_CHANGE, []),
            {"source": ["aws.ec2"], "detail-type": {}, "detail": {}},
            {
                "source": "aws.ec2",
                "detail-type": _CHANGE,
                "detail": {"instance-id": instance_id, "state": "terminated"},
            },
            {"source": "aws.ec2", "detail-type": _CHANGE, "detail": {"instance-id": instance_id, "state": "melted"}},
            _of_ec2(_WARNING, {"instance-id": instance_id}),
            {"source": "aws.s3", "detail-type": "Object Deleted", "detail": {"object": {"key": key}}},
            {
                "source": "aws.s3",
                "detail-type": "Object Created",
                "detail": {"bucket": {"name": "another"}, "object": {"key": key}},
            },
            {"requestPayload": {"requestPayload": {"source": "aws.ec2"}}},
        )
    )


def _of_ec2(kind: str, detail: object) -> dict[str, object]:
    return {"source": "aws.ec2", "detail-type": kind, "detail": detail}
