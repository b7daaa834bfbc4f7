"""What goes wrong between AWS and its callers: lost answers, outages, pauses, crashes; and S3 with hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from chronos_ec2.domain.errors import LostRace, NotAllowed, ServiceUnavailable
from chronos_ec2.domain.parsing.codec import MAX_DOCUMENT_BYTES
from chronos_ec2.ports import StoredObject
from chronos_ec2.testing import Crash, MemoryObjects, VirtualTime
from chronos_ec2.testing.faults import AWS_CALLS
from verification.simulation.scenario import Scenario

_BEAT_SECONDS = 20.0
"""A heartbeat and its second try."""


@dataclass(eq=False, slots=True)
class Noise:
    """What goes wrong with each call, given who makes it and what the scenario says."""

    _scenario: Scenario
    _random: Random
    _time: VirtualTime
    in_function: bool = False
    in_launch: bool = False
    cut_off: bool = False
    """Whether the current caller cannot reach AWS."""
    calls_to_crash: int | None = None
    """The caller crashes after so many more fault points, two a call."""
    conditional: bool = False
    """Whether the call is a conditional write, whose retry may find that the condition does not hold."""
    muted: bool = False
    tick: float | None = None
    """When the current tick came."""
    failed_calls: int = 0
    """ReadFailed calls of functions, and functions that crashed."""
    failed_by_chance: int = 0
    """The same without outages other than EC2's."""
    disturbed: list[float] = field(default_factory=list)
    """The times of ticks that were lost, or in which a call failed."""
    disturbed_by_chance: list[float] = field(default_factory=list)
    """The same without those that only an outage other than EC2's disturbed."""
    _paused: bool = False
    _errors: float = field(init=False)
    _crashes: float = field(init=False)
    _quiet: bool = field(init=False)

    def __post_init__(self) -> None:
        """Split each rate over the two fault points of a call."""
        scenario = self._scenario
        self._errors, self._crashes = scenario.call_errors / 2, scenario.function_crashes / 2
        self._quiet = not (self._errors or self._crashes or scenario.outages or scenario.pauses)

    @contextmanager
    def used_by_agent(self, *, cut_off: bool) -> Iterator[None]:
        """Be the network of an agent."""
        before = self.cut_off, self.in_function, self.in_launch
        self.cut_off, self.in_function, self.in_launch = cut_off, False, False
        try:
            yield
        finally:
            self.cut_off, self.in_function, self.in_launch = before

    def disturbs(self, tick: float, by_chance: bool) -> None:
        """Note that a tick may have been of no use."""
        for ticks in (self.disturbed, self.disturbed_by_chance)[: 1 + by_chance]:
            if tick not in ticks:
                ticks.append(tick)

    @property
    def can_fail(self) -> bool:
        """Whether a call may fail, by chance or in an outage."""
        return bool(self._errors or self._scenario.outages) and not self.muted

    @property
    def out(self) -> bool:
        """Whether a service is out now: a tick that did not call it may still depend on it."""
        now = self._time.seconds
        return any(outage.after <= now < outage.after + outage.seconds for outage in self._scenario.outages)

    def excuse(self, last_beat: float) -> float:
        """Since when an agent is silent by its own fault, which an outage of S3 is not."""
        for outage in self._scenario.outages:
            began_well = outage.after - _BEAT_SECONDS < last_beat < outage.after + outage.seconds
            if outage.service == "s3" and not outage.refuses and began_well and self._time.seconds > outage.after:
                # A heartbeat that failed is tried again after some seconds.
                return min(self._time.seconds, outage.after + outage.seconds + _BEAT_SECONDS)
        return last_beat

    def before(self, operation: str, _target: str) -> None:
        """The request may be lost, and its sender may die."""
        if self.cut_off:
            raise ServiceUnavailable(f"{operation}: no route")
        if not self._quiet or self.calls_to_crash is not None:
            self._in_an_outage(operation)
            self._maybe(operation)

    def after(self, operation: str, _target: str) -> None:
        """The answer may be lost, and its receiver may die."""
        if self._quiet and self.calls_to_crash is None:
            return
        if self.conditional and self._errors and not self.muted and self._random.random() < self._errors / 4:
            # botocore retried after a lost answer, and met its own write.
            self._count()
            raise LostRace(f"{operation}: 412")
        self._maybe(operation)
        if self._scenario.pauses and (self.in_function or self.in_launch) and not self.muted:
            self._may_pause()

    def _may_pause(self) -> None:
        """The caller is held up while everybody else continues. One pause at a time."""
        if self._paused or self._random.random() >= self._scenario.pauses:
            return
        seconds = self._random.uniform(0.1, 20.0)
        if self.in_launch and self._random.random() < 0.2:
            seconds = self._random.uniform(20.0, 2000.0)  # somebody closes a laptop
        self._count()
        if self.in_function and self.tick is not None:
            self.disturbs(self.tick, by_chance=True)
        mine = self.in_function, self.in_launch, self.conditional, self.calls_to_crash, self.tick
        self.in_function = self.in_launch = self.conditional = False
        self._paused, self.calls_to_crash, self.tick = True, None, None
        end = self._time.seconds + seconds
        self._time.run(lambda: False, end)
        self._time.seconds = end
        self.in_function, self.in_launch, self.conditional, self.calls_to_crash, self.tick = mine
        self._paused = False

    def _in_an_outage(self, operation: str) -> None:
        call, now = AWS_CALLS[operation], self._time.seconds
        for outage in self._scenario.outages:
            if self.muted or not (call.startswith(outage.service) and outage.after <= now):
                continue
            if now < outage.after + outage.seconds and (self.in_function or not outage.refuses):
                self.failed_calls += self.in_function
                self.failed_by_chance += self.in_function and outage.service == "ec2"
                raise (NotAllowed if outage.refuses else ServiceUnavailable)(f"{call}: an outage")

    def _maybe(self, operation: str) -> None:
        if self.calls_to_crash is not None:
            self.calls_to_crash -= 1
            if self.calls_to_crash <= 0:
                self.calls_to_crash = None
                raise Crash
        if self._quiet or self.muted:
            return
        if self._errors and self._random.random() < self._errors:
            self._count()
            raise ServiceUnavailable(f"{operation}: 503 SlowDown")
        if self._crashes and self.in_function and self._random.random() < self._crashes:
            self._count()
            raise Crash

    def _count(self) -> None:
        self.failed_calls += self.in_function
        self.failed_by_chance += self.in_function


class SimulatedObjects(MemoryObjects):
    """A bucket that reports writes of a lock, before and after them, and reads of a heartbeat, before them."""

    def __init__(self, time: VirtualTime, noise: Noise) -> None:
        super().__init__(time, noise)
        self._noise = noise
        self.before_lock: Callable[[str], None] = lambda _key: None
        self.on_lock: Callable[[str], None] = lambda _key: None
        self.on_beat_read: Callable[[str], None] = lambda _key: None

    def read(self, key: str, limit: int = MAX_DOCUMENT_BYTES) -> StoredObject | None:
        """As S3 does. Heartbeats that nobody reads in between are not written."""
        if key.endswith("heartbeat.json"):
            self.on_beat_read(key)
        return super().read(key, limit)

    def holds(self, key: str) -> bool:
        """Whether an object exists."""
        return key in self._objects

    def stored(self, key: str) -> StoredObject:
        """An object, without noise. Raises KeyError."""
        return self._objects[key]

    def overwrite(self, key: str, body: bytes | None) -> None:
        """Somebody writes or deletes without a condition and without noise."""
        if body is not None:
            self._put(key, body)
        elif key in self._objects:
            self.before_lock(key)
            del self._objects[key]
            self.on_lock(key)

    def _put_if(self, operation: str, key: str, body: bytes, etag: str | None) -> str:
        self._noise.conditional = True
        try:
            return super()._put_if(operation, key, body, etag)
        finally:
            self._noise.conditional = False

    def _put(self, key: str, body: bytes) -> str:
        if not key.endswith("system-state.json"):
            return super()._put(key, body)
        self.before_lock(key)
        etag = super()._put(key, body)
        self.on_lock(key)
        return etag
