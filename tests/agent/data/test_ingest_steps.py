"""The common step of a data set: gaps, months, time zones, irregular times, different frequencies."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from chronos_ec2.domain.errors import InvalidInput
from tests.agent.data.files import a_file, days, numbers, read


def times(*texts: str) -> pa.Array:
    return pa.array(np.array(texts, dtype="datetime64[ms]"))


GAPPY = {"item_id": ["a"] * 4 + ["b"] * 3, "timestamp": days(1, 2, 4, 5, 7, 8, 9), "target": [1, 2, 4, 5, 7, 8, 9]}


def test_missing_times_are_counted_with_examples(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInput,
        match=r"column 'timestamp': 1 times are missing from the step P1D, in 1 of 2 series, for instance in a \(data",
    ):
        read([a_file(tmp_path, **GAPPY)], tmp_path, problems={"gaps": "refuse"})


def test_missing_times_are_filled_in_and_counted(tmp_path: Path) -> None:
    """ADR 21: models take missing observations, and most real data have some."""
    panel = read([a_file(tmp_path, **GAPPY)], tmp_path)
    assert [(one["kind"], one["counts"], one["examples"]) for one in panel.findings] == [
        ("gaps", {"times": 1, "series": 1}, ["a"])
    ]
    assert panel.lengths.tolist() == [5, 3]
    assert panel.series(0)[0].tolist() == pytest.approx([1, 2, np.nan, 4, 5], nan_ok=True)
    assert panel.times(0, 0, 5).to_pylist() == days(1, 2, 3, 4, 5)
    assert panel.times(1, 0, 3).to_pylist() == days(7, 8, 9)


def test_missing_times_are_ignored(tmp_path: Path) -> None:
    panel = read([a_file(tmp_path, **GAPPY)], tmp_path, problems={"gaps": "ignore"})
    assert numbers(panel) == [[1, 2, 4, 5], [7, 8, 9]]
    assert panel.times(0, 2, 4).to_pylist() == days(4, 5)


@pytest.mark.parametrize(
    ("have", "missing"),
    [
        (("2024-01-31", "2024-02-29", "2024-04-30", "2024-05-31"), "2024-03-31"),
        (("2023-11-15", "2023-12-15", "2024-02-15", "2024-03-15"), "2024-01-15"),
        (("2024-01-01", "2024-04-01", "2024-07-01", "2025-01-01"), "2024-10-01"),
        (("2020-12-31", "2021-12-31", "2023-12-31", "2024-12-31"), "2022-12-31"),
        (("1968-02-29", "1968-03-31", "1968-04-30", "1968-06-30"), "1968-05-31"),
    ],
    ids=["month ends", "mid month", "quarters", "years", "before the epoch"],
)
def test_months_are_a_common_step_of_varying_length(tmp_path: Path, have: tuple[str, ...], missing: str) -> None:
    path = a_file(tmp_path, item_id=["a"] * 4, timestamp=times(*have), target=[1, 2, 3, 4])
    with pytest.raises(InvalidInput, match="1 times are missing"):
        read([path], tmp_path, problems={"gaps": "refuse"})
    panel = read([path], tmp_path)
    assert sorted([*have, missing]) == [str(time)[:10] for time in panel.times(0, 0, 5).to_pylist()]


def test_local_days_are_a_common_step_across_dst(tmp_path: Path) -> None:
    zone = pa.timestamp("ms", "Europe/Berlin")
    midnights = pa.array([datetime(2024, 3, day, 23) for day in (29, 30)] + [datetime(2024, 3, 31, 22)])  # noqa: DTZ001
    path = a_file(tmp_path, item_id=["a"] * 3, timestamp=midnights.cast(zone), target=[1, 2, 3])
    assert numbers(read([path], tmp_path)) == [[1, 2, 3]]


def test_times_without_a_common_step_are_reported(tmp_path: Path) -> None:
    odd = times("2024-01-01", "2024-01-02", "2024-01-03", "2024-01-03T07")
    path = a_file(tmp_path, item_id=["a"] * 4, timestamp=odd, target=[1, 2, 3, 4])
    with pytest.raises(
        InvalidInput,
        match=r"have no common step: 1 of 3 steps are not multiples of P1D, in 1 of 1 series, .* in a .*gaps: ignore",
    ):
        read([path], tmp_path)
    assert numbers(read([path], tmp_path, problems={"gaps": "ignore"})) == [[1, 2, 3, 4]]


def test_series_of_different_frequencies_are_reported(tmp_path: Path) -> None:
    path = a_file(
        tmp_path, item_id=["a"] * 5 + ["b"] * 3, timestamp=days(1, 2, 3, 4, 5, 1, 8, 15), target=list(range(8))
    )
    with pytest.raises(InvalidInput, match=r"1 of 2 series have a longer step than the others, for instance b \(P7D\)"):
        read([path], tmp_path, problems={"gaps": "fill"})


def test_a_single_series_with_a_shorter_step_is_reported(tmp_path: Path) -> None:
    """Weekly series and a daily one: all steps are multiples of a day, which is not the most frequent step."""
    items = [name for name in "abcdefg" for _ in range(4)] + ["one"] * 5
    path = a_file(tmp_path, item_id=items, timestamp=days(1, 8, 15, 22) * 7 + days(1, 2, 3, 4, 5), target=range(33))
    for gaps in ("refuse", "fill"):
        with pytest.raises(InvalidInput, match=r"1 of 8 series have a shorter step than the others, .* one \(P1D\)"):
            read([path], tmp_path, problems={"gaps": gaps})


def test_a_monthly_series_among_quarterly_ones_is_reported(tmp_path: Path) -> None:
    quarters = times("2023-01-31", "2023-04-30", "2023-07-31", "2023-10-31", "2024-01-31")
    months = times("2023-01-31", "2023-02-28", "2023-03-31")
    path = a_file(
        tmp_path, item_id=["a"] * 5 + ["b"] * 5 + ["one"] * 3, timestamp=pa.concat_arrays([quarters, quarters, months]),
        target=range(13),
    )  # fmt: skip
    with pytest.raises(InvalidInput, match=r"1 of 3 series have a shorter step than the others, .* one \(P1M\)"):
        read([path], tmp_path)


def test_gaps_may_be_more_frequent_than_the_step(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["a"] * 5, timestamp=days(1, 3, 5, 6, 8), target=[1, 3, 5, 6, 8])
    with pytest.raises(InvalidInput, match="3 times are missing from the step P1D, in 1 of 1 series"):
        read([path], tmp_path, problems={"gaps": "refuse"})
    panel = read([path], tmp_path)
    assert panel.series(0)[0].tolist() == pytest.approx([1, np.nan, 3, np.nan, 5, 6, np.nan, 8], nan_ok=True)


def test_one_wrong_time_does_not_make_a_second_the_step(tmp_path: Path) -> None:
    """That would be 86,400 points a day with one observation."""
    odd = times("2024-01-01", "2024-01-02", "2024-01-02T00:00:01", "2024-01-03", "2024-01-04", "2024-01-05")
    path = a_file(tmp_path, item_id=["a"] * 6, timestamp=odd, target=range(6))
    with pytest.raises(InvalidInput, match=r"have no common step: 2 of 5 steps are not multiples of P1D, .* in a "):
        read([path], tmp_path, problems={"gaps": "fill"})


def test_monthly_times_on_different_days_are_reported(tmp_path: Path) -> None:
    odd = times("2024-01-05", "2024-02-05", "2024-03-05", "2024-04-06", "2024-05-05")
    path = a_file(tmp_path, item_id=["a"] * 5, timestamp=odd, target=range(5))
    with pytest.raises(InvalidInput, match=r"have no common step: 1 of 4 steps are not multiples of a month, .* in a "):
        read([path], tmp_path)


def test_a_missing_day_at_a_dst_change_is_filled_at_local_midnight(tmp_path: Path) -> None:
    zone = pa.timestamp("ms", "Europe/Berlin")
    have = pa.array([datetime(2024, 3, 29, 23), datetime(2024, 3, 31, 22), datetime(2024, 4, 1, 22)])  # noqa: DTZ001
    path = a_file(tmp_path, item_id=["a"] * 3, timestamp=have.cast(zone), target=[1, 2, 3])
    panel = read([path], tmp_path, problems={"gaps": "fill"})
    assert [f"{time:%d %H:%M}" for time in panel.times(0, 0, 4).to_pylist()] == [
        "30 00:00", "31 00:00", "01 00:00", "02 00:00",
    ]  # fmt: skip


def test_the_frequency_may_be_asserted(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["a"] * 3, timestamp=days(1, 8, 15), target=[1, 2, 3])
    for name in ("W", "W-SUN", "P7D", "7D", "P1W"):
        assert len(read([path], tmp_path, frequency=name)) == 1
    with pytest.raises(InvalidInput, match=r"column 'timestamp': the step is P7D, not MS \(data.frequency\)"):
        read([path], tmp_path, frequency="MS")


@pytest.mark.parametrize("last", ["23:59:59.999", "23:00:00", "00:00:00"])
@pytest.mark.parametrize(
    ("months", "step"), [((1, 2, 3, 5), "P1M"), ((3, 6, 9, 15), "P3M")], ids=["months", "quarters"]
)
def test_times_that_are_equally_long_before_the_end_of_the_month_are_monthly(
    tmp_path: Path, last: str, months: tuple[int, ...], step: str
) -> None:
    """pandas' end_time of a month is its last tick."""
    ends = [str(np.datetime64("2024-01", "M") + month - np.timedelta64(1, "D")) for month in months]
    path = a_file(tmp_path, item_id=["a"] * 4, timestamp=times(*(f"{end}T{last}" for end in ends)), target=range(4))
    with pytest.raises(InvalidInput, match=f"1 times are missing from the step {step}"):
        read([path], tmp_path, problems={"gaps": "refuse"})
    found = read([path], tmp_path, problems={"gaps": "fill"}).times(0, 0, 5).to_pylist()
    assert len({f"{time:%H:%M:%S.%f}" for time in found}) == 1
    assert [time.month for time in found] == [
        (month - 1) % 12 + 1 for month in (*months[:3], months[2] + months[0], months[3])
    ]


@pytest.mark.parametrize("gaps", ["refuse", "fill"])
@pytest.mark.parametrize(("wrong", "neighbour"), [("1970-01-01", "2024-01-01"), ("9999-12-31", "2024-01-30")])
def test_a_time_far_from_all_others_is_named_with_its_neighbour(
    tmp_path: Path, gaps: str, wrong: str, neighbour: str
) -> None:
    """Filled in, one such row in a large data set would be a series of almost nothing but missing observations."""
    dates = [f"2024-01-{day:02}" for day in range(1, 31)]
    rows = {"item_id": ["a"] * 30 + ["b"] * 31, "timestamp": times(*dates, *dates, wrong), "target": range(61)}
    between = sorted([wrong, neighbour])
    with pytest.raises(InvalidInput, match=f"in 1 of 2 series .* in b, is .* between {between[0]} and {between[1]}"):
        read([a_file(tmp_path, **rows)], tmp_path, problems={"gaps": gaps})


def test_a_change_of_clocks_is_named_as_the_likely_reason(tmp_path: Path) -> None:
    """Local times without a zone lack an hour in spring and have one twice in autumn; local midnights in UTC jump."""
    quarters = np.datetime64("2024-03-30T00:00", "ms") + np.arange(300) * np.timedelta64(15, "m")
    spring = quarters[(quarters < np.datetime64("2024-03-31T02:00")) | (quarters >= np.datetime64("2024-03-31T03:00"))]
    autumn = np.datetime64("2024-10-26T00:00", "ms") + np.arange(72) * np.timedelta64(1, "h")
    autumn = np.sort(np.append(autumn, np.datetime64("2024-10-27T02:00", "ms")))
    midnights = np.datetime64("2024-03-25T23:00", "ms") + np.arange(14) * np.timedelta64(1, "D")
    midnights[6:] -= np.timedelta64(1, "h")
    outage = quarters[(quarters < np.datetime64("2024-04-01T02:00")) | (quarters >= np.datetime64("2024-04-01T03:00"))]
    days = np.datetime64("2024-03-01", "ms") + np.arange(60) * np.timedelta64(1, "D")
    closed = np.delete(days, 31)  # the whole Monday after it, which no change of clocks takes away
    named = {"s": spring, "a": autumn, "m": midnights, "o": outage, "c": closed}
    for name, found in named.items():
        said = name not in ("o", "c")
        zone = pa.timestamp("ms", "UTC") if name == "m" else pa.timestamp("ms")
        path = a_file(
            tmp_path, item_id=["a"] * len(found), timestamp=pa.array(found).cast(zone), target=range(len(found))
        )
        with pytest.raises(InvalidInput) as caught:
            read([path], tmp_path, problems={"gaps": "refuse"})
        assert ("change of clocks" in str(caught.value)) is said, name
