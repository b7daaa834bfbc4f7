"""What is wrong with a data set: findings with counts, examples, and the setting that accepts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.job_config.data import Problems

EXAMPLES = 3
_EXAMPLE_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of the data. `kind` is its key in `data.problems`, or a name for one that no setting accepts.

    `where` names the column or file, `counts` has numbers of rows, series or times, `examples` a few names. `remedy`
    is what to do about it, and `setting` the line of the configuration that does it, if there is one. An `accepted` one
    does not end a run.
    """

    kind: str
    where: str
    problem: str
    remedy: str
    counts: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    accepted: bool = False

    @property
    def setting(self) -> str:
        """The line that accepts it; empty if none does, or if it is accepted already."""
        lenient = _LENIENT.get(self.kind)
        key = "gaps" if self.kind == "steps" else self.kind
        return "" if self.accepted or lenient is None else f"data.problems.{key}: {lenient}"

    def to_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "where": self.where,
            "problem": self.problem,
            "remedy": self.remedy,
            "setting": self.setting,
            "counts": dict(self.counts),
            "examples": list(self.examples),
            "accepted": self.accepted,
        }


_LENIENT = {
    "duplicates": "drop", "gaps": "fill", "steps": "ignore", "short": "train", "empty": "drop", "infinite": "fill",
    "zones": "utc",
}  # fmt: skip
"""The setting of `data.problems` that changes least of all that accept a problem."""


class Findings(list[Finding]):
    """The findings so far. The first one that the settings refuse raises, unless all are to be collected."""

    def __init__(self, problems: Problems, *, collect: bool = False) -> None:
        super().__init__()
        self._problems = problems
        self._collect = collect

    def report(self, finding: Finding) -> None:
        """Add a finding. Afterwards the data are treated as if the settings accepted it.

        Raises:
            InvalidInput: it is refused.
        """
        setting = getattr(self._problems, finding.kind, "refuse")
        if setting != "refuse":
            finding = replace(finding, accepted=True)
        self.append(finding)
        if not finding.accepted and not self._collect:
            raise InvalidInput(finding.where, finding.problem, finding.remedy)

    def add(self, error: InvalidInput) -> None:
        """Add a problem after which reading cannot go on."""
        self.append(Finding("data", error.where, error.detail, error.hint))


def setting_for(kind: str, text: str) -> str:
    """The remedy that is a line of `data.problems`, such as `drop keeps the last of them`."""
    return f"data.problems.{kind}: {text}"


def some_of(names: Sequence[Any], positions: Any) -> tuple[str, ...]:
    """A few of the names at these positions, each once, on one line each."""
    first = np.asarray(positions)[: 100 * EXAMPLES].tolist()
    return tuple(one_line(str(names[one]), _EXAMPLE_LENGTH) for one in list(dict.fromkeys(first))[:EXAMPLES])


def for_instance(examples: Sequence[str], word: str = "") -> str:
    """`, for instance a, b`, or with a word such as `in`."""
    return f", for instance {word and word + ' '}{', '.join(examples)}"
