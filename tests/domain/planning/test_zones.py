"""Which types no zone of a stack offers."""

from __future__ import annotations

from chronos_ec2.domain.planning.zones import Zones


def test_a_type_that_no_zone_offers_is_named_and_one_that_ec2_says_nothing_of_is_not() -> None:
    zones = Zones(("us-east-1a", "us-east-1b"), {"g5.xlarge": ("us-east-1a",), "p5.48xlarge": (), "p4d.24xlarge": ()})
    types = ("p5.48xlarge", "g5.xlarge", "g6.xlarge", "p4d.24xlarge")
    assert zones.without(types) == ("p5.48xlarge", "p4d.24xlarge")
    assert zones.without(("g5.xlarge",)) == ()
