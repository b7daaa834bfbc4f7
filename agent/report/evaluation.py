"""The evaluation in a report: its verdict in a sentence, leaderboards with intervals, errors by horizon, examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.report.page import Figure, Section, Table

_SCORES = {"mase": "MASE", "wql": "WQL", "sql": "SQL", "smape": "sMAPE, %", "coverage_80": "80 % coverage"}
_NAMES = {"auto_ets": "AutoETS", "auto_theta": "AutoTheta"}
_RANKS = ("one of the best forecasts", "about as good as most", "one of the worst forecasts")


def evaluation_sentence(evaluation: Mapping[str, Any]) -> str:
    """Whether training was worth it."""
    found, models = evaluation["verdict"], evaluation["models"]
    against, score = found["against"], found["by"]
    other = _name(against)
    if score is None:
        return f"Whether the trained model is better than {other} cannot be said: no score is defined."
    ours, theirs, title = models["trained"][score], models[against][score], _SCORES[score]
    compared = f"{title} {_number(ours)} against {_number(theirs)}"
    if ours is not None and theirs:
        compared += f", {100 * abs(1 - ours / theirs):.1f} % {'lower' if ours < theirs else 'higher'}"
    compared += f", difference {_difference(found[score])}, {found['series']:,} series"
    if found["verdict"] == "improved":
        return f"The trained model is better than {other}: {compared}."
    return f"The trained model is not significantly better than {other}: {compared}."


def evaluation_notes(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """What a reader of the sentence should know."""
    if note := (evaluation.get("verdict") or {}).get("note"):
        yield f"{str(note)[:1].upper()}{str(note)[1:]}."
    exported = evaluation.get("exported", "trained")
    if exported != "trained":
        yield f"Exported is the model {_name(exported)}: the trained one was not better on the window before the test."


def evaluation_sections(
    evaluation: Mapping[str, Any], examples: Sequence[Mapping[str, Any]], season_length: int, *, pictures: bool
) -> Iterator[Section]:
    """Forecasts, and models beside each other."""
    if pictures and examples:
        naive = "seasonal naive" if season_length > 1 else "naive"
        text = f"Black or white: observed. Blue: forecast, with the band that should hold 80 %. Dashes: {naive}."
        figures = tuple(_examples(examples, season_length))
        yield Section("Forecasts and what was observed", text=(text,), figures=figures)
    if evaluation:
        yield from _compared(evaluation, evaluation["trained_minus"], "trained", evaluation["exported"], pictures)


def comparison_sections(
    comparison: Mapping[str, Any], examples: Sequence[Mapping[str, Any]], season_length: int, *, pictures: bool
) -> Iterator[Section]:
    """The models of an evaluate job beside each other, the best one against each other one, then its forecasts."""
    best = comparison["verdict"]["best"] or next(iter(comparison["models"]))
    yield from _compared(comparison, comparison["best_minus"], best, best, pictures)
    yield from evaluation_sections({}, examples, season_length, pictures=pictures)


def forecast_sections(examples: Sequence[Mapping[str, Any]], *, pictures: bool) -> Iterator[Section]:
    """A few of the series that a forecast job has forecast."""
    if pictures and examples:
        text = "Black or white: observed. Blue: forecast, with the band between the lowest and the highest quantile."
        figures = (replace(figure, caption="") for figure in _examples(examples, 1))
        yield Section("Forecasts", text=(text,), figures=tuple(figures))


def _compared(
    evaluation: Mapping[str, Any], differences: Mapping[str, Any], ours: str, exported: str, pictures: bool
) -> Iterator[Section]:
    tables = [_leaderboard(evaluation["models"], differences, ours, exported)]
    baselines = evaluation.get("baselines") or {}
    if baselines.get("models"):
        sample = f"Beside statistical models, on {baselines['series']:,} of {baselines['of']:,} series"
        minus = baselines["trained_minus" if ours == "trained" else "best_minus"]
        tables.append(_leaderboard(baselines["models"], minus, ours, exported, sample))
    series = evaluation["series"]
    judged = f"Judged on {series['judged']:,} of {series['of']:,} series."
    text = f"{judged} Lower is better, but for coverage, which should be 80 %."
    yield Section("Models compared", text=(text,), tables=tuple(tables))
    if by_step := evaluation.get("by_horizon"):
        yield Section("Errors by forecast step", figures=tuple(_horizons(by_step)) if pictures else ())
        yield Section("Errors by forecast step, as numbers", tables=(_by_step(by_step),), folded=True)


def _leaderboard(
    models: Mapping[str, Mapping[str, float | None]],
    differences: Mapping[str, Any],
    ours: str,
    exported: str,
    title: str = "",
) -> Table:
    order = sorted(models, key=lambda name: _last_if_none(models[name].get("wql")))
    headers = ("model", *_SCORES.values(), f"WQL of {_name(ours)} minus this, 95 % interval")
    rows = tuple(
        (
            _name(name) + (" (exported)" if name == exported != ours else ""),
            *(_score(score, models[name].get(score)) for score in _SCORES),
            _difference(differences[name]["wql"]) if name in differences else "",
        )
        for name in order
    )
    return Table(headers, rows, title, strong=order.index(ours) if ours in order else None)


def _examples(examples: Sequence[Mapping[str, Any]], season_length: int) -> Iterator[Figure]:
    from agent.report import figures  # noqa: PLC0415 - takes matplotlib, which not every laptop has

    last = len(examples) - 1
    for number, example in enumerate(examples):
        rank = _RANKS[0] if number == 0 and last else _RANKS[2] if number == last and last else _RANKS[1]
        mase = example.get("mase")
        caption = rank if mase is None else f"{rank}, MASE {mase:.2f}"
        yield Figure(str(example["item"]), figures.forecast(example, season_length), caption)


def _horizons(by_step: Mapping[str, Sequence[Mapping[str, float | None]]]) -> Iterator[Figure]:
    from agent.report import figures  # noqa: PLC0415

    for score in ("mase", "wql"):
        lines = {_name(name): [one.get(score) for one in steps] for name, steps in by_step.items()}
        if any(value is not None for line in lines.values() for value in line):
            yield Figure(_SCORES[score], figures.by_horizon(lines, _SCORES[score]))


def _by_step(by_step: Mapping[str, Sequence[Mapping[str, float | None]]]) -> Table:
    headers = ("step", *(f"{_name(name)}, {_SCORES[score]}" for name in by_step for score in ("mase", "wql")))
    rows = tuple(
        (str(step), *(_number(one.get(score)) for one in row for score in ("mase", "wql")))
        for step, row in enumerate(zip(*by_step.values(), strict=True), 1)
    )
    return Table(headers, rows)


def _difference(one: Mapping[str, Any]) -> str:
    low, high = one["interval"]
    if one["difference"] is None:
        return "undefined"
    interval = "no interval" if low is None or high is None else f"{low:+.4f} to {high:+.4f}"
    return f"{one['difference']:+.4f} ({interval})"


def _score(score: str, value: float | None) -> str:
    return "undefined" if value is None else f"{value:.0%}" if score == "coverage_80" else _number(value)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _last_if_none(value: float | None) -> float:
    return float("inf") if value is None else value


def _name(model: str) -> str:
    return _NAMES.get(model, model.replace("_", " "))
