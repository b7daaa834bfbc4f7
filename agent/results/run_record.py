"""Collects the contents of run.json, what the run started with, and of training.json, how it went."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agent.data.dataset import DataSet
from agent.host.nvml import Gpu
from agent.preflight.checks import Check, as_documents, versions
from agent.results.schema import SCHEMA_VERSION
from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.parsing.codec import load_json
from chronos_ec2.domain.records.reports import Comparison
from chronos_ec2.domain.records.request import Request
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Status, Verdict
from chronos_ec2.worker.progress import Progress

_log = logging.getLogger(__name__)
_RESULT_FIELDS = (
    "steps", "best_step", "stopped_by", "parts", "processes", "stopped_early", "interruptions", "evaluation",
    "forecast", "comparison",
)  # fmt: skip
_RUN_SCHEMA_VERSION = 1


@dataclass
class RunRecord:
    """Filled in while the run is in progress. Phases have their duration in seconds, and the bytes moved in them."""

    request: Request
    progress: Progress
    monotonic: Callable[[], float] = time.monotonic
    phases: dict[str, dict[str, float]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    gpus: tuple[Gpu, ...] = ()
    retry_elsewhere: bool | None = None
    dataset: DataSet | None = None
    future: DataSet | None = None
    rows: int | None = None
    resumed_from: int | None = None
    result: dict[str, Any] = field(default_factory=dict)
    _running: tuple[dict[str, float], float, int] = field(default_factory=lambda: ({}, 0.0, 0))

    @contextmanager
    def phase(self, status: Status) -> Iterator[None]:
        """Measure a phase, even if it fails."""
        started, before = self.monotonic(), self.progress.snapshot().bytes_synced
        entry = self.phases[str(status)] = {}
        self._running = (entry, started, before)
        try:
            yield
        finally:
            self._measure()

    def _measure(self) -> None:
        entry, started, before = self._running
        entry["seconds"] = round(self.monotonic() - started, 3)
        entry["bytes"] = self.progress.snapshot().bytes_synced - before

    def run_document(self, run: Run, facts: Path) -> dict[str, Any]:
        """run.json: request, data, versions and hardware. `facts` is the file that the trainer writes at its start."""
        request = self.request
        return {
            "schema_version": _RUN_SCHEMA_VERSION,
            "run_id": run.run_id,
            "job": request.job,
            "parent": run.parent,
            "attempt": run.attempt,
            "instance_id": run.instance_id,
            "instance_type": run.instance_type,
            "market": request.market,
            "allow_cpu": request.allow_cpu,
            "commit": request.commit,
            "bundle_sha256": request.bundle_sha256,
            "code_sha256": request.code_sha256,
            "versions": versions(),
            "hardware": hardware(self.gpus),
            "preflight": as_documents(self.checks),
            "data": self.dataset.to_document() | {"rows": self.rows} if self.dataset else None,
            "future": self.future.to_document() if self.future else None,
            "models": [one.to_dict() for one in request.models],
            "training": _read_facts(facts),
            "config": dict(request.config),
        }

    @property
    def comparison(self) -> Comparison | None:
        """How the trained model compares with each other one, by the score that decides; None if not evaluated."""
        found = self.result.get("evaluation")
        if found is None:
            return None
        score, differences = found["verdict"]["by"], found["trained_minus"]
        highs = {name: one[score]["interval"][1] for name, one in differences.items()} if score else {}
        better_than = tuple(name for name, high in highs.items() if high is not None and high < 0)
        exported = found["exported"]
        return Comparison(exported, tuple(differences), better_than, found.get("selection", {}).get(exported))

    def training_document(self, run: Run, verdict: Verdict, model_uri: str | None = None) -> dict[str, Any]:
        """training.json. The current phase counts up to now."""
        self._measure()
        result = self.result
        return {
            "schema_version": SCHEMA_VERSION,
            "run_id": run.run_id,
            "job": run.job,
            "environment": run.lane.environment,
            "lane": run.lane.name,
            "attempt": run.attempt,
            "instance_id": run.instance_id,
            "instance_type": run.instance_type,
            "outcome": str(verdict.outcome),
            "cause": str(verdict.cause),
            "message": verdict.message,
            **({} if self.retry_elsewhere is None else {"retry_elsewhere": self.retry_elsewhere}),
            "trainer": self.request.config.get("trainer"),
            "model_uri": model_uri,
            "resumed_from_step": self.resumed_from,
            "metrics": result.get("metrics", {}),
            "phases": self.phases,
            "training_seconds": result.get("seconds", {}),
            **{name: result[name] for name in _RESULT_FIELDS if name in result},
        }


def _read_facts(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return load_json(path.read_bytes(), path.name)
    except InvalidDocument as error:
        _log.warning("omitted from run.json: %s", error)
        return {}


def hardware(gpus: tuple[Gpu, ...]) -> dict[str, Any]:
    """The hardware of the instance, memory in bytes. `gpus` were read before: the driver may hang by now."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "memory": memory,
        "kernel": platform.release(),
        "gpus": [asdict(one) for one in gpus],
    }
