"""The trainer's side of the protocol with its agent: signals, exit codes, documents, and dying with the agent.

SIGTERM asks for an end, SIGUSR1 for a checkpoint, SIGUSR2 for the stacks of all threads on stderr. The agent sends the
last two only after the first line of `metrics.jsonl`: before its handlers are installed they would kill the process.
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
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from chronos_ec2.domain.errors import UserError
from chronos_ec2.domain.parsing.names import one_line

USER_ERROR = 2
"""Exit code for invalid input; the last line on stderr says what is wrong."""
NOT_FINITE = 3
"""Exit code for a loss of NaN or infinity; the last line on stderr says at which step."""
_PR_SET_PDEATHSIG = 1


class StoppedEarly(Exception):
    """SIGTERM ended work outside the training loop."""


class LossNotFinite(Exception):
    """The training diverged and cannot continue. The text says at which step."""


class StopSignal:
    """Remembers SIGTERM until the work can stop, and SIGUSR1 until it can save.

    By `ends_at`, in `time.monotonic()` seconds, the agent will send SIGTERM because of the deadline or the price cap.
    """

    def __init__(self, ends_at: float = math.inf) -> None:
        self.ends_at = ends_at
        self.asked = False
        self._save_asked = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGUSR1, self._ask_to_save)

    def check(self) -> None:
        """Raise StoppedEarly after a SIGTERM."""
        if self.asked:
            raise StoppedEarly

    def take_save_request(self) -> bool:
        """Whether a checkpoint was requested since the last call."""
        asked, self._save_asked = self._save_asked, False
        return asked

    def _ask_to_save(self, _signum: int, _frame: FrameType | None) -> None:
        self._save_asked = True

    def _ask(self, _signum: int, _frame: FrameType | None) -> None:
        self.asked = True


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write `facts.json` or `result.json` atomically."""
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(document, allow_nan=False, indent=1))
    draft.replace(path)


def report_error(error: UserError | LossNotFinite) -> int:
    """Write the error as the last line on stderr, and return its exit code."""
    sys.stderr.write(one_line(str(error)) + "\n")
    return NOT_FINITE if isinstance(error, LossNotFinite) else USER_ERROR


def dump_stacks_on_signal() -> None:
    """Make SIGUSR2 write the stacks of all threads to stderr, even while the interpreter waits for C code."""
    # The handler that faulthandler restores when the interpreter exits: by default the signal would kill the process.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    faulthandler.register(signal.SIGUSR2, all_threads=True)


def raise_oom_score() -> None:
    """Make the kernel kill the trainer first when memory runs out: the agent must survive to report it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the agent dies (PR_SET_PDEATHSIG in prctl(2)). Exit if it is dead already.

    The child calls this itself: a `preexec_fn` would run Python between fork and exec in a process with threads. The
    kernel watches the thread that forked: the agent's main thread, which lives as long as the agent.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("the agent is gone")
