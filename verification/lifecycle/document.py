"""build/lifecycle.json: the figures of groups, schedules and promotions, from the evidence and the last demo."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verification.checkout import ROOT
from verification.lifecycle.oracle import LifecycleFindings

LIFECYCLE, DEMO = ROOT / "build/lifecycle.json", ROOT / "build/demo-lifecycle/summary.json"
_MODELS = ("registry", "schedules", "groups")
_CASES = ("registry", "schedule", "group")
"""The services, by how the names of their crash points begin."""
_OF_A_MODEL = ("states", "violations", "mutants", "caught")
_OF_GROUPS = ("members", "shards")
_OF_PROMOTIONS = ("worse_promoted", "lost_promotions")
_OF_THE_DEMO = ("messages", "champions", "forecast_rows", "residue")


def lifecycle_document(found: Mapping[str, Any], demo: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is known of each: a part that was not run has no key."""
    document = {name: found[name] for name in _OF_GROUPS if name in found}
    if histories := found.get("lifecycle"):
        document["champion"] = {name: histories[name] for name in _OF_PROMOTIONS}
        violations = [name for name in LifecycleFindings.violations() if name not in _OF_PROMOTIONS]
        document["schedules"] = {name: histories[name] for name in ("histories", "runs", "triggers", *violations)}
    if by_model := found.get("model", {}).get("by_model"):
        models = [by_model[name] for name in _MODELS if name in by_model]
        document["model"] = {name: sum(one[name] for one in models) for name in _OF_A_MODEL}
    if (crash := found.get("crash_points")) and "failed_by_case" in crash:
        ours = [name for name in crash["by_case"] if name.partition(":")[0] in _CASES]
        enumerated = sum(crash["by_case"][name] for name in ours)
        failed = sum(crash["failed_by_case"].get(name, 0) for name in ours)
        document["crash_points"] = {"enumerated": enumerated, "converged": enumerated - failed}
    if demo is not None:
        document["demo"] = {name: demo[name] for name in _OF_THE_DEMO}
    return document


def write_lifecycle(found: Mapping[str, Any], demo: Path = DEMO, to: Path = LIFECYCLE) -> None:
    """Write the document, with what the last demo has summed up, if there was one."""
    summary = json.loads(demo.read_text()) if demo.exists() else None
    to.parent.mkdir(exist_ok=True)
    to.write_text(json.dumps(lifecycle_document(found, summary), indent=1) + "\n")
