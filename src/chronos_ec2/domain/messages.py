"""Notifications: one message per incident, with its cause, its cost and the next command to run.

A message has three bodies: text for people, a card for chat (the custom schema of Amazon Q Developer in chat
applications) and a JSON document for programs. docs/messages.md describes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.message_kinds import SAYS, SEVERITY, WHY, WITH_LOG, WITHHELD, WORK, Kind
from chronos_ec2.domain.parsing.names import INSTANCE_ID_PATTERN, one_line, printable
from chronos_ec2.domain.parsing.times import human_span
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import run_prefix
from chronos_ec2.domain.records.status import Cause, Job, Outcome

__all__ = ["WITHHELD", "WITH_LOG", "Incident", "Kind", "Message", "StackLocation", "compose", "kind_of_end", "links"]
SCHEMA_VERSION = 1
_LINE = 200
"""How many characters of a log line are shown."""
_IN_CHAT = 5
"""How many of EC2's answers chat shows."""
_LOOK_ALIKES = str.maketrans("*~`[]", "\u2217\u223c'\uff3b\uff3d")
_MARKUP = (
    (re.compile(r"(?<!\w)_|_(?!\w)"), "\u2017"),  # emphasis; within a word it is none
    (re.compile(r"(?<!\w)@"), "\uff20"),  # @here, @channel, @name
    (re.compile(r"(?<!\w):(?=[a-z0-9_+-]+:)"), "\u2236"),  # :emoji:
    (re.compile(r"://"), ": //"),  # links
    (re.compile(r"^(\s*)#", re.MULTILINE), "\\1\u266f"),  # headings
)
_CONSOLES = {
    "aws": "console.aws.amazon.com",
    "aws-us-gov": "console.amazonaws-us-gov.com",
    "aws-cn": "console.amazonaws.cn",
}


@dataclass(frozen=True, slots=True)
class StackLocation:
    """Where a stack is, for links. `partition` is `aws`, `aws-cn` or `aws-us-gov`."""

    partition: str
    region: str
    bucket: str

    @classmethod
    def of(cls, topic_arn: str, bucket: str) -> StackLocation:
        """The location of a stack, from the ARN of its topic."""
        _, partition, _, region, *_ = topic_arn.split(":")
        return cls(partition, region, bucket)


@dataclass(frozen=True, slots=True)
class Incident:
    """What a message is about.

    Attributes:
        name: The run id, or else an instance id or another name of the incident.
        cost_usd: The cost so far, None if unknown.
        log: The last lines of the trainer's log, None if the message has none.
        instance: The instance that the incident is about if there is no run.
        price_usd: Its price per hour, None if unknown.
    """

    kind: Kind
    lane: Lane
    name: str
    text: str
    run: Run | None = None
    cost_usd: float | None = None
    log: Sequence[str] | None = None
    instance: Instance | None = None
    price_usd: float | None = None

    @property
    def title(self) -> str:
        """The subject of the message."""
        if self.run:
            job = "" if self.run.job is Job.TRAIN else f"{self.run.job} "
            return f"{job}run {self.run.run_id}"
        if self.kind is Kind.LIMIT:
            return f"the {self.name.replace('-', ' ')}"
        return "the lock" if self.name.startswith("unreadable-") else self.name

    @property
    def instance_id(self) -> str | None:
        """The id of the instance that the incident is about, if any: the lock may hold another text."""
        found = self.run.instance_id if self.run else self.name
        return found if found and INSTANCE_ID_PATTERN.fullmatch(found) else None

    @property
    def cause(self) -> Cause | None:
        """Why the run ended, if it has."""
        return self.run.verdict.cause if self.run and self.run.verdict else None


@dataclass(frozen=True, slots=True)
class Message:
    """A message to publish. Subscribers filter by its `attributes`.

    `body` is for people, `chat` for chat applications, `document` for programs.
    """

    subject: str
    body: str
    attributes: Mapping[str, str]
    chat: Mapping[str, Any]
    document: Mapping[str, Any]


def kind_of_end(run: Run) -> Kind:
    """The kind of the message about a run's end. Raises ValueError without a verdict."""
    verdict = run.verdict
    if verdict is None:
        raise ValueError("the run has not ended")
    if verdict.outcome is Outcome.SUCCEEDED:
        return Kind.COMPLETED
    if verdict.outcome is Outcome.KILLED:
        return Kind.KILLED
    return {Cause.HUNG: Kind.STUCK, Cause.OVER_BUDGET: Kind.OVER_BUDGET}.get(verdict.cause, Kind.FAILED)


def compose(incident: Incident, place: StackLocation, now: datetime) -> Message:
    """The message for an incident. `now` is AWS time, aware UTC."""
    lane, run = incident.lane, incident.run
    attributes = {"environment": lane.environment, "lane": lane.name, "kind": str(incident.kind)}
    attributes |= {"severity": SEVERITY[incident.kind]}
    attributes |= {"run_id": run.run_id} if run else {}
    attributes |= {"cause": str(incident.cause)} if incident.cause else {}
    return Message(
        subject=one_line(f"[chronos-ec2 {lane.environment}] {incident.title} {SAYS[incident.kind]}", 99),
        body=_for_people(incident, place, now),
        attributes=attributes,
        chat=_for_chat(incident, place, now),
        document=_for_programs(incident, place),
    )


# --- people ----------------------------------------------------------------------------------------------------


def _for_people(incident: Incident, place: StackLocation, now: datetime) -> str:
    lines = [f"{incident.title} ({incident.lane}): {incident.kind}", "", one_line(incident.text), ""]
    lines += [f"{name:<10}{value}" for name, value in (*_facts(incident, now), *_results_of_job(incident, place))]
    lines += [f"{'console':<10}{link}" for link in links(incident, place).values()]
    if refusals := _refusals(incident):
        lines += ["", "EC2's last answers", *(f"  {refusal}" for refusal in refusals)]
    if incident.log is not None:
        shown = (one_line(printable(line), _LINE) for line in incident.log)
        lines += ["", "last lines of the trainer's log", *(f"  {line}" for line in shown)]
    lines += ["", f"{'next':<10}{_next(incident)}"]
    return "\n".join(lines) + "\n"


def _facts(incident: Incident, now: datetime) -> list[tuple[str, str]]:
    run = incident.run
    if run is None:
        return _instance_facts(incident.instance, incident, now) if incident.instance else []
    cost = "unknown" if incident.cost_usd is None else f"about ${incident.cost_usd:.2f} so far"
    cap = "" if run.max_cost_usd is None else f", capped at ${run.max_cost_usd:.2f}"
    why = [("why", f"{_why(incident.cause, run.job)} ({incident.cause})")] if incident.cause else []
    return [
        *why,
        ("status", one_line(f"{run.status} ({run.current_step}), attempt {run.attempt}", _LINE)),
        ("instance", one_line(f"{run.instance_id or 'none'} ({run.instance_type})", _LINE)),
        ("time", f"{human_span(now - run.created_at)} since the launch"),
        ("cost", cost + cap),
    ]


def _why(cause: Cause, job: Job) -> str:
    return f"the {WORK[job]} is complete" if cause is Cause.COMPLETED else WHY[cause]


def _results_of_job(incident: Incident, place: StackLocation) -> list[tuple[str, str]]:
    """Where people find what a run was for."""
    run = incident.run
    if run is None or incident.kind is not Kind.COMPLETED or run.job is Job.TRAIN:
        return []
    name, path = ("forecasts", "forecasts/") if run.job is Job.FORECAST else ("report", "eval/report.md")
    return [(name, _results(run, place) + path)]


def _refusals(incident: Incident) -> list[str]:
    """EC2's last word about each option, if the message is about a wait for capacity."""
    about_waiting = incident.kind is Kind.WAITING or incident.cause is Cause.NO_CAPACITY
    waiting = incident.run.waiting if incident.run else None
    return [one_line(str(refusal), 2 * _LINE) for refusal in waiting.refusals] if waiting and about_waiting else []


def _instance_facts(instance: Instance, incident: Incident, now: datetime) -> list[tuple[str, str]]:
    price, cost_usd = incident.price_usd, incident.cost_usd
    known = price is not None and cost_usd is not None
    return [
        ("instance", f"{instance.instance_id} ({instance.instance_type}), {instance.state}"),
        ("time", f"{human_span(now - instance.launched_at)} since its launch"),
        ("cost", f"about ${cost_usd:.2f} so far, ${price:.2f} per hour" if known else "unknown"),
    ]


def _next(incident: Incident) -> str:
    environment, run = incident.lane.environment, incident.run
    if show := {Kind.SKIPPED: "schedule show", Kind.ENDED: "runs show"}.get(incident.kind):
        return f"chronos-ec2 {show} {incident.name.partition(' ')[2]} --environment {environment}"
    if run is None:
        return f"chronos-ec2 verify --environment {environment}"
    if incident.kind in (Kind.PROMOTED, Kind.KEPT):
        return f"chronos-ec2 models list --environment {environment}"
    command = "results" if incident.kind is Kind.COMPLETED else "logs" if incident.kind in WITH_LOG else "monitor"
    return f"chronos-ec2 {command} {run.run_id} --environment {environment}"


# --- chat and programs -----------------------------------------------------------------------------------------


def _for_chat(incident: Incident, place: StackLocation, now: datetime) -> dict[str, Any]:
    """The custom schema 1.0, one thread per run: docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html."""
    found = (*_facts(incident, now), *_results_of_job(incident, place))
    facts = "\n".join(f"{name}: {value}" for name, value in found)
    about = (one_line(incident.text), facts, *_refusals(incident)[:_IN_CHAT])
    consoles = [f"<{link}|console: {name}>" for name, link in links(incident, place).items()]
    return {
        "version": "1.0",
        "source": "custom",
        "content": {
            "textType": "client-markdown",
            "title": _plain(f"{incident.title} ({incident.lane}): {incident.kind}"),
            "description": _plain("\n".join(filter(None, about))),
            "nextSteps": [f"`{_next(incident)}`", *consoles],
            "keywords": [incident.lane.environment, str(incident.kind), SEVERITY[incident.kind]],
        },
        "metadata": {
            "threadId": incident.name,
            "summary": _plain(f"{incident.title}: {incident.kind}"),
            "eventType": f"chronos-ec2 {incident.kind}",
            "relatedResources": [incident.instance_id] if incident.instance_id else [],
            "additionalContext": {"severity": SEVERITY[incident.kind], "lane": incident.lane.name},
        },
    }


def _plain(text: str) -> str:
    """Text that Slack and Teams show as text, so that a trainer's output can neither mention people nor forge links.

    Slack has no escapes for its markup, and Teams shows some, so characters of markup become others that look alike.
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").translate(_LOOK_ALIKES)
    for markup, look_alike in _MARKUP:
        text = markup.sub(look_alike, text)
    return text


def _for_programs(incident: Incident, place: StackLocation) -> dict[str, Any]:
    run = incident.run
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": str(incident.kind),
        "severity": SEVERITY[incident.kind],
        "environment": incident.lane.environment,
        "lane": incident.lane.name,
        "incident": incident.name,
        "text": one_line(incident.text),
        "run_id": run.run_id if run else None,
        "job": str(run.job) if run else None,
        "attempt": run.attempt if run else None,
        "status": str(run.status) if run else None,
        "outcome": str(run.verdict.outcome) if run and run.verdict else None,
        "cause": str(incident.cause) if incident.cause else None,
        "instance_id": incident.instance_id,
        "refusals": _refusals(incident),
        "cost_usd": None if incident.cost_usd is None else round(incident.cost_usd, 4),
        "results": _results(run, place) if run else None,
        "links": links(incident, place),
    }


def links(incident: Incident, place: StackLocation) -> dict[str, str]:
    """URLs of the AWS console by what they show. Empty in a partition whose console is unknown."""
    if (console := _CONSOLES.get(place.partition)) is None:
        return {}
    base, region, run = f"https://{place.region}.{console}", place.region, incident.run
    found = {}
    if incident.instance_id:
        found["instance"] = f"{base}/ec2/home?region={region}#InstanceDetails:instanceId={incident.instance_id}"
    if run:
        prefix = run_prefix(run.lane.environment, run.run_id)
        found["results"] = f"{base}/s3/buckets/{quote(place.bucket)}?region={region}&prefix={quote(prefix)}"
    return found


def _results(run: Run, place: StackLocation) -> str:
    return f"s3://{place.bucket}/{run_prefix(run.lane.environment, run.run_id)}"
