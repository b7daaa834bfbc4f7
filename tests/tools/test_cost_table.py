"""What is promised about money is what the table says."""

from __future__ import annotations

import re
import tomllib

import pytest

from tools.cost_table import (
    DOCUMENT,
    ROOT,
    alarm_metrics,
    as_markdown,
    hour_of_training,
    idle_calls,
    month_of_idling,
    total,
    typical_run,
)


def test_the_document_is_what_the_code_and_the_template_make_of_it() -> None:
    assert DOCUMENT.read_text() == as_markdown(), "run `python -m tools.cost_table`"


def test_the_readme_promises_what_the_table_says() -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"${total(month_of_idling()):.2f} a month" in readme
    assert total(month_of_idling(), free_tier=True) < total(month_of_idling())


def test_an_idle_sweep_makes_few_calls_and_writes_nothing() -> None:
    calls = idle_calls()
    assert sum(calls.values()) <= 5
    assert not [call for call in calls if "Put" in call or "Delete" in call or "Terminate" in call]


def test_a_run_costs_its_instance_and_little_else() -> None:
    instance, *others = hour_of_training()
    assert total(others) < instance.usd / 20


def test_a_typical_run_is_its_hours_and_what_it_leaves_in_the_bucket() -> None:
    hours, run = hour_of_training(), typical_run()
    assert total(run[: len(hours)]) == pytest.approx(1.5 * total(hours))
    (stored,) = [line for line in run if "days" in line.what]
    # 18 checkpoints of 1.4 GB for 15 of 365/12 days at $0.023.
    assert stored.usd == pytest.approx(18 * 1.4 * 15 / (365 / 12) * 0.023)
    assert total(run) < 2


def test_every_price_says_where_and_when_it_was_read() -> None:
    for name, price in tomllib.loads((ROOT / "tools" / "prices.toml").read_text()).items():
        assert re.search(r"20\d\d", str(price["source"])), name
        assert "not read" not in str(price["source"]), name


def test_the_metrics_of_an_alarm_are_counted() -> None:
    template = (
        "Resources:\n  A:\n    Type: AWS::CloudWatch::Alarm\n    Properties:\n      MetricName: x\n"
        "  B:\n    Type: AWS::CloudWatch::Alarm\n    Properties:\n      Metrics:\n        - MetricStat: {}\n"
        "        - MetricStat: {}\n  C:\n    Type: AWS::SNS::Topic\n"
        "  D:\n    Type: AWS::CloudWatch::Alarm\n    Condition: Asked\n    Properties:\n      MetricName: y\n"
    )
    assert alarm_metrics(template) == 3
