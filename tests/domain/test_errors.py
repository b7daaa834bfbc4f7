"""Errors for people: one line that says what was wrong and what to do."""

from __future__ import annotations

from chronos_ec2.domain.errors import CapacityUnavailable, ChronosError, InvalidInput, LaneBusy, RunNotFound, StillInUse


def test_invalid_input_says_where_and_what() -> None:
    error = InvalidInput("--lane", "is empty", "give a name")
    assert (error.where, error.detail) == ("--lane", "is empty")
    assert str(error) == "--lane: is empty (give a name)"
    assert (error.problem, error.hint) == ("--lane: is empty", "give a name")


def test_a_busy_lane_names_its_holder_and_three_ways_out() -> None:
    error = LaneBusy("20260131T110000Z-1a2b3c", "environment dev", "training")
    assert error.holder == "20260131T110000Z-1a2b3c"
    assert str(error) == (
        "run 20260131T110000Z-1a2b3c holds environment dev (status training) ("
        "watch it with `chronos-ec2 monitor 20260131T110000Z-1a2b3c`, "
        "end it with `chronos-ec2 kill 20260131T110000Z-1a2b3c`, or launch in another lane with --lane NAME)"
    )


def test_a_run_that_is_not_found_is_named_with_the_way_to_list_runs() -> None:
    assert str(RunNotFound("20260131T110000Z-1a2b3c", "dev")) == (
        "no run 20260131T110000Z-1a2b3c in environment dev (`chronos-ec2 runs` lists the runs)"
    )


def test_an_environment_in_use_names_what_lives_in_it_and_the_way_out() -> None:
    assert str(StillInUse("dev", ["instance i-1", "lock a"])) == (
        "environment dev is still in use (instance i-1, lock a) (let its runs end or `chronos-ec2 kill` them, "
        "`chronos-ec2 schedule delete` its schedules; then check with `chronos-ec2 verify`)"
    )


def test_an_error_without_words_has_none() -> None:
    error = ChronosError()
    assert (str(error), error.problem, error.hint) == ("", "", "")


def test_a_lack_of_capacity_has_the_words_of_ec2() -> None:
    error = CapacityUnavailable("no g5.xlarge", "wait", code="InsufficientInstanceCapacity", words="none left")
    assert (str(error), error.code, error.words) == ("no g5.xlarge (wait)", "InsufficientInstanceCapacity", "none left")
    error = CapacityUnavailable("no g5.xlarge")
    assert (str(error), error.code, error.words) == ("no g5.xlarge", "", "no g5.xlarge")
    error = CapacityUnavailable()
    assert (str(error), error.code, error.words) == ("", "", "")
