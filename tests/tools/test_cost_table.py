"""The documented costs match the code, the template and the price list."""

from __future__ import annotations

import re

import pytest

from chronos_ec2.bundled.prices import BundledPrices, price_table
from chronos_ec2.domain.planning.cost import PUBLIC_IPV4_USD_PER_HOUR
from chronos_ec2.services.prices import ROOT_VOLUME_GIB, hourly_price
from tools.cost_table import (
    DOCUMENT,
    ROOT,
    alarm_metrics,
    as_markdown,
    idle_calls,
    idle_month,
    total,
    training_hour,
    typical_run,
)


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == as_markdown(), "run `python -m tools.cost_table`"


def test_the_readme_quotes_the_table() -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"${total(idle_month()):.2f} a month" in readme
    assert total(idle_month(), free_tier=True) < total(idle_month())


def test_an_idle_sweep_makes_few_calls_and_writes_nothing() -> None:
    calls = idle_calls()
    assert sum(calls.values()) <= 5
    assert not [call for call in calls if "Put" in call or "Delete" in call or "Terminate" in call]


def test_the_instance_is_nearly_all_of_the_cost_of_an_hour() -> None:
    instance, *others = training_hour()
    assert total(others) < instance.usd / 20


def test_a_typical_run_costs_its_hours_and_its_storage() -> None:
    hours, run = training_hour(), typical_run()
    assert total(run[: len(hours)]) == pytest.approx(1.5 * total(hours))
    (stored,) = [line for line in run[len(hours) :] if "days" in line.what]
    # 18 checkpoints of 1.4 GB for 15 of 365/12 days at $0.023.
    assert stored.usd == pytest.approx(18 * 1.4 * 15 / (365 / 12) * 0.023)
    assert total(run) < 2


def test_logs_cost_their_uploads_and_the_old_versions_of_their_parts() -> None:
    lines = {line.what: line for line in training_hour()}
    # Three logs, uploaded each 30 s, of half a megabyte on average, for 30 of 365/12 days at $0.023 per GB.
    assert lines["heartbeats and logs"].quantity == 240 + 3 * 120
    assert lines["old versions of log parts, 30 days"].usd == pytest.approx(360 * 0.0005 * 30 / (365 / 12) * 0.023)


def test_every_price_has_a_source_and_a_date() -> None:
    table = price_table()
    sources = {name: price["source"] for name, price in table["services"].items()} | table["sources"]
    assert sources.keys() == {*table["services"], *(table.keys() - {"services", "sources", "as_of"})}
    for name, source in sources.items():
        assert re.search(r"20\d\d", source), name
        assert "not read" not in source, name


def test_an_hour_costs_what_a_run_is_charged_for_an_instance_hour() -> None:
    charged = total(training_hour()[:3])
    assert charged == pytest.approx(hourly_price(BundledPrices(), "us-east-1", "g4dn.2xlarge"))
    assert table_price("public_ipv4") == PUBLIC_IPV4_USD_PER_HOUR


def table_price(name: str) -> float:
    return float(price_table()["services"][name]["usd"])


def test_the_documents_list_the_types_with_prices() -> None:
    assert "- eu-west-1: g4dn (xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge metal), g5 (" in as_markdown()


def test_the_volume_is_that_of_the_template() -> None:
    template = (ROOT / "template.yaml").read_text()
    assert re.search(rf"\n  VolumeSize:\n    Type: Number\n    Default: {ROOT_VOLUME_GIB}\n", template)


def test_metrics_of_unconditional_alarms_are_counted() -> None:
    template = (
        "Resources:\n  A:\n    Type: AWS::CloudWatch::Alarm\n    Properties:\n      MetricName: x\n"
        "  B:\n    Type: AWS::CloudWatch::Alarm\n    Properties:\n      Metrics:\n        - MetricStat: {}\n"
        "        - MetricStat: {}\n  C:\n    Type: AWS::SNS::Topic\n"
        "  D:\n    Type: AWS::CloudWatch::Alarm\n    Condition: Asked\n    Properties:\n      MetricName: y\n"
    )
    assert alarm_metrics(template) == 3
