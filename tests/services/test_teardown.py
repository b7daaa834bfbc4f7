"""Teardown, also beside a launch: every interleaving of their calls that changes up to three times."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from chronos_ec2.domain.errors import InvalidInput, LaneBusy, NotAllowed, ServiceUnavailable, StillInUse
from chronos_ec2.domain.records.s3_keys import teardown_key
from chronos_ec2.services.teardown import Teardown
from chronos_ec2.testing import Crash, Environment
from chronos_ec2.testing.aws import MemoryAws

MARK = teardown_key("dev")


@dataclass
class Stack:
    """A deployed stack. `takes_turn` is called before its deletion, as before any other call."""

    error: BaseException | None = None
    deleted: bool = False
    takes_turn: Callable[[str, str], None] = field(default=lambda _operation, _target: None)

    def delete(self) -> None:
        self.takes_turn("delete", "")
        if self.error is not None:
            raise self.error
        self.deleted = True

    def unfinished(self) -> str | None:
        return None


def teardown(env: Environment, stack: Stack, stack_id: str = "stack-1") -> None:
    Teardown("dev", stack_id, env.store, env.fleet, env.deadlines, stack).run()


def launch(env: Environment, stack_id: str = "stack-1") -> str:
    return env.launch(stack_id=stack_id).run_id


class Turns:
    """Lets two threads make their calls in a given order, one at a time. Who is done gives its turns to the other."""

    def __init__(self, order: str) -> None:
        self.calls: list[str] = []
        self._order = list(order)
        self._changed = threading.Condition()
        self._done: set[str] = set()
        self._turn_of: str | None = None

    def before(self, operation: str, _target: str) -> None:
        me = threading.current_thread().name
        if me not in ("l", "t"):
            return
        with self._changed:
            self._end_turn()
            assert self._changed.wait_for(lambda: self._turn_of is None and self._next() in (None, me), timeout=300)
            if me in self._order:
                self._order.remove(me)
            self._turn_of = me
            self.calls.append(f"{me} {operation}")

    def after(self, operation: str, target: str) -> None:
        """Nothing: a turn ends where the next one is wanted."""

    def leave(self) -> None:
        with self._changed:
            self._done.add(threading.current_thread().name)
            self._end_turn()

    def _end_turn(self) -> None:
        if self._turn_of == threading.current_thread().name:
            self._turn_of = None
        self._changed.notify_all()

    def _next(self) -> str | None:
        return next((name for name in self._order if name not in self._done), None)


def together(order: str) -> tuple[Environment, Stack, dict[str, BaseException | None], Turns]:
    """Launch and tear down at the same time; what each of them raised."""
    turns = Turns(order)
    env, stack = Environment(aws=MemoryAws(turns)), Stack(takes_turn=turns.before)
    raised: dict[str, BaseException | None] = {}

    def run(name: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - kept for the test
            raised[name] = error
        else:
            raised[name] = None
        finally:
            turns.leave()

    threads = [
        threading.Thread(target=run, args=("l", lambda: launch(env)), name="l"),
        threading.Thread(target=run, args=("t", lambda: teardown(env, stack)), name="t"),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return env, stack, raised, turns


def calls_of(name: str) -> int:
    return sum(call.startswith(name) for call in together("l" * 50 if name == "l" else "t" * 50)[3].calls)


def orders() -> Iterator[str]:
    """A few calls of one, a few of the other, the rest of the first, the rest of the other."""
    launches, teardowns = calls_of("l"), calls_of("t")
    for first, mine, second, yours in (("l", launches, "t", teardowns), ("t", teardowns, "l", launches)):
        for some in range(mine + 1):
            for others in range(1, yours + 1):
                yield first * some + second * others + first * (mine - some) + second * (yours - others)


def test_no_run_is_left_without_its_watchdog_in_whatever_order_a_launch_and_a_teardown_come() -> None:
    seen = set()
    for order in orders():
        env, stack, raised, _ = together(order)
        assert not (stack.deleted and (env.alive or env.run)), order
        assert raised["l"] is None or isinstance(raised["l"], InvalidInput), order
        assert raised["t"] is None or isinstance(raised["t"], StillInUse), order
        assert stack.deleted is (raised["t"] is None)
        if not stack.deleted:
            assert not list(env.objects.keys(MARK)), order
        seen.add((raised["l"] is None, raised["t"] is None))
    assert seen >= {(True, False), (False, True)}


def test_a_teardown_that_finds_a_run_leaves_the_environment_as_it_was(env: Environment) -> None:
    run_id = launch(env)
    with pytest.raises(StillInUse, match="lock"):
        teardown(env, stack := Stack())
    assert (stack.deleted, list(env.objects.keys(MARK))) == (False, [])
    env.kill(run_id, at_once=True)
    env.watchdog.sweep()
    launch(env)


def test_a_lock_that_cannot_be_read_keeps_the_stack_although_nothing_else_is_left(env: Environment) -> None:
    """Somebody's run may hold it."""
    env.objects.write(env.lane.state_key, b"not a record")
    with pytest.raises(StillInUse, match=r"lock dev/system-state\.json"):
        teardown(env, stack := Stack())
    env.objects.write(env.lane.state_key, b"{}")
    env.faults.fail("objects.read", on=env.lane.state_key)
    with pytest.raises(StillInUse, match=r"lock dev/system-state\.json"):
        teardown(env, stack)
    assert not stack.deleted


@pytest.mark.parametrize("error", [ServiceUnavailable, NotAllowed, KeyboardInterrupt, RuntimeError])
def test_a_teardown_that_cannot_look_leaves_the_environment_as_it_was(
    env: Environment, error: type[BaseException]
) -> None:
    env.faults.fail("fleet.instances", error)
    with pytest.raises(error):
        teardown(env, stack := Stack())
    env.faults.clear()
    assert not stack.deleted
    launch(env)


def test_a_deletion_that_is_refused_leaves_the_environment_as_it_was(env: Environment) -> None:
    with pytest.raises(NotAllowed):
        teardown(env, Stack(NotAllowed("no cloudformation:DeleteStack")))
    launch(env)


@pytest.mark.parametrize("error", [ServiceUnavailable("it takes long"), KeyboardInterrupt(), RuntimeError()])
def test_until_a_deletion_that_has_begun_is_over_nothing_is_launched(env: Environment, error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        teardown(env, Stack(error))
    assert MARK in " ".join(raised.value.__notes__)
    with pytest.raises(InvalidInput, match=rf"being torn down .*teardown` completes it.*delete {MARK}"):
        launch(env)
    assert env.left() == []
    teardown(env, stack := Stack())
    assert stack.deleted


def test_a_teardown_that_died_is_completed_by_the_next(env: Environment) -> None:
    env.faults.crash_before("fleet.instances")
    with pytest.raises(Crash):
        teardown(env, Stack())
    env.faults.clear()
    with pytest.raises(InvalidInput):
        launch(env)
    teardown(env, stack := Stack())
    assert stack.deleted


def test_a_new_stack_with_the_same_bucket_is_not_being_torn_down(env: Environment) -> None:
    teardown(env, Stack())
    run_id = launch(env, "stack-2")
    with pytest.raises(StillInUse):
        teardown(env, Stack(), "stack-2")
    with pytest.raises(LaneBusy):
        launch(env, "stack-2")
    env.kill(run_id, at_once=True)
    env.watchdog.sweep()
    teardown(env, stack := Stack(), "stack-2")
    assert stack.deleted


@pytest.mark.parametrize("error", [ServiceUnavailable, NotAllowed])
def test_a_mark_whose_answer_was_lost_is_our_own(env: Environment, error: type[Exception]) -> None:
    env.faults.lose_answer("objects.create", ServiceUnavailable, on=MARK)
    env.faults.fail("fleet.instances", error)
    with pytest.raises(error):
        teardown(env, Stack())
    assert not list(env.objects.keys(MARK))


def test_a_mark_that_cannot_be_removed_is_named(env: Environment) -> None:
    launch(env)
    env.faults.fail("objects.remove", NotAllowed, on=MARK)
    with pytest.raises(StillInUse) as raised:
        teardown(env, Stack())
    assert MARK in " ".join(raised.value.__notes__)


def test_a_launch_that_cannot_look_for_a_teardown_starts_nothing(env: Environment) -> None:
    env.faults.fail("objects.read", NotAllowed, on=MARK)
    with pytest.raises(NotAllowed):
        launch(env)
    env.faults.clear()
    assert env.left() == []
