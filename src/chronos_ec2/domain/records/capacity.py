"""Waiting for capacity, as the lock records it: the option in work, EC2's refusals, and when the next try is due."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.parsing.codec import Fields
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.parsing.times import format_time

Market = Literal["on-demand", "spot"]
ON_DEMAND: Market = "on-demand"
SPOT: Market = "spot"

MAX_REFUSALS = 40
"""How many refusals a record keeps, so that it stays far below the size limit of documents."""
_WORDS = 200
_FIRST_PAUSE, _DOUBLINGS, _LONGEST_PAUSE = timedelta(minutes=1), 4, timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class LaunchOption:
    """One way to launch: an instance type in a subnet, on-demand or spot."""

    instance_type: str
    subnet_id: str
    market: Market = ON_DEMAND

    def __str__(self) -> str:
        return f"{self.instance_type} in {self.subnet_id} ({self.market})"


@dataclass(frozen=True, slots=True)
class Launching:
    """The option that EC2 is asked for, recorded before it is asked. It stays once it has become the instance."""

    option: LaunchOption
    since: datetime

    def to_dict(self) -> dict[str, Any]:
        """The fields in the record."""
        return _option_to_dict(self.option) | {"since": format_time(self.since)}

    @classmethod
    def from_fields(cls, fields: Fields) -> Launching:
        """The option in work. Raises InvalidDocument."""
        return cls(_read_option(fields), fields.time("since"))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why EC2 did not launch an option: its code and its words, shortened."""

    option: LaunchOption
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.option}: " + ": ".join(filter(None, (self.code, self.message)))


@dataclass(frozen=True, slots=True)
class Waiting:
    """How an attempt waits for capacity.

    Attributes:
        since: When the attempt began to look for an instance.
        until: When it gives up, never past the run's deadline.
        tries: How often EC2 has refused every option. At 0 the first try is not over.
        next_try_at: When EC2 is asked again.
        refusals: EC2's last word about each option, in the order of asking.
    """

    since: datetime
    until: datetime
    tries: int
    next_try_at: datetime
    refusals: tuple[Refusal, ...] = ()

    def refused(self, refusals: Iterable[Refusal], now: datetime) -> Waiting:
        """This wait after another try in which EC2 refused what it was asked for."""
        tries = self.tries + 1
        return replace(self.noted(refusals), tries=tries, next_try_at=now + pause_after(tries))

    def noted(self, refusals: Iterable[Refusal]) -> Waiting:
        """This wait with EC2's last words."""
        last = {refusal.option: refusal for refusal in self.refusals}
        for refusal in refusals:
            last.pop(refusal.option, None)
            last[refusal.option] = shortened(refusal)
        return replace(self, refusals=tuple(last.values())[-MAX_REFUSALS:])

    def to_dict(self) -> dict[str, Any]:
        """The fields in the record."""
        return {
            "since": format_time(self.since),
            "until": format_time(self.until),
            "tries": self.tries,
            "next_try_at": format_time(self.next_try_at),
            "refusals": [
                _option_to_dict(refusal.option) | {"code": refusal.code, "message": refusal.message}
                for refusal in self.refusals
            ],
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Waiting:
        """The wait. Raises InvalidDocument."""
        return cls(
            since=fields.time("since"),
            until=fields.time("until"),
            tries=fields.count("tries"),
            next_try_at=fields.time("next_try_at"),
            refusals=tuple(
                Refusal(_read_option(refusal), refusal.text("code"), refusal.text("message"))
                for refusal in fields.children("refusals")
            ),
        )


def pause_after(tries: int) -> timedelta:
    """The pause after so many tries: a minute, doubled with each further try, at most a quarter of an hour."""
    return min(_FIRST_PAUSE * float(2 ** min(tries - 1, _DOUBLINGS)), _LONGEST_PAUSE)


def shortened(refusal: Refusal) -> Refusal:
    """A refusal whose words fit into a record, on one line."""
    return replace(refusal, code=one_line(refusal.code, 80), message=one_line(refusal.message, _WORDS))


def _option_to_dict(option: LaunchOption) -> dict[str, Any]:
    return {"instance_type": option.instance_type, "subnet_id": option.subnet_id, "market": option.market}


def _read_option(fields: Fields) -> LaunchOption:
    return LaunchOption(fields.text("instance_type"), fields.text("subnet_id"), read_market(fields.text("market")))


def read_market(text: str) -> Market:
    """The market with this name. Raises InvalidDocument."""
    if text == SPOT:
        return SPOT
    if text == ON_DEMAND:
        return ON_DEMAND
    raise InvalidDocument(f"{one_line(text, 40)!r} is not a market")
