"""What is known of a run, as a page: what became of it, its time line, its training, its evaluation, how to use it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import yaml

from agent.report.evaluation import (
    comparison_sections,
    evaluation_notes,
    evaluation_sections,
    evaluation_sentence,
    forecast_sections,
)
from agent.report.page import Page, Rows, Section, Span
from agent.report.training import training_sections
from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.parsing.times import human_span
from chronos_ec2.domain.planning.cost import price_in
from chronos_ec2.domain.records.request import Request
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Job, Outcome, Status, Verdict
from chronos_ec2.job_config.parse import parse_config
from chronos_ec2.job_config.usage import by_command, by_library, must_be_coded

Part = TypeVar("Part")
_log = logging.getLogger(__name__)
_TIME = "%Y-%m-%d %H:%M:%S UTC"
_KINDS = {Status.CLEANUP: "good", Status.FAILED: "bad", Status.KILLED: "ended"}
_MAX_MESSAGE = 2000


@dataclass(frozen=True, slots=True)
class Material:
    """What a report is made of. All but the record may be missing.

    Attributes:
        now: when it is made.
        verdict: that of the run, or the one that its agent is about to write.
        begun: run.json.
        ended: training.json.
        evaluation: eval/report.json, which has more than training.json.
        metrics: metrics.jsonl.
        examples: forecasts beside what was observed, as `forecast_table.examples` makes them.
        heartbeat: the latest, if nothing that the agent has written says more.
        log: the last lines of the trainer's log.
    """

    run: Run
    now: datetime
    verdict: Verdict | None
    request: Request | None = None
    cost_usd: float | None = None
    begun: Mapping[str, Any] = field(default_factory=dict)
    ended: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    metrics: Path | None = None
    examples: Sequence[Mapping[str, Any]] = ()
    heartbeat: HeartbeatReceived | None = None
    log: str = ""


def report_page(material: Material, *, pictures: bool = True) -> Page:
    """The report of a run. What cannot be made of it is left out, and logged; without `pictures` there are none."""
    run, verdict = material.run, material.verdict
    evaluation = (material.evaluation or material.ended.get("evaluation") or {}) if run.job is Job.TRAIN else {}
    return Page(
        title=f"Run {run.run_id}",
        kind=_KINDS[verdict.status] if verdict else "",
        sentence=one_line(next(iter(_whole(_sentence(run, verdict, evaluation)))), _MAX_MESSAGE),
        notes=_whole(evaluation_notes(evaluation)),
        facts=_whole(_facts(material)),
        sections=tuple(
            section
            for make in (_timeline, _log_end, _training, _evaluation, _cost, _usage, _data, _configuration, _versions)
            for section in _whole(make(material, pictures))
        ),
        foot=f"Made {material.now:{_TIME}} by chronos-ec2. Costs and times are those known by then.",
    )


def _whole(made: Iterator[Part]) -> tuple[Part, ...]:
    """What is made up to an error: a run is worth more than a part of its report."""
    found: list[Part] = []
    try:
        for part in made:
            found.append(part)  # noqa: PERF402 - what was made before an error stays
    except Exception as error:  # noqa: BLE001 - as documented
        _log.warning("the report lacks a part: %s: %s", type(error).__name__, error)
    return tuple(found)


def _sentence(run: Run, verdict: Verdict | None, evaluation: Mapping[str, Any]) -> Iterator[str]:
    """The best sentence first."""
    if verdict is None:
        yield f"Active: {run.status}, {run.current_step}."
        return
    if verdict.outcome is Outcome.SUCCEEDED and evaluation:
        with suppress(LookupError, TypeError):
            yield f"Succeeded. {evaluation_sentence(evaluation)}"
    yield f"{str(verdict.outcome).capitalize()} ({verdict.cause}): {verdict.message}"


def _facts(material: Material) -> Iterator[tuple[str, str]]:
    run, begun, ended = material.run, material.begun, material.ended
    yield "environment, lane", f"{run.lane.environment}, {run.lane.name}"
    yield "started", f"{run.created_at:{_TIME}}"
    yield "took", human_span((run.ended_at or material.now) - run.created_at)
    yield "cost", _dollars(material.cost_usd) + (f" of {_dollars(run.max_cost_usd)}" if run.max_cost_usd else "")
    market = f", {material.request.market}" if material.request else ""
    yield "instance", f"{run.instance_type}{market}"
    gpus = [f"{one['name']}, {one['memory'] / 2**30:.0f} GiB" for one in (begun.get("hardware") or {}).get("gpus", ())]
    if gpus:
        yield "GPU", f"{len(gpus)} of {gpus[0]}" if len(gpus) > 1 else gpus[0]
    yield "attempts", str(run.attempt)
    if run.parent:
        yield "takes up", run.parent
    if material.heartbeat:
        seen = material.heartbeat.heartbeat
        step = f", step {seen.step:,} of {seen.total_steps:,}" if seen.total_steps else ""
        loss = "" if seen.loss is None else f", loss {seen.loss:.4g}"
        yield "last heartbeat", f"{material.heartbeat.received_at:{_TIME}}{step}{loss}"
    facts = begun.get("training") or {}
    if "series" in facts:
        observations = f"{facts['observations']:,} observations, " if "observations" in facts else ""
        yield "data", f"{facts['series']:,} series, {observations}{facts.get('frequency')}"
    if facts.get("parameters"):
        yield "parameters", f"{facts['parameters']:,}, {facts.get('parameters_trained', 0):,} of them trained"
    if ended.get("steps") is not None and run.job is Job.TRAIN:
        best = ended.get("best_step")
        yield "steps", f"{ended['steps']:,}" + (f", weights of step {best:,}" if best else "")


def spans(run: Run, now: datetime) -> tuple[Span, ...]:
    """The phases of a run as bars on its time line."""
    if not run.phases:
        return ()
    end = run.ended_at or now
    began = run.phases[0][1]
    whole = max((end - began).total_seconds(), 1e-3)
    ends = [moment for _, moment in run.phases[1:]] + [max(end, run.phases[-1][1])]
    attempt, found = 0, []
    for (status, moment), until in zip(run.phases, ends, strict=True):
        attempt += status is Status.INITIALIZATION
        over = status in (Status.FAILED, Status.KILLED)
        name = f"{status}, attempt {attempt}" if run.attempt > 1 and status is Status.INITIALIZATION else str(status)
        left = 100 * (moment - began).total_seconds() / whole
        found.append(
            Span(
                name,
                f"{moment:%H:%M:%S}" if over else human_span(until - moment),
                left=min(left, 99.5),
                width=0.5 if over else max(0.0, 100 * (until - moment).total_seconds() / whole),
                kind=_KINDS.get(status, ""),
            )
        )
    return tuple(found)


def _timeline(material: Material, _pictures: bool) -> Iterator[Section]:
    run = material.run
    if not run.phases:
        return
    text = (
        [f"Attempt {run.attempt}: its instance {run.instance_id} was launched at {run.launched_at:{_TIME}}."]
        if (run.instance_id and run.launched_at)
        else []
    )
    text += [
        f"Interrupted at step {one['reached']:,}, resumed from step {one['resumed_from']:,}."
        for one in material.ended.get("interruptions") or ()
    ]
    if not run.claimed:
        text.append("No agent has claimed this attempt.")
    yield Section("Time line", text=tuple(text), spans=spans(run, material.now))


def _log_end(material: Material, _pictures: bool) -> Iterator[Section]:
    if material.log and material.verdict and material.verdict.outcome is not Outcome.SUCCEEDED:
        yield Section("End of the trainer's log", code=material.log)


def _training(material: Material, pictures: bool) -> Iterator[Section]:
    if material.metrics is not None and material.run.job is Job.TRAIN:
        yield from training_sections(material.metrics, material.ended, pictures=pictures)


def _evaluation(material: Material, pictures: bool) -> Iterator[Section]:
    season = (material.request.config.get("evaluation") or {}).get("season_length") if material.request else None
    if material.run.job is Job.FORECAST:
        yield from forecast_sections(material.examples, pictures=pictures)
    elif comparison := material.ended.get("comparison"):
        yield from comparison_sections(comparison, material.examples, season or 1, pictures=pictures)
    else:
        evaluation = material.evaluation or material.ended.get("evaluation") or {}
        yield from evaluation_sections(evaluation, material.examples, season or 1, pictures=pictures)


def _cost(material: Material, _pictures: bool) -> Iterator[Section]:
    run, price = material.run, price_in(material.run)
    rows: list[tuple[str, str]] = [("until now" if run.ended_at is None else "in all", _dollars(material.cost_usd))]
    if run.attempt > 1:
        rows.append(("earlier attempts", _dollars(run.spent_usd)))
    rows += [
        ("an hour of the instance", _dollars(price)),
        ("cap", "none" if run.max_cost_usd is None else _dollars(run.max_cost_usd)),
        ("deadline", f"{run.deadline:{_TIME}}"),
    ]
    text = "With volume and public address, at the prices of the launch."
    if run.ended_at is None:
        text += f" The final cost: chronos-ec2 runs show {run.run_id}"
    yield Section("Cost", text=(text,), facts=tuple(rows))


def _usage(material: Material, _pictures: bool) -> Iterator[Section]:
    run, uri = material.run, material.ended.get("model_uri")
    if not uri:
        return
    if material.request is None:
        return
    config = parse_config(dict(material.request.config), "request.json")
    environment = "" if run.lane.environment == "dev" else f" --environment {run.lane.environment}"
    lines = [
        by_command(f"run:{run.run_id}", config.data, config.prediction_length) + environment,
        "",
        f"chronos-ec2 results {run.run_id}{environment}",
        "# python",
        "from chronos import BaseChronosPipeline",
        by_library(f'"{run.run_id}/models"', config.data, config.prediction_length),
        f'# with access to the bucket also BaseChronosPipeline.from_pretrained("{uri}")',
    ]
    if note := must_be_coded(config.data):
        lines.append(f"# {note}")
    yield Section("Use the model", code="\n".join(lines))


def _data(material: Material, _pictures: bool) -> Iterator[Section]:
    data, facts = material.begun.get("data") or {}, material.begun.get("training") or {}
    if not data:
        return
    rows: list[tuple[str, str]] = [("SHA-256", str(data["sha256"]))]
    if data.get("rows") is not None:
        rows.append(("rows", f"{data['rows']:,}"))
    rows.append(("files", f"{len(data['files']):,}, {data['bytes'] / 1e6:,.1f} MB"))
    found = [str(one["problem"]) if isinstance(one, Mapping) else str(one) for one in facts.get("findings") or ()]
    yield Section("Data", text=tuple(f"{problem}." for problem in found), facts=tuple(rows))


def _configuration(material: Material, _pictures: bool) -> Iterator[Section]:
    config = material.request.config if material.request else material.begun.get("config")
    if config:
        yield Section(
            "Configuration", code=yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True), folded=True
        )


def _versions(material: Material, _pictures: bool) -> Iterator[Section]:
    begun, request = material.begun, material.request
    rows: list[tuple[str, Any]] = list((begun.get("versions") or {}).items())
    rows += [("commit", request.commit), ("agent, SHA-256", request.bundle_sha256)] if request else []
    rows += [(name, value) for name, value in (begun.get("hardware") or {}).items() if name != "gpus"]
    if base := (begun.get("training") or {}).get("base"):
        rows += [(f"base model, {name}", value) for name, value in base.items()]
    facts: Rows = tuple((str(name), str(value)) for name, value in rows if value is not None)
    checks = tuple(f"{one['name']}: {one['value']}" for one in begun.get("preflight") or () if not one.get("ok", True))
    if facts:
        yield Section("Versions and hardware", text=checks, facts=facts, folded=True)


def _dollars(usd: float | None) -> str:
    return "unknown" if usd is None else f"${usd:.2f}"
