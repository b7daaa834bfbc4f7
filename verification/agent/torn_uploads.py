"""`python -m verification.agent.torn_uploads [TRIALS]`: checkpoint uploads, each cut off at a random byte.

An instance saves checkpoints. One upload, perhaps of a step that an earlier attempt has stored already, is cut off, and
the instance ends with it. The next instance restores. Both sides run the agent's own code. S3 keeps nothing of an
interrupted upload; the store of these trials is worse and keeps the beginning in half of them.
"""

from __future__ import annotations

import logging
import math
import random
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.checkpoint.restore import restore
from agent.checkpoint.upload import store_checkpoint
from agent.protocol.checkpoint_dir import folder_of
from chronos_ec2.domain.records.checkpoint import MANIFEST
from chronos_ec2.testing import Crash, MemoryTransfer
from verification.agent.cut_off import CutOffObjects
from verification.agent.figures import note

TRIALS = 200
_PREFIX = "dev/20260131T120000Z-1a2b3c/checkpoints/"
_MANIFEST_BYTES = 500
"""The manifest of these parts is at least as long: the cut is within the parts or the manifest."""
_PARTS = ("config.json", "model.safetensors", "optimizer.pt", "rng/rng_state.pth", "trainer_state.json")

Content = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class TornUploads:
    """The outcomes. Each trial counts once, in one of the fields below `trials`."""

    trials: int
    accepted_torn: int = 0
    """Restored a checkpoint that was never complete in the store."""
    resumed: int = 0
    """Restored the latest complete checkpoint."""
    restarted: int = 0
    """Restored none, because none was complete."""
    missed: int = 0
    """Restored an older checkpoint than the latest complete one, or none."""


def trial(seed: int, scratch: Path) -> str:
    """The outcome of one trial, a field of TornUploads."""
    random_ = random.Random(seed)
    objects = CutOffObjects(keeps_beginnings=random_.random() < 0.5)
    complete: dict[int, list[Content]] = {}
    """Every content that was stored completely, by step."""
    steps = [10 * (index + 1) for index in range(random_.randint(1, 4))]
    if random_.random() < 0.5:  # the next attempt, from an older checkpoint
        steps += [step for step in steps if step >= random_.choice(steps)]
    for index, step in enumerate(steps):
        content = {name: random_.randbytes(random_.choice((1, 40, 400))) for name in _PARTS}
        if step in complete:  # a step saved again mostly has the same sizes
            content = {name: random_.randbytes(len(body)) for name, body in complete[step][-1].items()}
        if index == len(steps) - 1:
            objects.left = random_.randrange(sum(map(len, content.values())) + _MANIFEST_BYTES)
        if not _stored(objects, scratch / f"instance-{index}", step, content):
            break
        complete.setdefault(step, []).append(content)
    objects.left = math.inf
    restored = _restored(objects, scratch / "next-instance")
    latest = _latest_complete(objects, complete)
    if restored is not None and restored not in chain.from_iterable(complete.values()):
        return "accepted_torn"
    if restored != latest:
        return "missed"
    return "resumed" if latest else "restarted"


def _stored(objects: CutOffObjects, workdir: Path, step: int, content: Content) -> bool:
    for name, body in content.items():
        path = folder_of(workdir, step) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    try:
        store_checkpoint(objects, MemoryTransfer(objects), _PREFIX, workdir, step, lambda _: None)
    except Crash:
        return False
    return True


def _restored(objects: CutOffObjects, target: Path) -> Content | None:
    target.mkdir()
    step = restore(objects, MemoryTransfer(objects), _PREFIX, target, lambda _: None, lambda: None)
    if step is None:
        return None
    folder = folder_of(target, step)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _latest_complete(objects: CutOffObjects, complete: dict[int, list[Content]]) -> Content | None:
    """The content of the latest step whose objects are exactly those of its last complete upload."""
    for step in sorted(complete, reverse=True):
        prefix = f"{_PREFIX}{step}/"
        names = {key.removeprefix(prefix) for key, _ in objects.keys(prefix)} - {MANIFEST}
        if {name: objects.body(prefix + name) for name in names} == complete[step][-1]:
            return complete[step][-1]
    return None


def run(trials: int) -> TornUploads:
    """Run the trials with seeds from 0."""
    outcomes: Counter[str] = Counter()
    for seed in range(trials):
        with TemporaryDirectory() as scratch:
            outcomes[trial(seed, Path(scratch))] += 1
    return TornUploads(trials, **outcomes)


if __name__ == "__main__":
    logging.getLogger("agent").setLevel(logging.ERROR)  # each torn checkpoint is a warning
    found = run(int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS)
    note("torn_uploads", asdict(found))
    print(found)
    sys.exit(found.accepted_torn + found.missed > 0)
