"""`python -m verification.agent.torn_uploads [TRIALS]`: checkpoint uploads, each cut off at a random byte.

An instance saves checkpoints. One upload, perhaps of a step that an earlier attempt has stored already, is cut off, and
the instance ends with it. The next instance restores. Both sides run the agent's own code. S3 keeps nothing of an
interrupted upload; the store of these trials is worse and keeps the beginning in half of them.
"""

from __future__ import annotations

import logging
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.checkpoint.restore import restore
from agent.checkpoint.upload import store_checkpoint
from agent.protocol.checkpoint_dir import folder_of
from chronos_ec2.domain.records.checkpoint import MANIFEST
from chronos_ec2.ports import Source
from chronos_ec2.testing import Crash, MemoryAws, MemoryObjects, MemoryTransfer
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
    accepted_torn: int
    """Restored a checkpoint that was never complete in the store."""
    resumed: int
    """Restored the latest complete checkpoint."""
    restarted: int
    """Restored none, because none was complete."""
    missed: int
    """Restored an older checkpoint than the latest complete one, or none."""


class _FailingBucket:
    """A bucket, as store and as transfer, that crashes its client after `left` bytes."""

    def __init__(self, objects: MemoryObjects, keeps_beginnings: bool) -> None:
        self._objects = objects
        self._keeps_beginnings = keeps_beginnings
        self.left: int | None = None
        self.read, self.keys, self.body = objects.read, objects.keys, objects.body

    def write(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        del content_type
        if self.left is not None and self.left < len(body):
            if self._keeps_beginnings and self.left:
                self._objects.write(key, body[: self.left])
            raise Crash
        self.left = None if self.left is None else self.left - len(body)
        self._objects.write(key, body)

    def upload(self, path: Path, key: str, on_bytes: Callable[[int], None], *, expires: bool = False) -> None:
        del expires
        self.write(key, path.read_bytes())
        on_bytes(path.stat().st_size)

    def download_piece(self, key: str, path: Path, piece: range | None, on_bytes: Callable[[int], None]) -> Source:
        return MemoryTransfer(self._objects).download_piece(key, path, piece, on_bytes)


def trial(seed: int, scratch: Path) -> tuple[Content | None, dict[int, list[Content]], int | None]:
    """What was restored, every content stored completely, by step, and the latest step that still is complete."""
    random_ = random.Random(seed)
    bucket = _FailingBucket(MemoryAws().objects, random_.random() < 0.5)
    complete: dict[int, list[Content]] = {}
    steps = [10 * (index + 1) for index in range(random_.randint(1, 4))]
    if random_.random() < 0.5:  # the next attempt, from an older checkpoint
        steps += [step for step in steps if step >= random_.choice(steps)]
    for index, step in enumerate(steps):
        content = {name: random_.randbytes(random_.choice((1, 40, 400))) for name in _PARTS}
        if complete.get(step):  # a step saved again mostly has the same sizes
            content = {name: random_.randbytes(len(body)) for name, body in complete[step][-1].items()}
        if index == len(steps) - 1:
            bucket.left = random_.randrange(sum(map(len, content.values())) + _MANIFEST_BYTES)
        if not _stored(bucket, scratch / f"instance-{index}", step, content):
            break
        complete.setdefault(step, []).append(content)
    bucket.left = None
    target = scratch / "next-instance"
    target.mkdir(parents=True)
    restored = restore(bucket, bucket, _PREFIX, target, lambda _: None, lambda: None)  # type: ignore[arg-type]
    return (_read(folder_of(target, restored)) if restored else None), complete, _latest_complete(bucket, complete)


def _stored(bucket: _FailingBucket, workdir: Path, step: int, content: Content) -> bool:
    for name, body in content.items():
        path = folder_of(workdir, step) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    try:
        store_checkpoint(bucket, bucket, _PREFIX, workdir, step, lambda _: None)  # type: ignore[arg-type]
    except Crash:
        return False
    return True


def _latest_complete(bucket: _FailingBucket, complete: dict[int, list[Content]]) -> int | None:
    """The latest step whose objects are exactly those of its last complete upload."""
    for step in sorted(complete, reverse=True):
        prefix = f"{_PREFIX}{step}/"
        names = {key.removeprefix(prefix) for key, _ in bucket.keys(prefix)} - {MANIFEST}
        if {name: bucket.body(prefix + name) for name in names} == complete[step][-1]:
            return step
    return None


def _read(folder: Path) -> Content:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(trials: int) -> TornUploads:
    """Run the trials with seeds from 0."""
    outcomes: Counter[str] = Counter()
    for seed in range(trials):
        with TemporaryDirectory() as scratch:
            restored, complete, latest = trial(seed, Path(scratch))
        if restored is not None and all(restored != content for contents in complete.values() for content in contents):
            outcomes["accepted_torn"] += 1
        elif restored != (complete[latest][-1] if latest else None):
            outcomes["missed"] += 1
        else:
            outcomes["resumed" if latest else "restarted"] += 1
    return TornUploads(trials, **{spec.name: outcomes[spec.name] for spec in fields(TornUploads)[1:]})


if __name__ == "__main__":
    logging.getLogger("agent").setLevel(logging.ERROR)  # each torn checkpoint is a warning
    found = run(int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS)
    note("torn_uploads", asdict(found))
    sys.stdout.write(f"{found}\n")
    sys.exit(found.accepted_torn + found.missed > 0)
