"""What an instance says about its attempt: what it cannot say is unreadable, whatever bytes it writes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.parsing.codec import MAX_DOCUMENT_BYTES
from chronos_ec2.domain.records.reports import (
    MAX_CLEANED,
    MAX_MODEL_FILES,
    Claim,
    CleanedUp,
    CleanupReport,
    OutcomeReport,
    StatusReport,
)
from chronos_ec2.domain.records.s3_keys import claim_key, outcome_key, status_key
from chronos_ec2.domain.records.status import MAX_VERDICT, Cause, DecidedBy, Outcome, Status, Verdict
from chronos_ec2.testing.builders import INSTANCE_ID, NOW, RUN_ID

VERDICT = Verdict(Outcome.FAILED, Cause.USER_CODE, "the trainer failed", DecidedBy.AGENT)
CLAIM = Claim(RUN_ID, 1, INSTANCE_ID, "boot", "00ff")
STATUS = StatusReport(RUN_ID, 1, ((Status.INITIALIZATION, NOW),), "claimed")
CLEANUP = CleanupReport((CleanedUp("folder", "data", "deleted"),), 1, 2, 3, True)
OUTCOME = OutcomeReport(RUN_ID, 1, "00ff", VERDICT, CLEANUP, (("config.json", "a" * 64),))
SURROGATE = "\ud800"
NOT_IDS = ["", "i-", "i-0123456789abcdefg", "i-" + "0" * 18, "0123456789abcdef0", f"i-01234567{SURROGATE}", 7, None]


def changed(report: Claim | StatusReport | OutcomeReport, **changes: Any) -> bytes:
    return json.dumps(json.loads(report.to_json()) | changes).encode()


def read(kind: type[Claim | StatusReport | OutcomeReport], raw: bytes) -> Claim | StatusReport | OutcomeReport:
    return kind.from_json(raw, RUN_ID, 1)


def test_each_attempt_has_its_own_registers_and_the_run_one_status() -> None:
    assert claim_key("dev", RUN_ID, 2) == f"dev/{RUN_ID}/claims/2.json"
    assert outcome_key("dev", RUN_ID, 2) == f"dev/{RUN_ID}/outcomes/2.json"
    assert status_key("dev", RUN_ID) == f"dev/{RUN_ID}/status.json"


@pytest.mark.parametrize("report", [CLAIM, STATUS, OUTCOME])
@pytest.mark.parametrize(
    "other", [{"run_id": "20260131T110000Z-ffffff"}, {"attempt": 2}, {"attempt": True}, {"run_id": "mine"}]
)
def test_a_report_on_another_attempt_is_unreadable(
    report: Claim | StatusReport | OutcomeReport, other: dict[str, Any]
) -> None:
    with pytest.raises(InvalidDocument):
        read(type(report), changed(report, **other))


@pytest.mark.parametrize("report", [CLAIM, STATUS, OUTCOME])
def test_a_report_beyond_the_size_of_a_document_is_unreadable(report: Claim | StatusReport | OutcomeReport) -> None:
    assert read(type(report), report.to_json() + b" " * (MAX_DOCUMENT_BYTES - len(report.to_json()))) == report
    with pytest.raises(InvalidDocument, match="more than"):
        read(type(report), report.to_json() + b" " * (MAX_DOCUMENT_BYTES - len(report.to_json()) + 1))
    with pytest.raises(InvalidDocument, match="not JSON"):
        read(type(report), b"[" * 60_000)


def test_a_void_claim_names_nobody() -> None:
    void = Claim.of_nobody(RUN_ID, 1)
    assert void.void
    assert not CLAIM.void
    assert read(Claim, void.to_json()) == void
    assert read(Claim, changed(CLAIM, void=True)) == void
    assert "instance_id" not in json.loads(void.to_json())


@pytest.mark.parametrize("instance_id", NOT_IDS)
def test_a_claim_names_an_instance(instance_id: Any) -> None:
    with pytest.raises(InvalidDocument, match="'instance_id'"):
        read(Claim, changed(CLAIM, instance_id=instance_id))


@pytest.mark.parametrize(("name", "value"), [("nonce", "xyz"), ("nonce", "0" * 65), ("boot_id", "a b"), ("void", 0)])
def test_each_field_of_a_claim_has_its_form(name: str, value: Any) -> None:
    with pytest.raises(InvalidDocument, match=f"'{name}'"):
        read(Claim, changed(CLAIM, **{name: value}))


@pytest.mark.parametrize(
    "phases",
    [
        [],
        ["data_sync"],
        ["initialization", "training"],
        ["initialization", "initialization"],
        ["initialization", "failed"],
        ["initialization", "data_sync", "training", "results_sync", "cleanup"],
        ["initialization", "data_sync", "training", "results_sync", "initialization"],
    ],
)
def test_phases_follow_each_other_and_none_of_them_ends_a_run(phases: list[str]) -> None:
    with pytest.raises(InvalidDocument, match="'phases'"):
        read(StatusReport, changed(STATUS, phases=[{"status": one, "at": "2026-01-31T12:00:00Z"} for one in phases]))


@pytest.mark.parametrize("at", ["2026-01-31T12:00:00", "soon", SURROGATE, 7, None])
def test_a_phase_has_a_time(at: Any) -> None:
    with pytest.raises(InvalidDocument, match="'at'"):
        read(StatusReport, changed(STATUS, phases=[{"status": "initialization", "at": at}]))


@pytest.mark.parametrize("step", ["", "Step", "a b", "\x1b[2J", f"step{SURROGATE}", "s" * 65, "\n", None])
def test_a_step_is_a_short_plain_word(step: Any) -> None:
    assert read(StatusReport, changed(STATUS, step="step_120")) != STATUS
    with pytest.raises(InvalidDocument, match="'step'"):
        read(StatusReport, changed(STATUS, step=step))


@pytest.mark.parametrize(
    ("outcome", "cause"),
    [
        ("succeeded", "user-code"), ("failed", "completed"), ("killed", "completed"), ("killed", "infra"),
        ("failed", "requested"), ("won", "completed"), ("failed", "boredom"), (SURROGATE, "infra"),
    ],
)  # fmt: skip
def test_an_outcome_has_a_cause_that_leads_to_it(outcome: str, cause: str) -> None:
    with pytest.raises(InvalidDocument):
        read(OutcomeReport, changed(OUTCOME, outcome=outcome, cause=cause))


@pytest.mark.parametrize("message", ["two\nlines", f"half {SURROGATE} a character", "\x1b[2J", "m" * (MAX_VERDICT + 1)])
def test_a_message_is_shortened_to_one_line_and_never_the_reason_to_ignore_an_outcome(message: str) -> None:
    found = read(OutcomeReport, changed(OUTCOME, message=message))
    assert isinstance(found, OutcomeReport)
    assert found.verdict.message.isprintable()
    assert 0 < len(found.verdict.message) <= MAX_VERDICT
    assert read(OutcomeReport, found.to_json()) == found


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../model", "a/../b", "a//b", "./a", "a b", "a\n", f"a{SURROGATE}", "n" * 101, "a/"]
)
def test_a_model_has_files_with_plain_relative_names(name: str) -> None:
    with pytest.raises(InvalidDocument, match="models"):
        read(OutcomeReport, changed(OUTCOME, models={name: "a" * 64}))


@pytest.mark.parametrize("sha256", ["a" * 63, "A" * 64, "a" * 65, f"{'a' * 63}\n", 7, None])
def test_a_model_file_has_its_hash(sha256: Any) -> None:
    with pytest.raises(InvalidDocument, match=r"'config\.json'"):
        read(OutcomeReport, changed(OUTCOME, models={"config.json": sha256}))


def test_lists_are_bounded() -> None:
    for count, fits in ((MAX_MODEL_FILES, True), (MAX_MODEL_FILES + 1, False)):
        models = {f"part-{number}": "a" * 64 for number in range(count)}
        assert _is_read(changed(OUTCOME, models=models)) is fits
    for count, fits in ((MAX_CLEANED, True), (MAX_CLEANED + 1, False)):
        cleanup = CLEANUP.to_dict() | {"instance": CLEANUP.to_dict()["instance"] * count}
        assert _is_read(changed(OUTCOME, cleanup=cleanup)) is fits


def _is_read(raw: bytes) -> bool:
    try:
        read(OutcomeReport, raw)
    except InvalidDocument:
        return False
    return True


def test_what_was_cleaned_up_is_shown_on_one_line_each() -> None:
    instance = [{"kind": "folder\n", "id": "\x1b[2J", "state": "s" * 500}]
    found = read(OutcomeReport, changed(OUTCOME, cleanup=CLEANUP.to_dict() | {"instance": instance}))
    assert isinstance(found, OutcomeReport)
    assert found.cleanup is not None
    (one,) = found.cleanup.instance
    assert (one.kind, one.name, len(one.state)) == ("folder", "[2J", 80)


def test_the_largest_outcome_that_an_agent_writes_is_read() -> None:
    wide = "\N{GRINNING FACE}" * 5000
    cleanup = CleanupReport((CleanedUp(wide, wide, wide),) * 100, 2**62, 2**62, 2**62, False)
    models = tuple((f"{number:02}{'n' * 98}", "a" * 64) for number in range(MAX_MODEL_FILES))
    largest = OutcomeReport(
        RUN_ID, 1, "0" * 64, Verdict(Outcome.FAILED, Cause.INFRA, wide, DecidedBy.AGENT), cleanup, models
    )
    assert isinstance(read(OutcomeReport, largest.to_json()), OutcomeReport)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(SURROGATE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("report", [CLAIM, STATUS, OUTCOME])
@given(data=st.data())
def test_whatever_is_read_can_be_written_again(
    report: Claim | StatusReport | OutcomeReport, data: st.DataObject
) -> None:
    document = json.loads(report.to_json())
    for name in data.draw(st.lists(st.sampled_from(sorted(document)), max_size=3)):
        document[name] = data.draw(json_values)
    try:
        found = read(type(report), json.dumps(document).encode())
    except InvalidDocument:
        return
    assert read(type(report), found.to_json()) == found


@pytest.mark.parametrize(
    "change",
    [{"outcome": "succeeded", "cause": "completed"}, {"models": {"model.safetensors": "0" * 64}}],
)
def test_what_only_an_agent_can_say_is_not_believed_in_the_name_of_the_watchdog(change: dict[str, Any]) -> None:
    own = {"outcome": "failed", "cause": "infra", "decided_by": "watchdog", "cleanup": None, "models": {}}
    own |= {"comparison": None}
    assert isinstance(read(OutcomeReport, changed(OUTCOME, **own)), OutcomeReport)
    with pytest.raises(InvalidDocument, match="a verdict of the watchdog is no success"):
        read(OutcomeReport, changed(OUTCOME, **(own | change)))
