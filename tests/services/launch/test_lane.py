"""How a launch that fails leaves its lane: each kind of error at each call, before and after the call's effect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from chronos_ec2.domain.errors import (
    CapacityUnavailable,
    InvalidInput,
    LaneBusy,
    LaunchRefused,
    LostRace,
    NoCredentials,
    NotAllowed,
    ServiceUnavailable,
)
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Verdict
from chronos_ec2.services.run_queries import list_runs
from chronos_ec2.testing import Environment, Faults
from chronos_ec2.testing.builders import LIMITS

LOCK = "dev/system-state.json"
OTHERS = [ServiceUnavailable, NotAllowed, NoCredentials, RuntimeError, KeyboardInterrupt, SystemExit]
REFUSALS = [CapacityUnavailable, LaunchRefused, NotAllowed, NoCredentials]
"""EC2's word that a call to RunInstances has started nothing."""


def calls_of_a_launch() -> list[tuple[str, str]]:
    env = Environment()
    env.launch()
    return env.faults.calls


@dataclass(frozen=True)
class Fault:
    """An error at one call of a launch."""

    index: int
    operation: str
    error: type[BaseException]
    after: bool

    def __str__(self) -> str:
        return f"{self.error.__name__} {'after' if self.after else 'before'} call {self.index}, {self.operation}"

    def strike(self, faults: Faults, times: float = 1) -> None:
        inject = faults.lose_answer if self.after else faults.fail
        inject("*", self.error("at this call"), skip=self.index, times=times)

    @property
    def starts_nothing(self) -> bool:
        """Whether EC2 has started nothing, and says so."""
        return self.operation != "fleet.launch" or (self.error in REFUSALS and not self.after)


def single_faults() -> Iterator[Fault]:
    for index, (operation, _) in enumerate(calls_of_a_launch()):
        for error in OTHERS + (REFUSALS[:2] if operation == "fleet.launch" else []):
            yield Fault(index, operation, error, after=False)
            # A call that is refused has no effect, and a list gives its answer bit by bit.
            if error not in REFUSALS and operation != "objects.keys":
                yield Fault(index, operation, error, after=True)


def run_ids(env: Environment) -> set[str]:
    return {key.split("/")[1] for key, _ in env.objects.keys("dev/") if key.endswith("/request.json")}


def notes(error: BaseException) -> str:
    return " ".join(getattr(error, "__notes__", ()))


@pytest.mark.parametrize("fault", list(single_faults()), ids=str)
def test_a_launch_that_fails_frees_its_lane_or_leaves_it_to_the_watchdog_and_says_so(
    env: Environment, fault: Fault
) -> None:
    fault.strike(env.faults)
    try:
        launched = env.launch()
    except fault.error as error:
        said = notes(error)
    else:
        # The answer was found by reading again, or the call was not needed.
        assert env.lock().run.instance_id == launched.instance_id
        return
    assert env.faults.struck == 1
    if env.alive or not fault.starts_nothing:
        run = env.lock().run
        assert run.stop is not None
        assert run.stop.cause is (Cause.INFRA if issubclass(fault.error, Exception) else Cause.REQUESTED)
        instances = [one.instance_id for one in env.alive if fault.operation != "fleet.launch"]
        assert all(text in said for text in [run.run_id, "chronos-ec2 kill", "chronos-ec2 verify", *instances])
        env.sweeps(LIMITS.boot + 5 * LIMITS.sweep)
    else:
        assert env.run is None
    assert env.left() == []
    ended = list_runs(env.store, "dev")
    assert {view.run.run_id for view in ended} == run_ids(env)
    outcome = Outcome.FAILED if issubclass(fault.error, Exception) else Outcome.KILLED
    assert [view.run.verdict and view.run.verdict.outcome for view in ended] in ([], [outcome])
    assert all(view.run.run_id in said for view in ended)


@pytest.mark.parametrize("error", [NoCredentials, ServiceUnavailable, RuntimeError])
@pytest.mark.parametrize("index", range(len(calls_of_a_launch())))
def test_whatever_fails_from_some_call_on_the_error_stays_and_names_what_is_left(
    env: Environment, error: type[Exception], index: int
) -> None:
    env.faults.fail("*", error("from now on"), skip=index)
    try:
        env.launch()
    except error as raised:
        said = notes(raised)
    else:
        said = ""
    env.faults.clear()
    if env.run:
        instances = [one.instance_id for one in env.alive]
        assert all(text in said for text in [env.run.run_id, "chronos-ec2 kill", "chronos-ec2 verify", *instances])
        assert "may be running" in said if env.alive else True
        env.kill(at_once=True)
        env.sweeps(LIMITS.boot + 5 * LIMITS.sweep)
    assert env.left() == []


def test_a_second_ctrl_c_still_names_the_run(env: Environment) -> None:
    env.faults.fail("fleet.launch", KeyboardInterrupt, times=1)
    env.faults.fail("objects.read", KeyboardInterrupt, on=LOCK, skip=1)
    with pytest.raises(KeyboardInterrupt) as raised:
        env.launch()
    env.faults.clear()
    assert env.lock().run.run_id in notes(raised.value)


def test_a_lane_that_somebody_writes_meanwhile_is_freed_all_the_same(env: Environment) -> None:
    def killed(_key: str) -> None:
        env.kill()

    env.faults.fail("fleet.launch", LaunchRefused)
    env.faults.hook("objects.write", killed, on="*/state.json")
    with pytest.raises(LaunchRefused):
        env.launch()
    assert env.left() == []


def test_a_launch_that_fails_leaves_a_run_that_the_watchdog_has_ended_to_it(env: Environment) -> None:
    """It concludes the run, and tells of its end."""

    verdict = Verdict(Outcome.FAILED, Cause.INFRA, "no launcher has finished its work", DecidedBy.WATCHDOG)

    def end(_run_id: str) -> None:
        env.store.replace_lock(replace(env.lock().run.end(verdict, env.clock.now()), launching=None), env.lock())

    env.faults.hook("fleet.launch", end, times=1)
    env.faults.fail("fleet.launch", LaunchRefused)
    with pytest.raises(LaunchRefused):
        env.launch()
    assert env.lock().run.verdict == verdict
    env.faults.clear()
    env.sweeps(3 * LIMITS.sweep)
    assert env.kinds() == ["failed"]
    assert env.left() == []


def test_a_launch_that_loses_the_lane_leaves_no_request(env: Environment) -> None:
    env.faults.hook("objects.create", lambda _key: env.launch(), on="*/request.json")
    with pytest.raises(LaneBusy) as raised:
        env.launch()
    assert run_ids(env) == {env.lock().run.run_id}
    assert notes(raised.value) == ""


def test_a_request_of_somebody_else_is_not_withdrawn(env: Environment) -> None:
    env.faults.hook("objects.create", lambda key: env.objects.create(key, b"{}"), on="*/request.json")
    with pytest.raises(LostRace):
        env.launch()
    assert [env.objects.body(run_key("dev", run_id, "request.json")) for run_id in run_ids(env)] == [b"{}"]


def test_a_launch_that_was_held_up_until_its_run_was_ended_does_not_succeed(env: Environment) -> None:
    env.faults.hook("deadlines.schedule", lambda _id: env.sweeps(LIMITS.boot + 5 * LIMITS.sweep))
    with pytest.raises(LostRace, match="no longer holds its lane while") as raised:
        env.launch()
    (past,) = list_runs(env.store, "dev")
    assert past.run.run_id in notes(raised.value)
    assert "instance i-" in notes(raised.value)
    env.sweeps(3 * LIMITS.sweep)
    assert env.left() == []


def test_a_launch_that_was_held_up_until_its_run_was_condemned_does_not_succeed(env: Environment) -> None:
    env.fleet.slow_to_terminate = True
    env.faults.hook("deadlines.schedule", lambda _id: env.sweeps(LIMITS.boot + LIMITS.sweep))
    with pytest.raises(LostRace, match=r"has ended .* while"):
        env.launch()
    assert env.lock().run.status is Status.FAILED


def test_a_launch_that_was_held_up_does_not_stop_a_later_attempt(env: Environment) -> None:
    def lose_the_instance(instance_id: str) -> None:
        env.live()
        env.agent.checkpoint_age = LIMITS.sweep
        env.agent.heartbeat()
        env.fleet.move(instance_id, InstanceState.TERMINATED)
        env.watchdog.sweep()

    env.faults.hook("deadlines.schedule", lose_the_instance, times=1)
    with pytest.raises(LostRace) as raised:
        env.launch(crashes_left=1)
    run = env.lock().run
    assert (run.attempt, run.stop) == (2, None)
    assert "goes on as attempt 2" in notes(raised.value)


def test_a_request_that_no_agent_would_read_is_refused_before_anything_is_written(env: Environment) -> None:
    before = list(env.objects.keys(""))
    with pytest.raises(InvalidInput, match=r"--config: the configuration has 17\.\d MB.*room for 16\.8 MB"):
        env.launch(config={"notes": "x" * 17_000_000})
    assert list(env.objects.keys("")) == before


def test_a_list_of_files_that_no_agent_would_read_is_refused_too(env: Environment) -> None:
    for index in range(17_000):
        env.objects.write(f"cached-datasets/dev/training-data/wide/{index:05}-{'x' * 900}.parquet", b"PAR1")
    with pytest.raises(InvalidInput, match=r"data\.path: the list of its 17000 files has 17\.\d MB"):
        env.launch(data_path="training-data/wide/")
    assert env.run is None
