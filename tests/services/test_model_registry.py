"""The model registry: a run that has ended becomes the champion once, whatever crashes when, and no worse one does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from chronos_ec2.domain.errors import InvalidInput, LostRace, ServiceUnavailable
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.champion import Champion, How, Promote, Promotion
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.reports import Comparison, OutcomeReport
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import champion_key, champion_version_key, judgement_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Verdict
from chronos_ec2.model_registry import Registry
from chronos_ec2.services.launch import Launched
from chronos_ec2.services.run_queries import find_run
from chronos_ec2.testing import Crash, Environment
from chronos_ec2.testing.agent import COMPLETED

MODEL = "default"
FILES = (("config.json", "a" * 64), ("model.safetensors", "b" * 64))
ALL = ("seasonal_naive", "base", "champion")
BETTER = Comparison("trained", ALL, ALL)
NO_BETTER = Comparison("trained", ALL, ("seasonal_naive",))


def registry(env: Environment) -> Registry:
    return Registry("dev", env.objects)


def asking(compared_with: int, rule: Promote = Promote.BETTER) -> Promotion:
    return Promotion(MODEL, rule, compared_with)


def trained(
    env: Environment, compared_with: int, comparison: Comparison | None = BETTER, lane: str = "main"
) -> Launched:
    """A run that has trained a model, whose instance is gone, and that nobody has concluded yet."""
    env.lane = Lane("dev", lane)
    launched = env.launch(env.lane, promotion=asking(compared_with))
    env.work_until(Status.TRAINING)
    end(env, launched, COMPLETED, comparison)
    return launched


def end(env: Environment, launched: Launched, verdict: Verdict, comparison: Comparison | None) -> None:
    report = OutcomeReport(launched.run_id, 1, "ff", verdict, models=FILES, comparison=comparison)
    env.store.end("dev", report)
    env.power_off(launched)


def sweep(env: Environment, times: int = 3) -> None:
    for _ in range(times):
        env.pass_time(timedelta(minutes=1))
        env.watchdog.sweep()


def promoted(env: Environment, compared_with: int = 0) -> str:
    """A champion by a run's conclusion; its run id."""
    launched = trained(env, compared_with)
    sweep(env)
    champion = registry(env).champion(MODEL)
    assert champion
    assert champion.run_id == launched.run_id
    return launched.run_id


def kinds(env: Environment, run_id: str) -> list[str]:
    told = (Kind.PROMOTED, Kind.KEPT)
    return [
        one.attributes["kind"]
        for one in env.notifier.messages
        if one.attributes.get("run_id") == run_id and one.attributes["kind"] in told
    ]


def test_a_better_model_becomes_the_champion_with_its_hashes_before_the_lane_is_free(env: Environment) -> None:
    launched = trained(env, 0)
    env.watchdog.sweep()
    champion = registry(env).champion(MODEL)
    assert champion
    assert (champion.seq, champion.run_id, champion.files, champion.how) == (1, launched.run_id, FILES, How.CONCLUSION)
    assert kinds(env, launched.run_id) == [Kind.PROMOTED]


def test_a_worse_model_leaves_the_champion_in_place_and_people_are_told_why(env: Environment) -> None:
    first = promoted(env)
    second = trained(env, 1, NO_BETTER)
    sweep(env)
    champion = registry(env).champion(MODEL)
    assert champion
    assert champion.run_id == first
    assert kinds(env, second.run_id) == [Kind.KEPT]
    assert "not significantly better than the champion" in env.notifier.messages[-2].body


@pytest.mark.parametrize("verdict", [
    Verdict(Outcome.FAILED, Cause.USER_CODE, "a bug", DecidedBy.AGENT),
    Verdict(Outcome.KILLED, Cause.REQUESTED, "by hand", DecidedBy.AGENT),
])  # fmt: skip
def test_a_run_that_has_not_succeeded_is_no_candidate(env: Environment, verdict: Verdict) -> None:
    launched = env.launch(promotion=asking(0))
    env.work_until(Status.TRAINING)
    end(env, launched, verdict, BETTER)
    sweep(env)
    assert registry(env).champion(MODEL) is None
    assert kinds(env, launched.run_id) == []


def test_a_run_that_does_not_ask_for_it_is_no_candidate(env: Environment) -> None:
    launched = env.launch()
    env.work_until(Status.TRAINING)
    end(env, launched, COMPLETED, BETTER)
    sweep(env)
    assert registry(env).models() == ()
    assert kinds(env, launched.run_id) == []


def test_of_two_runs_compared_with_one_champion_the_second_to_end_does_not_replace_the_first(env: Environment) -> None:
    one, two = trained(env, 0, lane="one"), trained(env, 0, lane="two")
    sweep(env)
    champion = registry(env).champion(MODEL)
    assert champion
    assert champion.seq == 1
    told = {run.run_id: kinds(env, run.run_id) for run in (one, two)}
    assert told.pop(champion.run_id) == [Kind.PROMOTED]
    assert list(told.values()) == [[Kind.KEPT]]


def calls_of_a_conclusion() -> int:
    env = Environment()
    trained(env, 0)
    env.faults.calls.clear()
    env.watchdog.sweep()
    return len(env.faults.calls)


@pytest.mark.parametrize("after", [False, True])
def test_whatever_call_of_the_conclusion_crashes_it_is_the_champion_once(after: bool) -> None:
    count = calls_of_a_conclusion()
    assert count > 20
    for skip in range(count):
        env = Environment()
        launched = trained(env, 0)
        (env.faults.crash_after if after else env.faults.crash_before)("*", skip=skip)
        with suppress(Crash):  # a read has no effect to die after
            env.watchdog.sweep()
        sweep(env, 5)
        assert [(one.seq, one.run_id) for one in registry(env).history(MODEL)] == [(1, launched.run_id)], skip
        assert set(kinds(env, launched.run_id)) == {Kind.PROMOTED}, skip
        assert not find_run(env.store, "dev", launched.run_id).active, skip


def test_a_champion_that_an_operator_took_back_does_not_return_because_its_conclusion_is_repeated(
    env: Environment,
) -> None:
    first = promoted(env)
    second = trained(env, 1)
    env.faults.fail("notifier.publish", times=1)
    env.watchdog.sweep()
    assert registry(env).champion(MODEL) is not None
    registry(env).roll_back(MODEL, env.clock.now())
    sweep(env)
    champion = registry(env).champion(MODEL)
    assert champion
    assert (champion.run_id, champion.how) == (first, How.ROLLED_BACK)
    assert kinds(env, second.run_id) == [Kind.PROMOTED]


@pytest.mark.parametrize("call", ["objects.create", "objects.replace"])
def test_a_lost_answer_of_the_pointers_write_is_no_second_promotion(env: Environment, call: str) -> None:
    if call == "objects.replace":
        promoted(env)
    launched = trained(env, 1 if call == "objects.replace" else 0)
    env.faults.lose_answer(call, on=champion_key("dev", MODEL), times=1)
    sweep(env, 5)
    champion = registry(env).champion(MODEL)
    assert champion
    assert champion.run_id == launched.run_id
    assert kinds(env, launched.run_id) == [Kind.PROMOTED]


def test_an_operator_who_is_faster_keeps_the_run_from_replacing_his_choice(env: Environment) -> None:
    first = promoted(env)
    launched = trained(env, 1)
    chosen = find_run(env.store, "dev", first).run

    def promote(_target: str) -> None:
        with env.faults.suspended():
            registry(env).promote(MODEL, chosen, "by hand", env.clock.now())

    env.faults.hook("objects.replace", promote, on=champion_key("dev", MODEL), times=1)
    sweep(env)
    champion = registry(env).champion(MODEL)
    assert champion
    assert (champion.seq, champion.how) == (2, How.PROMOTED)
    assert kinds(env, launched.run_id) == [Kind.KEPT]


@pytest.mark.parametrize("key", [champion_key("dev", MODEL), judgement_key("dev", MODEL, "RUN")])
def test_a_registry_that_cannot_be_read_holds_a_lane_for_a_while_only(env: Environment, key: str) -> None:
    launched = trained(env, 0)
    env.objects.write(key.replace("RUN", launched.run_id), b"[]")
    sweep(env, 60)
    assert not find_run(env.store, "dev", launched.run_id).active
    assert kinds(env, launched.run_id) == [Kind.KEPT]


# --- operators


def test_each_rollback_goes_one_champion_further_back(env: Environment) -> None:
    runs = [promoted(env), promoted(env, 1), promoted(env, 2)]
    made = [registry(env).roll_back(MODEL, env.clock.now()) for _ in range(2)]
    assert [one.run_id for one in made] == [runs[1], runs[0]]
    assert [one.seq for one in registry(env).history(MODEL)] == [5, 4, 3, 2, 1]
    with pytest.raises(InvalidInput, match="no earlier champion"):
        registry(env).roll_back(MODEL, env.clock.now())


def test_after_a_rollback_the_next_champion_is_rolled_back_to_the_restored_one(env: Environment) -> None:
    first, _ = promoted(env), promoted(env, 1)
    registry(env).roll_back(MODEL, env.clock.now())
    promoted(env, 3)
    assert registry(env).roll_back(MODEL, env.clock.now()).run_id == first


@pytest.mark.parametrize("change", [
    lambda run: replace(run, models=()),
    lambda run: replace(run, verdict=Verdict(Outcome.FAILED, Cause.HUNG, "", DecidedBy.WATCHDOG)),
    lambda run: replace(run, verdict=None),
])  # fmt: skip
def test_only_a_succeeded_run_with_a_model_can_be_promoted(env: Environment, change: Callable[[Run], Run]) -> None:
    run = find_run(env.store, "dev", promoted(env)).run
    with pytest.raises(InvalidInput):
        registry(env).promote(MODEL, change(run), "by hand", env.clock.now())


def test_two_operators_at_once_do_not_overwrite_each_other(env: Environment) -> None:
    run = find_run(env.store, "dev", promoted(env)).run

    def promote(_target: str) -> None:
        with env.faults.suspended():
            registry(env).promote(MODEL, run, "the faster one", env.clock.now())

    env.faults.hook("objects.replace", promote, on=champion_key("dev", MODEL), times=1)
    with pytest.raises(LostRace):
        registry(env).promote(MODEL, run, "the slower one", env.clock.now())
    champion = registry(env).champion(MODEL)
    assert champion
    assert champion.reason == "the faster one"


def test_the_version_that_is_replaced_is_in_the_history_first(env: Environment) -> None:
    promoted(env)
    env.objects.remove(champion_version_key("dev", MODEL, 1))  # as after a crash right after the pointer's write
    run = find_run(env.store, "dev", promoted(env, 1)).run
    assert [one.seq for one in registry(env).history(MODEL)] == [2, 1]
    assert registry(env).promote("other", run, "by hand", env.clock.now()) == Champion(
        "other", 1, run.run_id, FILES, How.PROMOTED, "by hand", env.clock.now()
    )


def test_without_s3_nothing_is_said_to_be_promoted(env: Environment) -> None:
    launched = trained(env, 0)
    env.faults.fail("objects.create", on=judgement_key("dev", MODEL, launched.run_id), times=2)
    env.watchdog.sweep()
    assert kinds(env, launched.run_id) == []
    with pytest.raises(ServiceUnavailable):
        registry(env).conclude(
            replace(find_run(env.store, "dev", launched.run_id).run), asking(0), BETTER, env.clock.now()
        )
    sweep(env)
    assert kinds(env, launched.run_id) == [Kind.PROMOTED]
