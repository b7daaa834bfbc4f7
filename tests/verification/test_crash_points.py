"""All crash points, at each run of the tests: they are enumerated in seconds."""

from __future__ import annotations

import pytest

from verification.crash_points.enumerate import CrashPointResult, enumerate_crash_points, main


@pytest.fixture(scope="module")
def result() -> CrashPointResult:
    return enumerate_crash_points()


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
    }
    assert result.enumerated > 3000
    assert min(result.by_case.values()) > 0


def test_a_failure_is_told_and_ends_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = CrashPointResult(2, 1, ["launch: crash before 3 s3:PutObject: not quiet"], {"launch": 2})
    monkeypatch.setattr("verification.crash_points.enumerate.enumerate_crash_points", lambda: failing)
    assert main() == 1
    assert "FAILED  launch: crash before 3 s3:PutObject: not quiet" in capsys.readouterr().out
