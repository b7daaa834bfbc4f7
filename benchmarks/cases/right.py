"""The right outcome of each case. The ideas are public bug reports of comparable tools; the data were made for this."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from benchmarks.cases.runner import Outcome

_Check = Callable[[Outcome], bool]


@dataclass(frozen=True)
class Right:
    """`refused`: a pattern that the message has; otherwise the run is completed, with exactly these `findings`.

    `checks`: what else holds, by what it says.
    """

    idea: str
    refused: str = ""
    findings: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    checks: Mapping[str, _Check] = field(default_factory=dict)

    def problems(self, outcome: Outcome) -> list[str]:
        """How an outcome differs; empty if it is right."""
        if self.refused:
            if not outcome.refused:
                return ["not refused"]
            return [] if re.search(self.refused, outcome.refused) else [f"refused, but: {outcome.refused}"]
        if outcome.refused:
            return [f"refused: {outcome.refused}"]
        found = [] if outcome.findings == self.findings else [f"findings: {outcome.findings}"]
        checks = _ALWAYS | dict(self.checks)
        return found + [text for text, holds in checks.items() if not holds(outcome)]


def _finite(outcome: Outcome) -> bool:
    values = np.array([outcome.forecasts[str(level / 10)].to_numpy() for level in range(1, 10)])
    return bool(np.isfinite(values).all() and (np.diff(values, axis=0) >= 0).all())


def _judged(count: int, of: int | None = None) -> dict[str, _Check]:
    return {f"judged on {count}": lambda one: one.report["series"] == {"judged": count, "of": of or count}}


def _frequency(name: str) -> dict[str, _Check]:
    return {f"frequency {name}": lambda one: one.facts["frequency"] == name}


def _undefined(score: str) -> dict[str, _Check]:
    return {
        f"{score} is undefined, with the reason": lambda one: len(one.report["undefined"].get(score, "")) > 10,
        "nothing is nan": lambda one: "nan" not in one.text.lower(),
    }


def _type(column: str, kind: pa.DataType) -> dict[str, _Check]:
    return {f"{column} is {kind}": lambda one: one.forecasts.schema.field(column).type == kind}


def _mase_of_naive(low: float, high: float) -> dict[str, _Check]:
    return {"MASE of the naive": lambda one: low < one.report["models"]["seasonal_naive"]["mase"] < high}


_ALWAYS: dict[str, _Check] = {
    "forecasts are finite, and quantiles in order": _finite,
    "there is a picture": lambda one: one.plotted,
}
_TOO_LARGE = "252 values are larger than 1e.17.* in 3 of 3 series"
_LEADING = {"leading": {"rows": 990, "series": 3}}
_NEW = {"leading": {"rows": 77, "series": 1}, "short": {"series": 1}}
_PERIODS = r"column 'timestamp' has pandas periods.*\.dt\.to_timestamp"
_SENTINEL = "between 1970-01-01 and 2024-01-02"

RIGHT = {
    "01-constant/train": Right(
        "gluonts#1135", "1 of 4 series have no two different numbers, for instance k .*empty: drop"
    ),
    "01-constant/drop": Right(
        "gluonts#1135", findings={"empty": {"series": 1}}, checks=_judged(3) | _mase_of_naive(0.5, 2)
    ),
    "02-zero-test-window/train": Right(
        "gluonts#608",
        checks=_undefined("wql") | {"MASE decides": lambda one: one.report["verdict"]["by"] == "mase"},
    ),
    "03-future-rows-null-target/train": Right(
        "autogluon#3454", findings={"trailing": {"rows": 28, "series": 4}}, checks=_judged(4)
    ),
    "03-future-rows-null-target/stop": Right(
        "autogluon#3454", findings={"trailing": {"rows": 28, "series": 4}}, checks=_judged(4)
    ),
    "04-leading-nan/train": Right("neuralforecast#186", findings=_LEADING, checks=_judged(3)),
    "04-leading-nan/bolt": Right("neuralforecast#186", findings=_LEADING, checks=_judged(3)),
    "04-leading-nan/t5": Right("neuralforecast#186", findings=_LEADING, checks=_judged(3)),
    "04-leading-nan/t5one": Right("neuralforecast#186", findings=_LEADING, checks=_judged(3)),
    "05-values-1e20/train": Right("gluonts#3070", _TOO_LARGE),
    "05-values-1e20/bolt": Right("gluonts#3070", _TOO_LARGE),
    "05-values-1e20/t5": Right("gluonts#3070", _TOO_LARGE),
    "05b-values-1e-22/train": Right("gluonts#3070", checks=_judged(3) | _mase_of_naive(0.5, 2)),
    "06-meter-1e9/train": Right("darts#2277", "3 of 3 series vary too little for their size.*subtract a constant"),
    "07-month-end/train": Right("prophet#835", checks=_judged(2) | _frequency("P1M")),
    "08-month-end-235959/train": Right("pandas#41843", checks=_judged(2) | _frequency("P1M")),
    "09-pandas-period/train": Right("pandas#49641", _PERIODS),
    "09-pandas-period/freq": Right("pandas#49641", _PERIODS),
    "10-zone-utc-plus-9/train": Right(
        "arrow#36558", checks=_judged(2) | _type("timestamp", pa.timestamp("us", "+09:00"))
    ),
    "10b-zone-plus-9/train": Right("arrow#36558", checks=_judged(2) | _type("timestamp", pa.timestamp("us", "+09:00"))),
    "11-dst-aware/train": Right("darts#1052", checks=_judged(2) | _frequency("PT15M")),
    # Filled in like other missing times, which is the default, and named as what it is.
    "11b-dst-naive/train": Right(
        "emhass#589",
        findings={"gaps": {"times": 8, "series": 2}},
        checks={"a change of clocks is named": lambda one: "at a change of clocks" in one.text},
    ),
    "11b-dst-naive/fill": Right(
        "emhass#589",
        findings={"gaps": {"times": 8, "series": 2}},
        checks={"a change of clocks is named": lambda one: "at a change of clocks" in one.text},
    ),
    "11c-dst-daily-aware/train": Right(
        "darts#1052", findings={"gaps": {"times": 3, "series": 1}}, checks=_judged(2) | _frequency("P1D")
    ),
    "11d-dst-daily-as-utc/train": Right("emhass#589", "2 of 166 steps are not multiples of P1D.*at a change of clocks"),
    "11e-dst-autumn-aware-gaps/train": Right("darts#1052", findings={"gaps": {"times": 4, "series": 2}}),
    "12-int-ids-own-names/train": Right(
        "autogluon#2605",
        checks=_type("store nbr", pa.int64())
        | _type("date", pa.date32())
        | {
            "ids as they came": lambda one: (
                one.forecasts["store nbr"].unique().to_pylist() == [9, 10, 2_000_000_000_001]
            )
        },
    ),
    "13-duplicate-column/train": Right("arrow#37428", "^data.parquet: has 2 columns of the name 'target'"),
    "14-sentinel-1970/train": Right("aws-sdk-pandas#3358", _SENTINEL),
    "14-sentinel-1970/refuse": Right("aws-sdk-pandas#3358", _SENTINEL),
    "15-empty-partition/train": Right("arrow#2110", checks=_judged(2)),
    "17-covariates/train": Right("fastparquet#935", checks=_judged(3)),
    "18-season-too-long/train": Right("darts#3054", checks=_undefined("mase")),
    "20-damaged-page/train": Right("own", "^data.parquet: column 'target' is damaged"),
    "21-ended-products/train": Right(
        "gluonts#3034",
        checks={
            "improved": lambda one: one.report["verdict"]["verdict"] == "improved",
            "with an interval below zero": lambda one: one.report["verdict"]["wql"]["interval"][1] < 0,
        },
    ),
    "21-ended-products/live": Right("gluonts#3034", checks=_judged(3)),
    "22-base-and-lora/train": Right("chronos-forecasting#432", checks=_judged(4)),
    "22-base-and-lora/bolt": Right("chronos-forecasting#432", checks=_judged(4)),
    "22-base-and-lora/resume": Right("chronos-forecasting#432", checks=_judged(4)),
    "22-base-and-lora/other": Right("chronos-forecasting#432", checks=_judged(4)),
    "23-hive-country/train": Right(
        "polars#12903", r"folders of different country.*data\.item_id: \[country, item_id\]"
    ),
    "23-hive-country/drop": Right("polars#12903", "all 252 rows of the folder country=DE .* would be dropped"),
    "23-hive-country/named": Right("polars#12903", checks=_judged(6) | _type("country", pa.string())),
    "24-new-product/train": Right("chronos-forecasting#502", findings=_NEW, checks=_judged(5, of=6)),
    "24-new-product/bolt": Right("chronos-forecasting#502", findings=_NEW, checks=_judged(5, of=6)),
    "24-new-product/t5": Right("chronos-forecasting#502", findings=_NEW, checks=_judged(5, of=6)),
    "25-integer-times-from-0/train": Right("own", checks=_judged(3) | _type("timestamp", pa.int64()) | _frequency("1")),
    "26-business-days/train": Right("own", findings={"gaps": {"times": 4, "series": 2}}, checks=_frequency("B")),
    "27-dates-as-integers/train": Right("own", "its integers are dates"),
    "28-mixed-files/train": Right("own", checks=_judged(2) | _type("timestamp", pa.timestamp("us"))),
    "29-two-id-columns/train": Right(
        "own", checks=_judged(4) | _type("store", pa.int32()) | _type("product", pa.string())
    ),
}
