"""What a hostile instance writes: documents that lie, documents of others, and what is no document."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from chronos_ec2.domain.parsing.codec import MAX_DOCUMENT_BYTES
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status

_GARBAGE = (
    b"", b"{", b"null", b"NaN", b"[]", b'"\\ud800"', b"\xef\xbb\xbf{}", b"\xff\xfe\x00", b"[" * 20_000,
    b" " * (MAX_DOCUMENT_BYTES + 1), b'{"schema_version": 1}', b'{"schema_version": 1e999}',
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "\ud800", "\x1b[2J", "x" * 5000,
    "../../other", "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z", [], [[]] * 999, {}, {"": {}},
)  # fmt: skip
_NAMES = (
    "run.json", "training.json", "metrics.jsonl", "logs/agent.log", "logs/trainer.log", "logs/exit-report-1.txt",
    "logs/exit-report-2.txt", "checkpoints/1/manifest.json", "checkpoints/9/model.safetensors", "models/config.json",
    "eval/eval_metrics.json", "plots/loss.png", "forecasts/a.parquet",
    "forecasts.parquet", "tensorboard/events", "report.html",
)  # fmt: skip
_TEXTS = ("done", "", "\x1b]0;owned\x07", "a\r\nSubject: b", "<script>", "x" * 3000, "\u202e", "*bold* <https://a.b|c>")
_PHASES = (Status.INITIALIZATION, Status.DATA_SYNC, Status.TRAINING, Status.RESULTS_SYNC)
_TIMES = ("2026-01-31T12:00:00.000Z", "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z", "soon")


@dataclass(frozen=True, slots=True)
class Target:
    """An attempt of a run that an instance writes about."""

    run_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Writing:
    """One write: the name of the object below the prefix of its run, its content, and whether nobody can read it."""

    name: str
    body: bytes
    withheld: bool = False


class Writer:
    """Makes up what to write about an attempt. `ids` are instances, and `others` what else there is to copy."""

    def __init__(self, random: Random, ids: Callable[[], Sequence[str]], others: Callable[[], Sequence[bytes]]) -> None:
        self._random, self._ids, self._others = random, ids, others
        self._counter = 0
        self._kinds: tuple[Callable[[Target], Writing], ...] = (
            self._claim, self._claim, self._outcome, self._outcome, self._status, self._status, self._heartbeat,
            self._file,
        )  # fmt: skip

    def writing(self, target: Target) -> Writing:
        """Anything about an attempt; half of it can be read."""
        honest, kind = self._random.choice(self._kinds)(target), self._random.random()
        if kind < 0.05:
            return replace(honest, withheld=True)
        return honest if kind < 0.5 else replace(honest, body=self._spoilt(honest.body))

    def beat(self, target: Target, instance_id: str) -> Writing:
        """A sign of life as an agent of ours gives it, and of progress that never ends."""
        self._counter += 1
        return _beat(target, instance_id, Status.TRAINING, self._counter, 0.0)

    def _heartbeat(self, target: Target) -> Writing:
        random = self._random
        self._counter += random.choice((0, 1, 1000, 2**40))
        stalled = random.choice((0.0, 0.0, 0.0, 1e6))
        return _beat(target, random.choice(self._ids()), random.choice(tuple(Status)), self._counter, stalled)

    def _claim(self, target: Target) -> Writing:
        own = {"instance_id": self._random.choice(self._ids()), "boot_id": "boot", "nonce": self._nonce()}
        void = self._random.random() < 0.2
        return _document(f"claims/{target.attempt}.json", target, {"void": void} | ({} if void else own))

    def _outcome(self, target: Target) -> Writing:
        random = self._random
        cause = random.choice((*Cause, *[Cause.INFRA, Cause.PREEMPTED] * 5))
        truly = {Cause.COMPLETED: Outcome.SUCCEEDED, Cause.REQUESTED: Outcome.KILLED}.get(cause, Outcome.FAILED)
        return _document(f"outcomes/{target.attempt}.json", target, {
            "nonce": self._nonce(), "outcome": random.choice((truly, truly, truly, truly, *Outcome)),
            "cause": cause, "message": random.choice(_TEXTS), "decided_by": random.choice(tuple(DecidedBy)),
            "cleanup": None, "models": random.choice(({}, {"model.safetensors": "0" * 64}, {"../x": "0" * 64})),
        })  # fmt: skip

    def _status(self, target: Target) -> Writing:
        random = self._random
        phases = [{"status": status, "at": random.choice(_TIMES)} for status in _PHASES[: random.randrange(5)]]
        step = random.choice(("training", "launching", "x" * 99))
        return _document("status.json", target, {"step": step, "phases": phases})

    def _file(self, _target: Target) -> Writing:
        random = self._random
        return Writing(random.choice(_NAMES), random.choice(_TEXTS).encode() * random.choice((1, 500)))

    def _nonce(self) -> str:
        return f"{self._random.getrandbits(32):08x}"

    def _spoilt(self, body: bytes) -> bytes:
        """Garbage, somebody else's document, or this one with a field or some bytes changed."""
        random = self._random
        kind = random.randrange(5)
        if kind == 0:
            return random.choice(_GARBAGE)
        if kind == 1:
            return random.choice(self._others() or _GARBAGE)
        if kind == 2:
            at = random.randrange(len(body) + 1)
            return body[:at] + random.choice(_GARBAGE) + body[at + random.randrange(9) :]
        try:
            document = json.loads(body)
        except ValueError:
            return body[: len(body) // 2]
        document[random.choice(tuple(document))] = random.choice(_VALUES)
        return json.dumps(document).encode()


def _beat(target: Target, instance_id: str, status: Status, counter: int, stalled: float) -> Writing:
    return _document("heartbeat.json", target, {
        "instance_id": instance_id, "boot_id": "boot", "status": status, "counter": counter,
        "stalled_seconds": stalled, "step": counter, "total_steps": 0, "bytes_synced": 0, "loss": None,
        "trainer_pid": None, "checkpoint_age_seconds": 30.0, "gpu_utilisation": 100.0, "sent_at": "never",
    })  # fmt: skip


def _document(name: str, target: Target, content: dict[str, Any]) -> Writing:
    header = {"schema_version": 1, "run_id": target.run_id, "attempt": target.attempt}
    return Writing(name, json.dumps(header | content).encode())
