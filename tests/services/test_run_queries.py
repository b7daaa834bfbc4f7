"""What could not be read is not what does not exist; many runs are listed with few reads."""

from __future__ import annotations

from fnmatch import fnmatchcase
from threading import Barrier

import pytest

from chronos_ec2.domain.errors import InvalidInput, NotAllowed, RunNotFound, ServiceUnavailable
from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, Outcome
from chronos_ec2.services.run_queries import RunView, UnreadRun, find_run, list_runs
from chronos_ec2.testing import Environment, Faults
from chronos_ec2.testing.builders import RUN_ID, seconds

LOCK = "dev/system-state.json"
REFUSALS = [ServiceUnavailable("503"), NotAllowed("403")]


def a_past_run(env: Environment, lane: str = "main") -> str:
    launched = env.launch(Lane("dev", lane))
    held = env.lock(Lane("dev", lane))
    assert isinstance(held, LockHeld)
    if lane == "main":
        env.claim(launched)
        env.end(Outcome.SUCCEEDED, Cause.COMPLETED)
    else:
        env.kill(launched.run_id, at_once=True)
    env.power_off(launched)
    env.clock.advance(seconds(60))
    env.watchdog.sweep()
    return launched.run_id


@pytest.mark.parametrize("error", REFUSALS)
def test_a_lock_that_cannot_be_read_does_not_make_its_run_disappear(env: Environment, error: Exception) -> None:
    run_id = env.launch().run_id
    env.faults.fail("objects.read", error, on=LOCK)
    with pytest.raises(type(error), match=f"{run_id} could not be read: .*{error}"):
        find_run(env.store, "dev", run_id)
    (found,) = list_runs(env.store, "dev")
    assert found == UnreadRun(run_id, str(error))
    env.faults.clear()
    assert find_run(env.store, "dev", run_id).active


def test_beside_an_unreadable_lock_a_run_without_a_record_may_be_its_own(env: Environment) -> None:
    run_id = env.launch().run_id
    env.objects.write(LOCK, b"{")
    with pytest.raises(ServiceUnavailable, match="could not be read: "):
        find_run(env.store, "dev", run_id)
    (found,) = list_runs(env.store, "dev")
    assert isinstance(found, UnreadRun)


@pytest.mark.parametrize("error", REFUSALS)
def test_another_lock_that_cannot_be_read_hides_neither_active_nor_past_runs(
    env: Environment, error: Exception
) -> None:
    past, active = a_past_run(env), env.launch(Lane("dev", "second")).run_id
    env.launch()
    env.faults.fail("objects.read", error, on=LOCK)
    assert find_run(env.store, "dev", active).active
    assert not find_run(env.store, "dev", past).active
    kinds = {
        found.run_id if isinstance(found, UnreadRun) else found.run.run_id: type(found)
        for found in list_runs(env.store, "dev")
    }
    assert (kinds[past], kinds[active], len(kinds)) == (RunView, RunView, 3)


@pytest.mark.parametrize("error", REFUSALS)
def test_a_final_record_that_cannot_be_read_is_said_so(env: Environment, error: Exception) -> None:
    run_id = a_past_run(env)
    env.faults.fail("objects.read", error, on=run_key("dev", run_id, "state.json"))
    with pytest.raises(type(error)):
        find_run(env.store, "dev", run_id)
    assert list_runs(env.store, "dev") == (UnreadRun(run_id, str(error)),)


def test_a_damaged_final_record_is_listed_with_its_problem(env: Environment) -> None:
    run_id = a_past_run(env)
    for body in (b"{", b'{"lane": "A B"}', b'{"lane": 1}'):
        env.objects.write(run_key("dev", run_id, "state.json"), body)
        (found,) = list_runs(env.store, "dev")
        assert isinstance(found, UnreadRun)
        assert "state.json" in found.problem


def test_a_run_that_has_ended_is_not_said_to_be_unknown_by_kill(env: Environment) -> None:
    run_id = a_past_run(env)
    with pytest.raises(InvalidInput, match=rf"run {run_id} has ended \(succeeded\) \(`chronos-ec2 runs show {run_id}`"):
        env.kill(run_id)


def test_a_run_that_does_not_exist_is_not_found(env: Environment) -> None:
    with pytest.raises(RunNotFound):
        find_run(env.store, "dev", RUN_ID)


def test_the_lane_of_a_past_run_is_in_its_record_and_its_request_is_not_read(env: Environment) -> None:
    run_id = a_past_run(env, "second")
    env.faults.calls.clear()
    (found,) = list_runs(env.store, "dev")
    assert isinstance(found, RunView)
    assert found.run.lane == Lane("dev", "second") == find_run(env.store, "dev", run_id).run.lane
    assert not [target for _, target in env.faults.calls if target.endswith("request.json")]


def test_of_many_runs_the_newest_are_read_and_no_others(env: Environment) -> None:
    ids = [a_past_run(env) for _ in range(12)]
    env.objects.write(run_key("dev", "20991231T235959Z-ffffff", "request.json"), b"{}")  # a launch that lost its lane
    env.faults.calls.clear()
    found = list_runs(env.store, "dev", 3)
    assert [view.run.run_id for view in found if isinstance(view, RunView)] == ids[:-4:-1]
    assert sum(target.endswith("state.json") and target != LOCK for _, target in env.faults.calls) == 4
    assert len(list_runs(env.store, "dev")) == 12


class Meeting(Faults):
    """Lets each read of a final record wait until three others have begun."""

    def __init__(self) -> None:
        super().__init__()
        self.barrier = Barrier(1)

    def before(self, operation: str, target: str) -> None:
        super().before(operation, target)
        if operation == "objects.read" and fnmatchcase(target, "dev/*Z-??????/state.json"):
            self.barrier.wait(60)


def test_records_are_read_side_by_side() -> None:
    meeting = Meeting()
    env = Environment(meeting)
    for _ in range(4):
        a_past_run(env)
    meeting.barrier = Barrier(4)
    assert len(list_runs(env.store, "dev")) == 4
