"""Several runs side by side: as rows of a table, and as one HTML file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chronos_ec2.domain.parsing.names import counted, one_line
from chronos_ec2.domain.parsing.times import human_span
from chronos_ec2.services.run_details import RunDetails, config_differences

_LONGEST_VALUE = 60
_LOWER_IS_BETTER = "Lower scores are better, but for coverage_80, which should be 0.8."


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs with what each has cost until `now`."""

    runs: Sequence[RunDetails]
    costs: Sequence[float | None]
    now: datetime

    def results(self) -> Iterator[tuple[str, list[str]]]:
        """How each run has ended, and its scores."""
        runs = [each.run for each in self.runs]
        yield "job", [str(run.job) for run in runs]
        yield "status", [str(run.verdict.outcome if run.verdict else run.status) for run in runs]
        yield "took", [human_span(each.view.lasted(self.now)) for each in self.runs]
        yield "cost", ["unknown" if cost is None else f"${cost:.2f}" for cost in self.costs]
        yield "instance", [run.instance_type for run in runs]
        yield "model", [each.exported or "" for each in self.runs]
        for name in sorted({name for each in self.runs for name in each.scores}):
            yield name, [_number(each.scores.get(name)) for each in self.runs]

    def configuration(self) -> Iterator[tuple[str, list[str]]]:
        """The keys in which the configurations differ."""
        for key, values in config_differences([*self.runs]).items():
            yield key, [_value(value) for value in values]

    def page(self) -> bytes:
        """All of it as HTML, with the time line of each run."""
        from agent.report.page import Page, Section, Table, render  # noqa: PLC0415 - takes jinja2
        from agent.report.sections import spans  # noqa: PLC0415

        ids = [each.run.run_id for each in self.runs]

        def table(rows: Iterator[tuple[str, list[str]]]) -> tuple[Table, ...]:
            return (Table(("", *ids), tuple((name, *values) for name, values in rows)),)

        sections = [Section("Results", text=(_LOWER_IS_BETTER,), tables=table(self.results()))]
        differing = [*self.configuration()]
        same = () if differing else ("The configurations are the same.",)
        sections.append(Section("What their configurations differ in", same, tables=table(iter(differing))))
        sections += [Section(f"Time line of {each.run.run_id}", spans=spans(each.run, self.now)) for each in self.runs]
        page = Page(
            title=f"{counted(len(ids), 'run')} compared", kind="", sentence=", ".join(ids), notes=(), facts=(),
            sections=tuple(sections), foot=f"Made {self.now:%Y-%m-%d %H:%M:%S UTC} by chronos-ec2.",
        )  # fmt: skip
        return render(page)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _value(value: Any) -> str:
    return one_line(value if isinstance(value, str) else json.dumps(value), _LONGEST_VALUE)
