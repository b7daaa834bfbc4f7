"""The lanes without an instance, in turn: a sweep looks at so many, and none is left out for good."""

from __future__ import annotations

from dataclasses import dataclass

from chronos_ec2.domain.errors import InvalidDocument, NotAllowed, ServiceUnavailable
from chronos_ec2.domain.limits import MAX_IDLE_LANES
from chronos_ec2.domain.parsing.codec import Fields, dump_json, load_json
from chronos_ec2.domain.records.s3_keys import lane_turn_key
from chronos_ec2.run_store import LaneList, RunStore


@dataclass(slots=True)
class LaneTurn:
    """Where the next sweep goes on. In the bucket too if there are more lanes than one sweep looks at."""

    environment: str
    store: RunStore
    _after: str | None = None

    def next(self) -> LaneList:
        """The lanes, from the one on whose turn it is. Anyone who may write locks can create any number of them.

        Raises:
            ServiceUnavailable, NotAllowed: they could not be listed.
        """
        first = self.store.list_lanes(self.environment, limit=MAX_IDLE_LANES)
        after = self._after or (self._stored() if first.more else "")
        if not after:
            return first
        rest = self.store.list_lanes(self.environment, after, MAX_IDLE_LANES)
        left = MAX_IDLE_LANES - len(rest.names)
        again = tuple(name for name in first.names if name not in set(rest.names))[:left] if not rest.more else ()
        return LaneList(self.environment, rest.names + again, more=first.more)

    def ended_with(self, name: str | None, *, more: bool) -> None:
        """The sweep has looked at this lane last, or at all. With `more` the next function that sweeps has to know."""
        self._after = name
        if more:
            self.store.objects.write(lane_turn_key(self.environment), dump_json({"after": name}))

    def _stored(self) -> str:
        try:
            found = self.store.objects.read(lane_turn_key(self.environment))
            return Fields(load_json(found.body, "turn"), "turn").text("after") if found else ""
        except (InvalidDocument, ServiceUnavailable, NotAllowed):
            return ""  # from the first lane on
