"""The table of objects in docs/security.md is what the policies say, and what they say is what nobody may lose."""

from __future__ import annotations

import pytest

from chronos_ec2.domain.records import s3_keys
from tests.template import objects
from tests.template.objects import as_markdown, rows, written


@pytest.mark.golden
def test_the_document_has_the_table_of_the_policies() -> None:
    assert written() == as_markdown(), f"run `python -m {objects.__name__}`"


def test_each_kind_of_key_has_a_row() -> None:
    kinds = {name for name in dir(s3_keys) if name.endswith("_key")}
    assert kinds <= set(dir(objects))


def which(action: str, who: str) -> set[str]:
    """The first words of the rows in which somebody may do something."""
    return {row.name.split("`")[1] for row in rows() if who in row.allowed[action]}


BY_INSTANCES = {"RUN/forecasts/manifest.json", "RUN/heartbeat.json", "RUN/", "RUN/checkpoints/"}


def test_an_instance_writes_its_registers_once_and_replaces_only_what_decides_nothing() -> None:
    assert which("create", "instance") == {"RUN/claims/ATTEMPT.json", "RUN/outcomes/ATTEMPT.json", *BY_INSTANCES}
    assert which("replace", "instance") == BY_INSTANCES
    assert which("delete", "instance") == set()


def test_what_instances_write_nobody_else_writes_or_deletes() -> None:
    for who in ("watchdog", "launcher", "operator"):
        for action in ("create", "replace", "delete"):
            assert not BY_INSTANCES & which(action, who), (who, action)


def test_orders_claims_and_outcomes_are_replaced_by_nobody() -> None:
    for who in objects.WHO:
        once = {"RUN/request.json", "RUN/claims/ATTEMPT.json", "RUN/outcomes/ATTEMPT.json"}
        assert not once & which("replace", who)


def test_a_run_begins_by_the_hand_of_an_operator_or_of_the_launcher() -> None:
    for new in ("system-state.json", "RUN/request.json"):
        assert [who for who in objects.WHO if new in which("create", who)] == ["launcher", "operator"]


def test_only_an_operator_orders_a_schedule_and_no_instance_touches_one() -> None:
    assert [who for who in objects.WHO if "schedules/NAME/order.json" in which("create", who)] == ["operator"]
    for action in ("create", "replace", "delete"):
        for name in (
            "schedules/NAME/order.json",
            "schedules/NAME/ledger.json",
            "followed/RUN.json",
            "groups/NAME/order.json",
            "groups/NAME/ledger.json",
        ):
            assert not {"instance", "watchdog"} & {who for who in objects.WHO if name in which(action, who)}


def test_an_environment_reaches_of_another_only_what_is_named_by_its_hash() -> None:
    others = {
        row.name for row in rows() for who in row.allowed.values() if any("other environments'" in one for one in who)
    }
    assert others == {name for name in objects.OBJECTS if "by hash" in name}
