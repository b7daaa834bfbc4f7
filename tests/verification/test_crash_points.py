"""A third of all crash points, in which each case, each call and each fault has its turn; all of them are thorough."""

from __future__ import annotations

import pytest

from verification.crash_points.enumerate import CrashPointResult, enumerate_crash_points, print_report


@pytest.fixture(scope="module", params=[3, pytest.param(1, marks=pytest.mark.thorough)], ids=["a third", "all"])
def result(request: pytest.FixtureRequest) -> CrashPointResult:
    return enumerate_crash_points(request.param)


def test_every_crash_point_converges(result: CrashPointResult) -> None:
    assert result.failures == []
    assert result.converged == result.enumerated == sum(result.by_case.values())


def test_every_service_is_among_them(result: CrashPointResult) -> None:
    services = {name.split(":")[0] for name in result.by_case}
    assert services == {
        "lane",
        "sweep",
        "instance",
        "launch",
        "relaunch",
        "kill",
        "kill --now",
        "cleanup",
        "agent",
        "read",
        "schedule",
        "group",
        "registry",
    }
    assert result.enumerated > 2500
    assert min(result.by_case.values()) > 0


def test_a_failure_is_printed_and_fails_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    failure = "launch: crash before 3 s3:PutObject: not settled"
    assert print_report(CrashPointResult(2, 1, [failure], {"launch": 2})) == 1
    assert f"FAILED  {failure}" in capsys.readouterr().out
