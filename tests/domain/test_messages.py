"""The messages to people. Each kind of message is kept as a whole in golden/, and read there before it changes.

`python -m tests.domain.test_messages` writes the files anew; what differs is to be read like a letter.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.results.verdict import completed
from chronos_ec2.domain.decide import decide
from chronos_ec2.domain.decision import FinishRun, Notify, WriteLock
from chronos_ec2.domain.facts import Absent
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import HOLD_NOTICE, Limits
from chronos_ec2.domain.messages import (
    WITH_LOG,
    WITHHELD,
    Incident,
    Kind,
    Message,
    StackLocation,
    compose,
    kind_of_end,
    links,
)
from chronos_ec2.domain.planning.cost import cost_of
from chronos_ec2.domain.records.capacity import LaunchOption, Refusal, Waiting
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import WAITING, Run
from chronos_ec2.domain.records.status import Cause, DecidedBy, Job, Outcome, Status, Stop, Suspect, Verdict
from chronos_ec2.testing.builders import (
    INSTANCE_ID,
    LANE,
    NOW,
    RUN_ID,
    a_beat,
    a_run,
    an_instance,
    held,
    launching,
    seconds,
    some_facts,
)  # fmt: skip
from tests.nasty import NASTY

GOLDEN = Path(__file__).with_name("golden")
PLACE = StackLocation("aws", "us-east-1", "a-bucket")
LOG = ("step 119 loss 0.31", "Traceback (most recent call last):", "RuntimeError: \x1b[31mout of memory\x1b[0m")
LIMITS = Limits()
REFUSED = Waiting(NOW, NOW + seconds(7200), 0, NOW).refused(
    [
        Refusal(LaunchOption("g5.xlarge", "subnet-a", "spot"), "InsufficientInstanceCapacity", "none in us-east-1a"),
        Refusal(LaunchOption("g5.xlarge", "subnet-b", "spot"), "SpotMaxPriceTooLow", "the price is <higher>"),
    ],
    NOW,
)
GONE = an_instance(state=InstanceState.TERMINATED)
FACTS = {
    Kind.STARTED: some_facts(),
    Kind.RESUMED: some_facts(
        instances=(GONE,), lock=held(a_run(crashes_left=1)), heartbeat=a_beat(checkpoint_age=seconds(60))
    ),
    Kind.COMPLETED: some_facts(instances=(GONE,), lock=held(a_run().end(completed(Job.TRAIN, {}), NOW))),
    Kind.FAILED: some_facts(
        heartbeat=a_beat(LIMITS.lease + seconds(60)),
        lock=held(a_run(suspect=Suspect(Cause.INFRA, "silent", NOW - LIMITS.confirmation)), NOW),
    ),
    Kind.KILLED: some_facts(lock=held(a_run(stop=Stop(Cause.REQUESTED, "killed by hand", NOW - LIMITS.grace)))),
    Kind.STUCK: some_facts(
        lock=held(a_run(suspect=Suspect(Cause.HUNG, "seen before", NOW - LIMITS.confirmation))),
        heartbeat=a_beat(stalled_for=LIMITS.progress),
    ),
    Kind.OVER_BUDGET: some_facts(lock=held(a_run(max_cost_usd=0.75))),
    Kind.ORPHAN: some_facts(lock=Absent(), heartbeat=Absent(), suspects={INSTANCE_ID: NOW - LIMITS.confirmation}),
    Kind.LEAK: some_facts(
        instances=(an_instance(state=InstanceState.SHUTTING_DOWN),), lock=Absent(), heartbeat=Absent(),
        suspects={INSTANCE_ID: NOW - LIMITS.alarm},
    ),
    Kind.WAITING: some_facts(
        instances=(), heartbeat=Absent(), lock=held(launching(current_step=WAITING, waiting=REFUSED), NOW)
    ),
    Kind.HELD: some_facts(instances=(an_instance(hold=True, launched_at=NOW - HOLD_NOTICE),)),
}  # fmt: skip
"""Facts for which the watchdog sends each kind."""


def decided(kind: Kind) -> tuple[str, str, Run | None]:
    """Name, text and run of a message of this kind, as the watchdog decides it."""
    for action in decide(FACTS[kind], NOW, LIMITS).actions:
        match action:
            case Notify(found, name, text, run) if found is kind:
                return name, text, run
            case WriteLock(run) | FinishRun(run) if run.verdict and kind_of_end(run) is kind:
                return run.run_id, run.verdict.message, run
    raise AssertionError(f"the watchdog sends no {kind}")


def an_incident(kind: Kind, **changes: Any) -> Incident:
    """An incident of each kind: ends have a verdict, some a log, and two an instance but no run."""
    if kind is Kind.LIMIT:  # of the whole environment: no lane decides it
        text = "60 messages in this hour are the limit; waiting for the next: 940 stuck"
        return replace(Incident(kind, LANE, "message-limit", text), **changes)
    if kind is Kind.SKIPPED:  # the launcher decides it
        text = f"run {RUN_ID} holds the main lane (training)"
        return replace(Incident(kind, LANE, "schedule nightly", text), **changes)
    if kind is Kind.ENDED:  # the launcher sees it
        text = "7 of 8 runs have succeeded, for $3.10: killed: by hand"
        return replace(Incident(kind, LANE, "group sales", text, cost_usd=3.1), **changes)
    if kind in (Kind.PROMOTED, Kind.KEPT):  # the registry decides it when the run completes
        name, _, run = decided(Kind.COMPLETED)
        text = "significantly better than the champion on the test windows"
        text = text if kind is Kind.PROMOTED else f"it is not {text}"
    else:
        name, text, run = decided(kind)
    if run is None:
        (instance,) = FACTS[kind].instances
        cost = cost_of(instance, 0.752, NOW)
        incident = Incident(kind, LANE, name, text, cost_usd=cost, instance=instance, price_usd=0.752)
        return replace(incident, **changes)
    run = replace(run, max_cost_usd=run.max_cost_usd or 5.0)
    log = LOG if kind in WITH_LOG else None
    return replace(Incident(kind, LANE, name, text, run, 0.0 if kind is Kind.WAITING else 0.752, log), **changes)


def message_of(kind: Kind, **changes: Any) -> Message:
    return compose(an_incident(kind, **changes), PLACE, NOW)


def spelled(message: Message) -> str:
    attributes = "".join(f"{name}={value}\n" for name, value in message.attributes.items())
    chat, document = (json.dumps(body, indent=1) for body in (message.chat, message.document))
    return f"Subject: {message.subject}\n{attributes}\n{message.body}\n--- chat\n{chat}\n\n--- program\n{document}\n"


@pytest.mark.golden
@pytest.mark.parametrize("kind", Kind)
def test_a_message_reads_as_its_golden_file(kind: Kind) -> None:
    assert spelled(message_of(kind)) == (GOLDEN / f"message-{kind}.txt").read_text()


@pytest.mark.golden
def test_there_is_no_golden_message_of_another_kind() -> None:
    assert {path.name for path in GOLDEN.glob("message-*")} == {f"message-{kind}.txt" for kind in Kind}


def test_the_text_of_a_message_is_one_line() -> None:
    body = message_of(Kind.FAILED, text="first\nsecond\x1b").body
    assert "first second\n" in body


@pytest.mark.parametrize(
    ("cost", "cap", "line"),
    [
        (None, None, "cost      unknown\n"),
        (0.0, None, "cost      about $0.00 so far\n"),
        (1.25, 2.0, "cost      about $1.25 so far, capped at $2.00\n"),
    ],
)
def test_the_cost_is_shown_as_far_as_it_is_known(cost: float | None, cap: float | None, line: str) -> None:
    assert line in message_of(Kind.FAILED, run=a_run(max_cost_usd=cap), cost_usd=cost).body


@pytest.mark.parametrize(("cost", "known"), [(None, None), (0.0, 0.0), (1.234567, 1.2346)])
def test_the_document_has_the_cost_to_a_hundredth_of_a_cent(cost: float | None, known: float | None) -> None:
    assert message_of(Kind.FAILED, cost_usd=cost).document["cost_usd"] == known


@pytest.mark.parametrize("kind", [Kind.ORPHAN, Kind.LEAK])
def test_the_cost_of_an_instance_without_a_run_is_shown(kind: Kind) -> None:
    message = message_of(kind, instance=an_instance(launched_at=NOW - timedelta(hours=2)), cost_usd=1.504)
    assert "cost      about $1.50 so far, $0.75 per hour\n" in message.body
    assert "cost: about $1.50 so far, $0.75 per hour" in message.chat["content"]["description"]
    assert message.document["cost_usd"] == 1.504


def test_the_cost_of_an_unknown_instance_type_is_unknown() -> None:
    instance = an_instance(instance_type="x9.huge")
    assert cost_of(instance, None, NOW) is None
    body = message_of(Kind.ORPHAN, instance=instance, cost_usd=None, price_usd=None).body
    assert "instance  i-0123456789abcdef0 (x9.huge), running\n" in body
    assert "cost      unknown\n" in body


@pytest.mark.parametrize(("price", "cost"), [(None, 1.0), (0.752, None)])
def test_the_cost_of_an_instance_needs_price_and_amount(price: float | None, cost: float | None) -> None:
    assert "cost      unknown\n" in message_of(Kind.ORPHAN, price_usd=price, cost_usd=cost).body


def test_an_incident_has_no_cost_and_no_instance_by_default() -> None:
    incident = Incident(Kind.STUCK, Lane("dev"), "unreadable-abc", "text")
    assert (incident.cost_usd, incident.instance) == (None, None)


def test_a_message_without_a_run_or_an_instance_shows_no_cost() -> None:
    assert "cost" not in message_of(Kind.STUCK, name="unreadable-abc", run=None, cost_usd=None, log=None).body


def test_a_run_without_instance_says_so_and_links_to_none() -> None:
    message = message_of(Kind.FAILED, run=launching())
    assert "instance  none (g4dn.2xlarge)\n" in message.body
    assert "InstanceDetails" not in message.body
    assert message.chat["metadata"]["relatedResources"] == []


def test_another_lane_is_named() -> None:
    message = message_of(Kind.FAILED, lane=Lane("dev", "second"))
    assert message.body.startswith(f"run {RUN_ID} (environment dev, lane second): failed\n")
    assert message.attributes["lane"] == "second"


def test_a_subject_is_shorter_than_the_100_characters_that_sns_refuses() -> None:
    assert len(message_of(Kind.ORPHAN, name="x" * 200).subject) == 99


def test_a_log_line_is_cut_and_harmless() -> None:
    body = message_of(Kind.FAILED, log=("\x1b[2J" + "x" * 1000,)).body
    (line,) = [line for line in body.splitlines() if "xxx" in line]
    assert len(line) == 2 + 200
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("topic_arn", "link"),
    [
        ("arn:aws:sns:eu-west-1:123456789012:t", "https://eu-west-1.console.aws.amazon.com/ec2/home?region=eu-west-1#"),
        ("arn:aws-cn:sns:cn-north-1:123456789012:t", "https://cn-north-1.console.amazonaws.cn/ec2/home"),
        ("arn:aws-us-gov:sns:us-gov-west-1:1:t", "https://us-gov-west-1.console.amazonaws-us-gov.com/ec2/home"),
    ],
)
def test_links_are_those_of_the_partition_and_the_region(topic_arn: str, link: str) -> None:
    place = StackLocation.of(topic_arn, "a-bucket")
    assert links(an_incident(Kind.ORPHAN), place)["instance"].startswith(link)


def test_results_are_linked_in_the_stacks_bucket() -> None:
    place = StackLocation.of("arn:aws:sns:eu-west-1:123456789012:t", "my-bucket")
    assert "/s3/buckets/my-bucket?" in links(an_incident(Kind.FAILED), place)["results"]


@pytest.mark.parametrize(
    ("cause", "why"),
    [
        (Cause.COMPLETED, "the training is complete (completed)"),
        (Cause.REQUESTED, "somebody asked to end the run (requested)"),
        (Cause.USER_CODE, "the trainer or its data failed (user-code)"),
        (Cause.PREEMPTED, "EC2 reclaimed the spot instance (preempted)"),
        (Cause.HUNG, "the work made no progress on a living instance (hung)"),
        (Cause.OVER_DEADLINE, "the run reached its deadline (over-deadline)"),
        (Cause.OVER_BUDGET, "the run reached its price cap (over-budget)"),
        (Cause.ORPHAN, "the instance belonged to no run (orphan)"),
        (Cause.INFRA, "the instance, its agent or AWS failed (infra)"),
        (Cause.NO_CAPACITY, "EC2 had no capacity for the run (no-capacity)"),
    ],
)
def test_every_cause_is_explained(cause: Cause, why: str) -> None:
    assert f"why       {why}\n" in message_of(Kind.FAILED, run=ended(Outcome.FAILED, cause)).body


def test_the_output_of_a_trainer_is_no_markup_in_a_chat() -> None:
    description = message_of(Kind.FAILED, text="<!channel> & <https://x|ok>").chat["content"]["description"]
    assert description.startswith("&lt;!channel&gt; &amp; &lt;https: //x|ok&gt;\n")
    text = "at 14:00:00 *x* _y_ a_b :z: [u](v) @here a@b"
    description = message_of(Kind.FAILED, text=text).chat["content"]["description"]
    shown = "at 14:00:00 \u2217x\u2217 \u2017y\u2017 a_b \u2236z: \uff3bu\uff3d(v) \uff20here a@b\n"
    assert description.startswith(shown)


MARKUP = re.compile(r"<!|<@|<http|]\(|[*`~]|(?<!\w)[_@]|://|^#|:[a-z_]+:", re.MULTILINE)
"""What Slack or Teams would make of a text: mentions, links, styles, headings, emoji."""


@pytest.mark.parametrize("nasty", NASTY, ids=ascii)
def test_a_message_shows_text_from_elsewhere_as_text(nasty: str) -> None:
    ours = message_of(Kind.FAILED, log=("a line",))
    verdict = Verdict(Outcome.FAILED, Cause.INFRA, nasty, DecidedBy.WATCHDOG)
    run = a_run(verdict=verdict, current_step=nasty, instance_type=nasty, instance_id=nasty)
    message = message_of(Kind.FAILED, run=run, text=nasty, log=(nasty,))
    assert message.body.isascii() or all(line.isprintable() for line in message.body.splitlines())
    assert message.body.count("\n") == ours.body.count("\n") - 1  # the console's link to the instance
    content = message.chat["content"]
    assert not MARKUP.search(content["description"])
    assert not MARKUP.search(content["title"] + message.chat["metadata"]["summary"])
    assert len(content["nextSteps"]) == 2
    assert message.chat["metadata"]["relatedResources"] == []
    assert message.document["links"].keys() == {"results"}
    json.dumps(message.chat).encode()


def test_chat_shows_five_of_ec2s_answers_and_makes_no_heading_of_any() -> None:
    refusals = [Refusal(LaunchOption("#g5", f"subnet-{n}"), "code", "x" * 1000) for n in range(7)]
    message = message_of(Kind.WAITING, run=a_run(waiting=replace(REFUSED, refusals=tuple(refusals))), text="#a")
    lines = message.chat["content"]["description"].splitlines()
    assert lines[0] == "\u266fa"
    assert sum(line.startswith("\u266fg5") for line in lines) == 5
    answers = [line for line in message.body.splitlines() if line.startswith("  #g5")]
    assert [len(line) for line in answers] == [2 + 400] * 7


def test_the_type_of_an_instance_is_one_short_line_of_a_message() -> None:
    body = message_of(Kind.FAILED, run=a_run(instance_type="g" * 1000)).body
    (line,) = [line for line in body.splitlines() if "ggg" in line]
    assert len(line) == 10 + 200


@pytest.mark.parametrize(
    ("kind", "cause", "shown"),
    [
        (Kind.WAITING, None, True),
        (Kind.FAILED, Cause.NO_CAPACITY, True),
        (Kind.FAILED, Cause.INFRA, False),
        (Kind.KILLED, Cause.REQUESTED, False),
    ],
)
def test_what_ec2_said_is_told_by_messages_about_a_wait_alone(kind: Kind, cause: Cause | None, shown: bool) -> None:
    run = a_run(waiting=REFUSED)
    if cause:
        run = replace(run, verdict=Verdict(Outcome.FAILED, cause, "why", DecidedBy.WATCHDOG))
    message = message_of(kind, run=run)
    assert (str(REFUSED.refusals[0]) in message.body) is shown
    assert (str(REFUSED.refusals[0]) in message.chat["content"]["description"]) is shown


def test_a_run_that_never_waited_was_refused_nothing() -> None:
    assert "EC2's last answers" not in message_of(Kind.FAILED, run=ended(Outcome.FAILED, Cause.NO_CAPACITY)).body


def test_what_was_completed_without_a_run_has_no_results() -> None:
    assert "forecasts" not in message_of(Kind.COMPLETED, run=None, name="x").body


@pytest.mark.parametrize("kind", [Kind.STARTED, Kind.FAILED])
def test_the_results_of_a_forecast_are_told_of_when_it_is_complete(kind: Kind) -> None:
    assert "forecasts/" not in message_of(kind, run=a_run(job=Job.FORECAST)).body


def test_an_unreadable_lock_is_called_the_lock_and_an_instance_by_its_id() -> None:
    assert an_incident(Kind.STUCK, name="unreadable-abc", run=None).title == "the lock"
    assert an_incident(Kind.ORPHAN, name=INSTANCE_ID, run=None).title == INSTANCE_ID


def test_an_id_that_is_none_is_neither_linked_nor_named_as_one() -> None:
    forged = "i-0123456789abcdef0>|<https://x"
    assert links(an_incident(Kind.LEAK, name=forged), PLACE) == {}
    assert message_of(Kind.LEAK, name=forged).document["instance_id"] is None


def test_an_instance_id_is_no_markup_in_a_link() -> None:
    forged = a_run(instance_id="i-1|fine>) [x](https://x)")
    assert "instance" not in links(an_incident(Kind.FAILED, run=forged), PLACE)


def test_a_step_is_one_line_of_a_message() -> None:
    body = message_of(Kind.FAILED, run=a_run(current_step="x\u202e\n" + "y" * 1000)).body
    (line,) = [line for line in body.splitlines() if "yyy" in line]
    assert "\u202e" not in line
    assert len(line) <= 10 + 200


def test_an_unknown_partition_has_no_links() -> None:
    assert links(an_incident(Kind.FAILED), StackLocation.of("arn:aws-iso:sns:us-iso-east-1:1:t", "b")) == {}


def test_an_incident_without_an_instance_links_to_none() -> None:
    assert links(an_incident(Kind.STUCK, name="unreadable-abc", run=None), PLACE) == {}


@pytest.mark.parametrize(
    ("outcome", "cause", "kind"),
    [
        (Outcome.SUCCEEDED, Cause.COMPLETED, Kind.COMPLETED),
        (Outcome.KILLED, Cause.REQUESTED, Kind.KILLED),
        (Outcome.KILLED, Cause.HUNG, Kind.KILLED),
        (Outcome.FAILED, Cause.HUNG, Kind.STUCK),
        (Outcome.FAILED, Cause.OVER_BUDGET, Kind.OVER_BUDGET),
        (Outcome.FAILED, Cause.OVER_DEADLINE, Kind.FAILED),
        (Outcome.FAILED, Cause.INFRA, Kind.FAILED),
        (Outcome.FAILED, Cause.USER_CODE, Kind.FAILED),
    ],
)
def test_the_end_of_a_run_has_its_kind(outcome: Outcome, cause: Cause, kind: Kind) -> None:
    assert kind_of_end(ended(outcome, cause)) is kind


def ended(outcome: Outcome, cause: Cause) -> Run:
    return a_run(verdict=Verdict(outcome, cause, "why", DecidedBy.WATCHDOG))


def test_a_run_without_a_verdict_has_no_kind_of_end() -> None:
    with pytest.raises(ValueError, match=r"^the run has not ended$"):
        kind_of_end(a_run())


def test_a_later_attempt_is_named_and_its_time_counts_from_the_launch() -> None:
    began = NOW - timedelta(minutes=20)
    run = a_run(attempt=3, created_at=NOW - timedelta(hours=5), phases=((Status.INITIALIZATION, began),))
    message = message_of(Kind.FAILED, run=run)
    assert "status    training (training), attempt 3\n" in message.body
    assert "time      5.0 h since the launch\n" in message.body
    assert message.document["attempt"] == 3


@pytest.mark.parametrize(
    ("kind", "severity"),
    [
        (Kind.STARTED, "info"),
        (Kind.COMPLETED, "info"),
        (Kind.KILLED, "warning"),
        (Kind.RESUMED, "warning"),
        (Kind.FAILED, "error"),
        (Kind.STUCK, "error"),
        (Kind.OVER_BUDGET, "error"),
        (Kind.ORPHAN, "critical"),
        (Kind.LEAK, "critical"),
    ],
)
def test_each_kind_has_its_severity(kind: Kind, severity: str) -> None:
    message = message_of(kind)
    assert message.attributes["severity"] == message.document["severity"] == severity
    assert message.chat["metadata"]["additionalContext"]["severity"] == severity


def test_a_message_can_be_filtered_by_run_and_cause() -> None:
    run = ended(Outcome.FAILED, Cause.INFRA)
    attributes = message_of(Kind.FAILED, run=run).attributes
    assert (attributes["run_id"], attributes["cause"]) == (RUN_ID, "infra")
    assert message_of(Kind.ORPHAN).attributes.keys() == {"environment", "lane", "kind", "severity"}


@pytest.mark.parametrize("kind", Kind)
def test_a_message_has_the_log_that_it_is_given_and_no_other(kind: Kind) -> None:
    assert "RuntimeError: out of memory\n" in message_of(kind, log=LOG).body
    assert "last lines" not in message_of(kind, log=None).body


def test_what_lasts_waits_while_the_limit_of_messages_is_reached() -> None:
    assert {Kind.STARTED, Kind.RESUMED, Kind.WAITING, Kind.STUCK, Kind.HELD} == WITHHELD


def test_a_log_is_of_use_after_a_failure_alone() -> None:
    assert {Kind.FAILED, Kind.STUCK, Kind.OVER_BUDGET} == WITH_LOG


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        (Kind.FAILED, f"chronos-ec2 logs {RUN_ID} --environment dev"),
        (Kind.STARTED, f"chronos-ec2 monitor {RUN_ID} --environment dev"),
        (Kind.COMPLETED, f"chronos-ec2 results {RUN_ID} --environment dev"),
        (Kind.ORPHAN, "chronos-ec2 verify --environment dev"),
    ],
)
def test_a_message_says_what_to_do_next(kind: Kind, step: str) -> None:
    message = message_of(kind)
    assert message.body.endswith(f"next      {step}\n")
    assert message.chat["content"]["nextSteps"][0] == f"`{step}`"


def test_all_messages_of_a_run_are_one_thread_in_a_chat() -> None:
    threads = {message_of(kind).chat["metadata"]["threadId"] for kind in (Kind.STARTED, Kind.RESUMED, Kind.COMPLETED)}
    assert threads == {RUN_ID}


@pytest.mark.parametrize(
    ("job", "why", "where"),
    [
        (Job.FORECAST, "the forecast is complete", "forecasts s3://a-bucket/dev/{run}/forecasts/"),
        (Job.EVALUATE, "the evaluation is complete", "report    s3://a-bucket/dev/{run}/eval/report.md"),
    ],
)
def test_a_message_about_another_job_says_where_its_results_are_and_how_to_get_them(
    job: Job, why: str, where: str
) -> None:
    run = replace(ended(Outcome.SUCCEEDED, Cause.COMPLETED), job=job)
    message = message_of(Kind.COMPLETED, run=run, text="2 items, 12 rows")
    where = where.format(run=RUN_ID).replace("a-bucket", PLACE.bucket)
    assert message.subject == f"[chronos-ec2 dev] {job} run {RUN_ID} completed"
    assert all(f"{line}\n" in message.body for line in ("2 items, 12 rows", f"why       {why} (completed)", where))
    assert message.body.endswith(f"next      chronos-ec2 results {RUN_ID} --environment dev\n")
    assert message.document["job"] == str(job)


if __name__ == "__main__":
    for each in Kind:
        (GOLDEN / f"message-{each}.txt").write_text(spelled(message_of(each)))
