"""docs/evidence.md from build/evidence.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_HEAD = """# Evidence

Made by `make evidence` from the real code; `make evidence HISTORIES=20000` makes a quick one. Nothing here is written
by hand. What is modelled and what is real stands in the docstrings of `src/chronos_ec2/simulation/`.

"""


_MARKS = ("<!-- evidence -->", "<!-- /evidence -->")


def as_markdown(found: dict[str, Any], code: Mapping[str, str]) -> str:
    """The whole document; parts that were not run are left out. `code` has each part's fingerprint as it is now."""
    sections = (_histories, _times, _layers, _crash_points, _model, _fuzz, _defects, _mutation)
    return _HEAD + "\n".join(filter(None, (_stale(found, code), *(section(found) for section in sections))))


def _stale(found: dict[str, Any], code: Mapping[str, str]) -> str:
    """Which parts say something of other code than that of today."""
    parts = found.get("made_from", {})
    other = sorted(name for name, made_from in parts.items() if made_from != code.get(name))
    return f"Made from other code than today's: {', '.join(other)}.\n" if other else ""


def with_summary(readme: str, found: dict[str, Any]) -> str:
    """The README with its evidence table made anew. Raises ValueError if its marks are gone."""
    start, end = (readme.index(mark) for mark in _MARKS)
    rows: list[tuple[object, ...]] = []
    if "histories" in found:
        rows += [
            ("histories simulated", f"{found['histories']:,}"),
            (
                "healthy runs, or instances of others, terminated",
                found["wrong_terminations"] + found["alien_terminations"],
            ),
            ("instances past their bound, locks that stayed", found["leaks_past_bound"] + found["stuck_locks"]),
            ("incidents that nobody was told of", found["lost_messages"]),
        ]
    if "crash_points" in found:
        rows.append(("crash points that converge", _share(found["crash_points"], "converged", "enumerated")))
    if "model" in found:
        rows.append(
            ("states of the model, violations", f"{found['model']['states']:,}, {found['model']['violations']}")
        )
    if "fuzz" in found:
        rows.append(("fuzzed inputs, failures", f"{found['fuzz']['inputs']:,}, {len(found['fuzz']['failures'])}"))
    if "defect_mutants" in found:
        rows.append(("defects put back in that the tests catch", _share(found["defect_mutants"], "caught", "total")))
    if "mutation" in found:
        rows.append(("mutants of domain/ killed", _share(found["mutation"], "killed", "total")))
    return readme[:start] + _MARKS[0] + "\n" + _table(("Evidence", ""), rows) + readme[end:]


def _share(part: dict[str, Any], some: str, whole: str) -> str:
    return f"{part[some]:,} of {part[whole]:,}"


def _table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _histories(found: dict[str, Any]) -> str:
    if "histories" not in found:
        return ""
    rows: list[tuple[object, ...]] = [
        ("healthy runs terminated", found["wrong_terminations"]),
        ("instances terminated that are not ours", found["alien_terminations"]),
        ("instances alive past their bound", found["leaks_past_bound"]),
        ("locks that stayed", found["stuck_locks"]),
        ("two agents at work in one lane", found["two_agents"]),
        ("runs past the price cap and a tick", found["over_cap"]),
        ("incidents that nobody was told of", found["lost_messages"]),
        ("messages sent twice although nothing failed", found["doubled_without_cause"]),
        ("messages sent twice because an answer of SNS was lost, or a function died", found["duplicate_messages"]),
    ]
    return (
        f"## {found['histories']:,} histories (seeds {found['seeds']})\n\n"
        "Half of them with 2 to 30 % of all AWS calls failing, before or after their effect, functions dying half-way "
        "and ticks lost; a third of the lists of EC2 stale, some by minutes; services out for up to an hour; events "
        "lost, doubled, forged, up to a day late. "
        f"{found['histories_per_second']} histories a second and core.\n\n"
        + _table(("What may not happen", "times"), rows)
    )


def _times(found: dict[str, Any]) -> str:
    if "time_to_terminate" not in found:
        return ""
    rows: list[tuple[object, ...]] = [
        (name, row["n"], row["p50"], row["p99"], row["max"], row["promised"])
        for name, row in found["time_to_terminate"].items()
    ]
    return (
        "## Seconds from a failure to the end of the instance\n\n"
        "In the histories in which EC2 and S3 answered and every tick came; every failed call or lost tick may add a "
        "minute. `promised` is computed from `limits.py`. Where somebody overwrites the record of a run that is "
        "suspected or has said its last word, a dead or hung instance's seconds count from then: whoever may write the "
        "lock can put that end off, until the deadline at most.\n\n"
        + _table(("Failure", "n", "p50", "p99", "max", "promised"), rows)
    )


def _layers(found: dict[str, Any]) -> str:
    if "layers" not in found:
        return ""
    rows: list[tuple[object, ...]] = []
    for name, row in found["layers"].items():
        promised = "none" if row["promised"] is None else row["promised"]
        rows.append((name, row["histories"], row["wrong_terminations"], row["max"], promised, row["leaks_past_bound"]))
    head = (
        "Without", "histories", "healthy runs terminated", "longest end, seconds", "promised",
        "instances past their bound",
    )  # fmt: skip
    return (
        "## With kill layers switched off\n\nWith the sweep every bound holds, whatever else is off. Without it the "
        "schedule of L1 is what remains: it ends an instance at its deadline, 12 h after its launch, within two "
        "minutes. Then past its bound is what lives at the end of a history: what has no schedule, because somebody "
        "else started it or its launcher died first, and what does not end although EC2 was asked; the longest end is "
        "that of what somebody of ours launched. L4, the alarms, "
        f"ends nothing and so is not in the table: after {found['alarm_seconds']} seconds without a sweep it says so, "
        "by the template.\n\n" + _table(head, rows)
    )


def _crash_points(found: dict[str, Any]) -> str:
    if "crash_points" not in found:
        return ""
    row = found["crash_points"]
    return (
        "## Crash points\n\nEvery AWS call of every use case, crashed before and after its effect, refused, and its "
        f"answer lost, then clean ticks: {row['converged']} of {row['enumerated']} converge.\n"
    )


def _model(found: dict[str, Any]) -> str:
    if "model" not in found:
        return ""
    row = found["model"]
    return (
        f"## Model\n\n`verification/model/protocol.pml`, checked by spin: {row['states']:,} states, {row['violations']} "
        f"violations; {row['mutants_caught']} of {row['mutants']} mutants caught.\n"
    )


def _fuzz(found: dict[str, Any]) -> str:
    if "fuzz" not in found:
        return ""
    row = found["fuzz"]
    return (
        f"## Fuzzing\n\n{row['inputs']:,} inputs, made up or changed, to every parser, and as lock, heartbeat, marker "
        "and event to the watchdog beside a healthy run: "
        f"{len(row['failures'])} raised what they may not, or ended it.\n\n"
        + _table(("Fed", "inputs"), list(row["by_target"].items()))
    )


def _defects(found: dict[str, Any]) -> str:
    if "defect_mutants" not in found:
        return ""
    row = found["defect_mutants"]
    return (
        "## Defects put back in\n\nDefects of the reference system and rules of the protocol left out, one by one: "
        f"{row['caught']} of {row['total']} caught by the tests.\n\n"
        + _table(
            ("Defect", "From", "Caught by"), [(one["defect"], one["source"], one["caught_by"]) for one in row["rows"]]
        )
    )


def _mutation(found: dict[str, Any]) -> str:
    if "mutation" not in found:
        return ""
    row = found["mutation"]
    return (
        f"## Mutation testing of domain/\n\n{row['killed']} of {row['total']} mutants killed "
        f"({100 * row['score']:.1f} %); `verification/mutation-survivors.toml` lists the others with a reason each.\n"
    )
