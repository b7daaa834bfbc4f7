"""No right is granted that nothing uses.

`used_rights` compares at the end of a session in which all tests ran in which roles act, as in `make test`.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.template.conftest import ROOT
from tests.template.test_policies import AGENT, DEADLINE, OPERATOR, STARTER, WATCHDOG
from tests.template.used_rights import ACTING, NOT_BY_OUR_CALLS, granted, superfluous


@pytest.mark.thorough
def test_every_right_is_used_by_a_call() -> None:
    """In a session of its own, so that it can fail alone."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, sorted(ACTING))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "no call uses" not in done.stdout
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


def test_no_right_is_to_a_pattern_of_actions() -> None:
    assert [right for right in granted() if "*" in right.action] == []


def test_everybody_who_may_do_something_is_known() -> None:
    assert {right.who for right in granted()} == {AGENT, WATCHDOG, STARTER, DEADLINE, OPERATOR, "SweepScheduleRole"}


def test_a_right_that_nothing_uses_is_named() -> None:
    needless = {right for right in granted() if (right.who, right.action) == (WATCHDOG, "sns:Publish")}
    assert needless
    lines = [line for line in superfluous(granted() - needless) if line.startswith("no call uses: ")]
    assert lines
    assert all(line.startswith(f"no call uses: {WATCHDOG} sns:Publish ") for line in lines)


def test_an_exception_that_excepts_nothing_is_named() -> None:
    assert superfluous(granted()) == [f"the exception excepts nothing: {why}" for why in sorted(NOT_BY_OUR_CALLS)]
