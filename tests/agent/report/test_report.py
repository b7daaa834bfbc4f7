"""The report of a run: what it says, that it shows any text as text, and that it needs nothing but a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from agent.report import figures
from agent.report.page import render
from agent.report.sections import Material, report_page
from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.records.heartbeat import Heartbeat
from chronos_ec2.domain.records.request import Request
from chronos_ec2.domain.records.status import Cause, DecidedBy, Job, Outcome, Status, Verdict
from chronos_ec2.services.report import POLICY
from tests.agent.builders import FAST, LANE, NOW, RUN_ID, a_config, a_run
from tests.nasty import NASTY

SUCCEEDED = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "trained, evaluated, and results in S3", DecidedBy.AGENT)
HUNG = Verdict(Outcome.FAILED, Cause.HUNG, "no progress for 900 s", DecidedBy.WATCHDOG)
SCORES = {"mase": 0.69, "wql": 0.1264, "sql": 0.54, "smape": 16.7, "coverage_80": 0.81}
NAIVE = {"mase": 0.8, "wql": 0.1432, "sql": 0.61, "smape": 19.2, "coverage_80": 0.95}


def an_evaluation(**changes: Any) -> dict[str, Any]:
    difference = {"difference": -0.0168, "interval": [-0.03, -0.0012]}
    verdict = {"against": "base", "verdict": "improved", "by": "wql", "test": "sign-flip test over series"}
    return {
        "exported": "trained",
        "series": {"judged": 40, "of": 41},
        "verdict": verdict | {"series": 40, "note": None, "wql": difference, "mase": difference},
        "models": {"trained": SCORES, "base": NAIVE, "seasonal_naive": NAIVE},
        "trained_minus": {"base": {"wql": difference}, "seasonal_naive": {"wql": difference}},
        "baselines": None,
        "by_horizon": {
            name: [{"mase": 0.5, "wql": None}, {"mase": 0.7, "wql": 0.1}] for name in ("trained", "seasonal_naive")
        },
    } | changes


def an_example(item: str = "a-01") -> dict[str, Any]:
    forecast = {"median": [3.0, 4.0], "low": [2.0, None], "high": [4.0, 6.0], "naive": [1.0, 2.0]}
    times = [f"2026-01-0{day} 00:00:00" for day in range(1, 7)]
    return {
        "model": "chronos-2",
        "item": item,
        "mase": 0.7,
        "times": times,
        "values": [1.0, None, 3.0, 4.0, 5.0, 6.0],
    } | forecast


def material(tmp_path: Path, verdict: Verdict | None = SUCCEEDED, **changes: Any) -> Material:
    metrics = tmp_path / "metrics.jsonl"
    lines = [
        {"step": step, "total_steps": 40, "loss": 1 / step, "steps_per_second": 2, "gpu_util": 90}
        for step in range(1, 41)
    ]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in [{"event": "began", "step": 0}, *lines]))
    phases = [(Status.INITIALIZATION, 0), (Status.DATA_SYNC, 3), (Status.TRAINING, 5), (Status.RESULTS_SYNC, 30)]
    run = a_run(
        phases=tuple((status, NOW + timedelta(minutes=at)) for status, at in phases), status=Status.RESULTS_SYNC
    )
    values: dict[str, Any] = {
        "run": replace(run, prices=(("g4dn.2xlarge", 0.77),), max_cost_usd=5.0, claimed_at=NOW),
        "now": NOW + timedelta(minutes=32),
        "verdict": verdict,
        "request": Request(RUN_ID, LANE, a_config(), ("g4dn.2xlarge",), "0" * 64, (), FAST),
        "cost_usd": 0.41,
        "begun": {
            "versions": {"torch": "2.13.0"},
            "hardware": {"gpus": [{"name": "Tesla T4", "memory": 16 * 2**30}], "cpus": 8},
            "data": {"sha256": "ab" * 32, "rows": 720, "files": ["one"], "bytes": 12_345},
            "training": {"series": 12, "observations": 720, "frequency": "P1D", "findings": []},
        },
        "ended": {"steps": 40, "best_step": 30, "model_uri": "s3://bucket/dev/run/models/"},
        "evaluation": an_evaluation(),
        "metrics": metrics,
        "examples": [an_example(), an_example("b-02"), an_example("c-03")],
    }
    return Material(**values | changes)


def html(made: Material, *, pictures: bool = True) -> str:
    return render(report_page(made, pictures=pictures)).decode()


class Elements(HTMLParser):
    """Every element with its attributes, and the text outside the style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._style = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.text.append(data)


def shown(made: Material, **options: Any) -> str:
    return " ".join(" ".join(Elements(html(made, **options)).text).split())


def test_the_first_sentence_says_whether_training_was_worth_it(tmp_path: Path) -> None:
    text = shown(material(tmp_path))
    assert "Succeeded. The trained model is better than base: WQL 0.1264 against 0.1432, 11.7 % lower" in text
    assert "-0.0300 to -0.0012" in text


def test_a_run_that_was_not_worth_it_says_so(tmp_path: Path) -> None:
    verdict = an_evaluation()["verdict"] | {"verdict": "not improved", "note": "5 series prove little"}
    text = shown(material(tmp_path, evaluation=an_evaluation(verdict=verdict, exported="base")))
    assert "The trained model is not significantly better than base" in text
    assert "5 series prove little." in text
    assert "Exported is the model base" in text


def test_a_report_has_every_part(tmp_path: Path) -> None:
    text = shown(material(tmp_path))
    parts = ("Time line", "Training", "Step time", "GPU utilisation", "Forecasts and what was observed",
             "one of the worst forecasts", "Models compared", "Errors by forecast step", "Cost", "$0.41 of $5.00",
             "Use the model", "from_pretrained",
             f"chronos-ec2 forecast --model run:{RUN_ID} --data DATA --horizon 6",
             "pipeline.predict_df(history, prediction_length=6)",
             "ab" * 32, "Configuration", "prediction_length: 6", "torch",
             "Tesla T4, 16 GiB", "weights of step 30")  # fmt: skip
    assert [part for part in parts if part not in text] == []


def of_job(tmp_path: Path, job: Job, **changes: Any) -> Material:
    made = material(tmp_path, evaluation={}, **changes)
    return replace(made, run=replace(made.run, job=job))


def test_a_forecast_shows_forecasts_and_nothing_of_a_training(tmp_path: Path) -> None:
    facts = {"training": {"series": 12, "frequency": "P1D"}}
    text = shown(of_job(tmp_path, Job.FORECAST, begun=facts, ended={"steps": 12}))
    assert "12 series, P1D" in text
    assert "Forecasts Black or white: observed." in text
    for of_a_training in ("Training", "step time", "checkpoints", "observations", "best forecasts", "MASE"):
        assert of_a_training not in text


def test_an_evaluate_job_shows_its_models_beside_the_best_one(tmp_path: Path) -> None:
    difference = {"difference": -0.0168, "interval": [-0.03, -0.0012]}
    comparison = {
        "models": {"run:A": SCORES, "amazon/chronos-2": NAIVE},
        "verdict": {"best": "run:A", "by": "wql", "sentence": "run:A is better"},
        "series": {"judged": 40, "of": 41},
        "best_minus": {"amazon/chronos-2": {"wql": difference, "mase": difference}},
        "by_horizon": {"run:A": [{"mase": 0.5, "wql": 0.1}], "amazon/chronos-2": [{"mase": 0.6, "wql": 0.2}]},
        "baselines": {
            "series": 30, "of": 40, "models": {"run:A": SCORES, "auto_ets": NAIVE},
            "best_minus": {"auto_ets": {"wql": difference, "mase": difference}},
        },
    }  # fmt: skip
    text = shown(of_job(tmp_path, Job.EVALUATE, ended={"steps": 12, "comparison": comparison}))
    assert "Beside statistical models, on 30 of 40 series" in text
    assert "AutoETS 0.8000" in text
    assert "WQL of run:A minus this, 95 % interval" in text
    assert "amazon/chronos-2 0.8000 0.1432" in text
    assert "-0.0168 (-0.0300 to -0.0012)" in text
    assert text.index("Models compared") < text.index("Errors by forecast step") < text.index("Forecasts and what was")
    assert "step time" not in text


def test_a_failed_run_has_its_cause_and_the_end_of_its_log(tmp_path: Path) -> None:
    text = shown(material(tmp_path, HUNG, evaluation={}, examples=(), ended={}, log="step 7\nstuck"))
    assert "Failed (hung): no progress for 900 s" in text
    assert "stuck" in text
    assert "Loss" in text
    assert "Use the model" not in text


def test_the_record_alone_makes_a_report(tmp_path: Path) -> None:
    heartbeat = Heartbeat(
        RUN_ID, 1, "i-0123456789abcdef0", "boot", Status.TRAINING, 9, timedelta(0), step=7, total_steps=40
    )
    received = HeartbeatReceived(heartbeat, "etag", NOW)
    text = shown(Material(a_run(), NOW, HUNG, heartbeat=received), pictures=False)
    assert "Failed (hung)" in text
    assert "step 7 of 40" in text
    assert "No agent has claimed this attempt." in text


def texts(value: Any, nasty: str) -> Any:
    """A document with a nasty text in place of each of its texts and keys that are not known."""
    match value:
        case dict():
            return {key: texts(one, nasty) for key, one in value.items()}
        case list() | tuple():
            return [texts(one, nasty) for one in value]
        case str():
            return nasty
    return value


@pytest.mark.parametrize(
    "nasty", [*NASTY, "</svg><script>alert(1)</script>", '"onload="alert(1)', "a" * 500], ids=ascii
)
def test_text_from_data_and_instance_is_text(tmp_path: Path, nasty: str) -> None:
    made = material(tmp_path)
    evaluation = an_evaluation(models={"trained": SCORES, nasty: NAIVE}, trained_minus={}, by_horizon={nasty: [SCORES]})
    evaluation["verdict"] = evaluation["verdict"] | {"against": nasty, "note": nasty}
    verdict = replace(HUNG, message=nasty)
    hostile = material(
        tmp_path, verdict, begun=texts(made.begun, nasty), ended=texts(made.ended, nasty), evaluation=evaluation,
        examples=[an_example(nasty)], log=nasty,
    )  # fmt: skip
    page = html(hostile, pictures=False)
    elements = Elements(page)
    allowed = {tag for tag, _ in Elements(html(made, pictures=False)).found}
    assert {tag for tag, _ in elements.found} <= allowed
    attributes = {name for _, found in elements.found for name in found}
    assert not [name for name in attributes if name.startswith("on")]
    assert all(line.isprintable() for line in page.splitlines())


@pytest.mark.parametrize("nasty", ["</svg><script>alert(1)</script>", NASTY[23], "$\\frac{1}{0}$ $", "a" * 500])
def test_the_name_of_a_model_is_text_in_a_figure(nasty: str) -> None:
    drawn = figures.by_horizon({nasty: [1.0, None], "base": [2.0, 3.0]}, "MASE")
    plain = figures.by_horizon({"trained": [1.0, None], "base": [2.0, 3.0]}, "MASE")
    assert {tag for tag, _ in Elements(drawn).found} == {tag for tag, _ in Elements(plain).found}


def references(page: str) -> Iterator[str]:
    for tag, attributes in Elements(page).found:
        for name, value in attributes.items():
            if name in {"src", "href", "xlink:href", "action", "srcset"} and not str(value).startswith("#"):
                yield f"{tag} {name}={value}"
    yield from (found for found in re.findall(r"url\(([^)]*)\)", page) if not found.startswith("#"))
    yield from re.findall(r"@import", page)


def test_a_report_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    page = html(material(tmp_path))
    assert list(references(page)) == []
    assert page.startswith(POLICY)
    assert "script-src" not in POLICY
    assert "default-src 'none'" in POLICY


def test_the_colours_of_figures_are_those_of_the_page(tmp_path: Path) -> None:
    page = html(material(tmp_path))
    drawn = " ".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert "var(--ours)" in drawn
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawn)) == set()


def test_figures_take_missing_values_and_times_that_are_numbers() -> None:
    example = an_example() | {"times": [1, 2, 3, 4, 5, 6]}
    assert figures.forecast(example, 1).startswith("<svg")
    assert figures.by_step([(1, 2.0)], "ms").startswith("<svg")


@pytest.mark.parametrize(
    "changes",
    [
        {"begun": {"hardware": {"gpus": [1]}, "training": {"series": "many"}, "data": {"sha256": 1}}},
        {"evaluation": {"verdict": {}, "models": {}}},
        {"examples": [{"item": "no forecast"}]},
    ],
    ids=str,
)
def test_what_cannot_be_shown_is_left_out(tmp_path: Path, changes: dict[str, Any]) -> None:
    text = shown(material(tmp_path, **changes))
    assert "Cost" in text
    assert "Succeeded" in text
