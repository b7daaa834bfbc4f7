"""The trainer's side of the protocol between agent and trainer: lines of metrics, a result, signals, a shared death.

SIGTERM asks for an end, SIGUSR1 for a checkpoint, SIGUSR2 for the stacks of all threads on stderr. The agent sends the
latter two only after the first line of metrics: a process that does not listen yet would die of them.

Every line of `metrics.jsonl` is a JSON object, and a sign of work. A step has `step`, `total_steps`, and now and then
`loss`, `lr`, `steps_per_second` since the first step, and other numbers (docs/training.md). The rest are events:
`loading` (`done`, `total` while data are read), `began` (`step`: training goes on from there), `checkpoint` (`step`,
and `best` if none was better), `short_of_time` (`step`, `expected`, `total_steps`), `evaluating` (`done`, `total`).
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from chronos_ec2.domain.errors import UserError
from chronos_ec2.domain.parsing.names import one_line

USER_ERROR = 2
"""Exit code of a trainer that ends because of what it was given; the last line on stderr says what."""
NOT_FINITE = 3
"""Exit code of a trainer whose loss is not a number any more; the last line on stderr says where."""
_PR_SET_PDEATHSIG = 1
_STEP_LINE_SECONDS = 1.0


class StoppedEarly(Exception):
    """SIGTERM was obeyed outside the training loop."""


class LossNotFinite(Exception):
    """The training diverged: there is nothing to go on with. The text says at which step."""


class StopSignal:
    """SIGTERM, remembered until the work can stop, and SIGUSR1, until it can save.

    `ends_at` is when the agent will ask for the end at the latest, for deadline or price, by `time.monotonic()`.
    """

    def __init__(self, ends_at: float = math.inf) -> None:
        self.ends_at = ends_at
        self.asked = False
        self._save_asked = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGUSR1, self._ask_to_save)

    def check(self) -> None:
        """Raises StoppedEarly when a stop was asked for."""
        if self.asked:
            raise StoppedEarly

    def take_save_request(self) -> bool:
        """Whether a checkpoint is wanted now; true once for each time that it was asked for."""
        asked, self._save_asked = self._save_asked, False
        return asked

    def _ask_to_save(self, _signum: int, _frame: FrameType | None) -> None:
        self._save_asked = True

    def _ask(self, _signum: int, _frame: FrameType | None) -> None:
        self.asked = True


class Metrics:
    """Appends lines to `metrics.jsonl`, each one whole and flushed, because the agent reads while we write."""

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._file = path.open("a", encoding="utf-8")
        if path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            # The last line of one that was killed while it wrote; ours shall not be part of it.
            self._file.write("\n")
        self._monotonic = monotonic
        self._rate_since: tuple[float, int] | None = None
        self._last_line = -math.inf

    def event(self, name: str, **details: Any) -> None:
        """Something other than a step was done."""
        self._append({"event": name, **details})

    def step(
        self, step: int, total_steps: int, loss: float | None = None, lr: float | None = None, **gauges: float
    ) -> None:
        """A step was done. Steps without a loss are written at most once a second; further numbers go with a loss."""
        now = self._monotonic()
        since, at = self._rate_since or (now, step)
        if self._rate_since is None:
            self._rate_since = (now, step)
        last = step >= total_steps
        if loss is None and not last and now - self._last_line < _STEP_LINE_SECONDS:
            return
        self._last_line = now
        line: dict[str, Any] = {"step": step, "total_steps": total_steps}
        if loss is not None:
            line |= {"loss": _finite(loss), "lr": lr} | {name: _finite(value) for name, value in gauges.items()}
        if now > since:
            line["steps_per_second"] = round((step - at) / (now - since), 3)
        self._append(line)

    def close(self) -> None:
        """No more lines."""
        self._file.close()

    def _append(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()


def _finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write `facts.json` or `result.json` in one piece: it is there whole or not at all."""
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(document, allow_nan=False, indent=1))
    draft.replace(path)


def explained(error: UserError | LossNotFinite) -> int:
    """Say what was wrong as the last line on stderr; the exit code that goes with it."""
    sys.stderr.write(one_line(str(error)) + "\n")
    return NOT_FINITE if isinstance(error, LossNotFinite) else USER_ERROR


def show_stacks_when_asked() -> None:
    """Have SIGUSR2 write the stacks of all threads to stderr, also while the interpreter waits for C code."""
    faulthandler.register(signal.SIGUSR2, all_threads=True)


def raise_oom_score() -> None:
    """When memory runs out, the kernel shall kill the trainer: the agent has to live to say what happened."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the agent dies, however it dies. Exits when it has died already.

    Called by the child itself: a `preexec_fn` would run Python between fork and exec of a process with threads. The
    kernel watches the thread that forked, which is the agent's main thread and lives as long as the agent.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("the agent is gone")
