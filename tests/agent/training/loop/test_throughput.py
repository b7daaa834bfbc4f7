"""The numbers beside the loss, by a clock that moves when told to."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

from agent.training.loop.throughput import Gauges
from tests.agent.builders import FakeTime


@dataclass
class Optimizer:
    step_was_skipped: bool = False
    scaler: object = None


def test_rates_and_waits_are_means_since_the_last_look_and_the_start_up_counts_for_nothing() -> None:
    clock = FakeTime()
    gauges = Gauges(8, clock)
    with gauges.waiting():
        clock.advance(30)
    gauges.begin(5)
    for _ in range(4):
        with gauges.waiting():
            clock.advance(0.25)
        clock.advance(0.75)
        gauges.begin(99)
    assert gauges.read(9, Optimizer()) == {"series_per_second": 8.0, "data_wait_ms": 250.0}
    clock.advance(2)
    assert gauges.read(10, Optimizer()) == {"series_per_second": 4.0, "data_wait_ms": 0.0}


def test_steps_that_overflowed_are_counted() -> None:
    gauges, scaler = Gauges(1, FakeTime()), SimpleNamespace(get_scale=lambda: 512.0)
    for skipped in (True, False, True):
        gauges.stepped(Optimizer(skipped, scaler))
    assert gauges.read(3, Optimizer(scaler=scaler)) == {"scaler_scale": 512.0, "skipped_steps": 2}
