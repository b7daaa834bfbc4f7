"""Estimates the cost of chronos-ec2, idle and for a run: `python -m tools.cost_table` writes docs/cost.md.

The calls of a sweep are counted on the real code, alarm metrics in the template; prices are in chronos_ec2.bundled.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from agent.logs.redacted_copy import MAX_PARTS, PART_BYTES
from chronos_ec2.bundled.prices import BundledPrices, price_table
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.planning.cost import HOURS_PER_MONTH, PUBLIC_IPV4_USD_PER_HOUR
from chronos_ec2.job_config.schema import Training
from chronos_ec2.ports import Price
from chronos_ec2.services.prices import ROOT_VOLUME_GIB
from chronos_ec2.testing import Environment
from chronos_ec2.testing.faults import AWS_CALLS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "cost.md"
_REGION, _MINUTES_PER_MONTH = "us-east-1", 43_800
_SWEEP_SECONDS, _SWEEP_GB, _LOG_BYTES = 1.0, 0.25, 1_200
"""Assumptions about one idle sweep: billed duration, memory, log volume."""
_POLLERS, _POLL_SECONDS = 5, 20
"""Lambda waits for messages with five long polls at a time, and with a maximum concurrency never with fewer:
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
"""
_INSTANCE, _LOG_PUTS_PER_HOUR = "g4dn.2xlarge", 3 * 120
"""Agent, trainer and metrics each upload the latest part of a log twice a minute while they write to it."""
_LOG_VERSION_DAYS = 30
CHECKPOINT_DAYS = 15
"""How long S3 stores a checkpoint: 14 days, and one more as an old version."""
_CHECKPOINT_MINUTES: float = Training.model_fields["checkpoint_minutes"].default
_RUN_HOURS, _CHECKPOINT_GB, _MODEL_GB, _PART_GB = 1.5, 1.4, 0.5, 8 / 1024
"""Assumptions about a typical run that trains all weights of Chronos-2. Checkpoints include the optimiser."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a bill, in USD without and with the free tier."""

    what: str
    price: str
    quantity: float
    usd: float
    usd_with_free_tier: float


def idle_calls() -> Counter[str]:
    """AWS calls, by name, of one sweep in an environment without runs."""
    environment = Environment()
    environment.watchdog.sweep()
    return Counter(AWS_CALLS[operation] for operation, _ in environment.faults.calls)


def alarm_metrics(template: str) -> int:
    """The number of metrics in a template's unconditional alarms."""
    alarms = re.findall(r"Type: AWS::CloudWatch::Alarm\n(.*?)(?=\n  [A-Za-z#]|\Z)", template, re.DOTALL)
    return sum(max(1, alarm.count("MetricStat:")) for alarm in alarms if "\n    Condition:" not in f"\n{alarm}")


def idle_month() -> list[Line]:
    """A month without training, excluding storage."""
    calls = idle_calls()
    alarms = alarm_metrics((ROOT / "template.yaml").read_text())
    return [
        _line("sweeps: invocations", "lambda_requests", _MINUTES_PER_MONTH),
        _line("sweeps: duration", "lambda_duration", _MINUTES_PER_MONTH * _SWEEP_SECONDS * _SWEEP_GB),
        _line("sweeps: schedule", "scheduler", _MINUTES_PER_MONTH),
        _line("sweeps: bucket lists", "s3_list", _MINUTES_PER_MONTH * calls["s3:ListBucket"]),
        _line("sweeps: bucket reads", "s3_get", _MINUTES_PER_MONTH * calls["s3:GetObject"]),
        _line("sweeps: logs", "logs", _MINUTES_PER_MONTH * _LOG_BYTES / 1e9),
        _line("events: polls of their queue", "sqs", _MINUTES_PER_MONTH * 60 / _POLL_SECONDS * _POLLERS),
        _line("alarms", "alarms", alarms),
    ]


def training_hour() -> list[Line]:
    """One hour of a run, in addition to the idle cost."""
    heartbeats = 3600 / Limits().heartbeat.total_seconds()
    instance, gib_month = _instance_usd(), _usd(BundledPrices().gib_month(_REGION))
    volume = ROOT_VOLUME_GIB / HOURS_PER_MONTH
    return [
        _plain(f"{_INSTANCE}, on demand", f"${instance} for 1 hour", 1, instance),
        _plain("public IPv4 address", f"${PUBLIC_IPV4_USD_PER_HOUR} for 1 hour", 1, PUBLIC_IPV4_USD_PER_HOUR),
        _plain(f"volume, {ROOT_VOLUME_GIB} GiB", f"${gib_month} for 1 GiB-month of gp3", volume, gib_month * volume),
        _line("heartbeats and logs", "s3_list", heartbeats + _LOG_PUTS_PER_HOUR),
        _line("their S3 events", "s3_events", heartbeats + _LOG_PUTS_PER_HOUR),
        _line(
            f"old versions of log parts, {_LOG_VERSION_DAYS} days",
            "s3_storage",
            _LOG_PUTS_PER_HOUR * PART_BYTES / 2 / 1e9 * _LOG_VERSION_DAYS * 24 / HOURS_PER_MONTH,
        ),
    ]


def typical_run() -> list[Line]:
    """A run with its storage: checkpoints until they expire, the model for a month."""
    checkpoints = math.floor(_RUN_HOURS * 60 / _CHECKPOINT_MINUTES)
    hours = [
        replace(
            line,
            quantity=line.quantity * _RUN_HOURS,
            usd=line.usd * _RUN_HOURS,
            usd_with_free_tier=line.usd_with_free_tier * _RUN_HOURS,
        )
        for line in training_hour()
    ]
    return [
        *hours,
        _line(f"{checkpoints} checkpoints, uploads", "s3_list", checkpoints * math.ceil(_CHECKPOINT_GB / _PART_GB)),
        _line(
            f"{checkpoints} checkpoints of {_CHECKPOINT_GB} GB, {CHECKPOINT_DAYS} days",
            "s3_storage",
            checkpoints * _CHECKPOINT_GB * CHECKPOINT_DAYS * 24 / HOURS_PER_MONTH,
        ),
        _line(f"the model, {_MODEL_GB} GB, a month", "s3_storage", _MODEL_GB),
    ]


def _instance_usd() -> float:
    return _usd(BundledPrices().on_demand(_REGION, _INSTANCE))


def _usd(price: Price | None) -> float:
    return price.usd if price else 0.0


def _plain(what: str, price: str, quantity: float, usd: float) -> Line:
    return Line(what, price, quantity, usd, usd)


def _prices() -> dict[str, dict[str, float | str]]:
    services: dict[str, dict[str, float | str]] = price_table()["services"]
    return services


def _line(what: str, name: str, quantity: float) -> Line:
    price = _prices()[name]
    usd, per, free = (float(price[key]) for key in ("usd", "per", "free"))
    text = f"${f'{usd:.10f}'.rstrip('0').rstrip('.')} for {per:,.0f} {price['unit']}"
    return Line(what, text, quantity, usd * quantity / per, usd * max(quantity - free, 0) / per)


def total(lines: list[Line], *, free_tier: bool = False) -> float:
    """The total of a bill in USD."""
    return sum(line.usd_with_free_tier if free_tier else line.usd for line in lines)


def as_markdown() -> str:
    """The document."""
    idle, hour, run = idle_month(), training_hour(), typical_run()
    calls = ", ".join(f"{count} {call}" for call, count in sorted(idle_calls().items()))
    minutes, storage = _CHECKPOINT_MINUTES, _prices()["s3_storage"]["usd"]
    sources = "\n".join(f"- {name}: ${price['usd']}, {price['source']}" for name, price in _prices().items())
    return f"""# Cost

Generated by `python -m tools.cost_table` from list prices in us-east-1, and not checked against a bill. The calls of
one idle sweep, counted on the real code: {calls}.
EC2's and Scheduler's calls are free. Assumed per sweep: {_SWEEP_SECONDS:g} s billed, {_SWEEP_GB * 1024:.0f} MB,
{_LOG_BYTES:,} bytes of log.

## A month without training

{_table(idle, "a month")}

Storage is extra: ${storage} per GB-month. VPC, subnets, gateway endpoint, roles, topics and rules cost nothing at rest,
nor do queues, but Lambda polls that of the events ([ADR 20](adr/0020-queue-of-state-events.md)); there is no NAT
gateway. Two options are off by default: the dashboard, $3 a month beyond an account's
first three; and the custom metrics (terminations, relaunches, leaks), $0.30 a month each beyond an account's first ten,
for the hours that have a value, with $0.10 for the alarm on leaks.

## An hour of training

{_table(hour, "an hour")}

A run's cost in its record, in messages, and in `runs` and `monitor` is that of the first three lines, for each
instance from its launch to its end, at the prices of the stack's region on the day of the launch. Waiting for an
instance costs nothing. A spot instance is counted at the price on demand. Types and regions:

{_known()}

For another type or region give `launch --price USD`, which replaces the price of the instance; without it the cost is
unknown, and `--max-cost` is refused.

The bucket keeps versions. A log is uploaded in parts of {PART_BYTES / 1e6:g} MB, of which only the latest is uploaded
again, so old versions cost at most what the table says, whatever the size of the logs. Of each log an attempt keeps at
most {MAX_PARTS} parts: the beginning and the end.

A volume of another size (`VolumeSize`) costs in proportion. The local disks of g4dn, g5 and g6 are part of the
instance's price. `VolumeInitializationRate` has a price per GiB of the AMI's snapshot, some 30 GiB, and per MiB/s, for
each instance that is launched; it is on AWS's page of EBS prices and in no line here. A KMS key of your own
(`VolumeKeyArn`) costs what KMS charges for a key, and a request or two per instance; AWS's key costs nothing.

Data transfer between S3 and the instance is free within a region. A forgotten {_INSTANCE} would cost
${_instance_usd() * HOURS_PER_MONTH:,.2f} a month.

## A typical run

{_RUN_HOURS:g} hours of training all weights of Chronos-2, with a checkpoint every {minutes:g} minutes. LoRA, the
default on this instance type, writes far smaller ones.

{_table(run, "a run")}

## Sources

All prices are in `src/chronos_ec2/bundled/prices.toml`. A launch takes the prices that AWS lists at that moment, and
those of the file only where AWS does not answer or refuses; `launch --price` replaces that of the instance.

- instances: {price_table()["sources"]["on_demand"].strip()}
- volumes: {price_table()["sources"]["gp3_gib_month"].strip()}
{sources}
"""


def _known() -> str:
    """A list of the instance types whose prices are known, by region."""
    lines = []
    for region, types in price_table()["on_demand"].items():
        families: dict[str, list[str]] = {}
        for name in types:
            family, _, size = name.partition(".")
            families.setdefault(family, []).append(size)
        known = ", ".join(f"{family} ({' '.join(sizes)})" for family, sizes in families.items())
        lines.append(f"- {region}: {known}")
    return "\n".join(lines)


def _table(lines: list[Line], period: str) -> str:
    rows = [
        f"| {line.what} | {line.quantity:,.6g} | {line.price} | ${line.usd:.4f} | ${line.usd_with_free_tier:.4f} |"
        for line in lines
    ]
    sums = f"| **{period}** | | | **${total(lines):.2f}** | **${total(lines, free_tier=True):.2f}** |"
    head = "| | units | price | USD | with the free tier |\n|---|---:|---|---:|---:|"
    return "\n".join([head, *rows, sums])


if __name__ == "__main__":
    DOCUMENT.write_text(as_markdown())
    print(f"{DOCUMENT.relative_to(ROOT)}: ${total(idle_month()):.2f} a month idle")
