"""Throughput, on a fake clock."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

from agent.chronos.training.throughput import Throughput
from tests.agent.builders import FakeTime


@dataclass
class Optimizer:
    step_was_skipped: bool = False
    scaler: object = None


def test_rates_and_waits_are_means_since_the_last_reading_without_the_start_up() -> None:
    clock = FakeTime()
    throughput = Throughput(8, clock)
    with throughput.data_wait():
        clock.advance(30)
    throughput.step_begins(5)
    for _ in range(4):
        with throughput.data_wait():
            clock.advance(0.25)
        clock.advance(0.75)
        throughput.step_begins(99)
    assert throughput.read(9, Optimizer()) == {"series_per_second": 8.0, "data_wait_ms": 250.0}
    clock.advance(2)
    assert throughput.read(10, Optimizer()) == {"series_per_second": 4.0, "data_wait_ms": 0.0}


def test_skipped_steps_are_counted() -> None:
    throughput, scaler = Throughput(1, FakeTime()), SimpleNamespace(get_scale=lambda: 512.0)
    for skipped in (True, False, True):
        throughput.step_ends(Optimizer(skipped, scaler))
    assert throughput.read(3, Optimizer(scaler=scaler)) == {"scaler_scale": 512.0, "skipped_steps": 2}
