"""`python -m verification.agent.torn_uploads [TRIALS]`: uploads of checkpoints, each cut off at a random byte.

A box saves checkpoints; one of its uploads, perhaps of a step that an earlier attempt has stored already, ends at some
byte, and the box with it. The next box then restores. The agent's own code works on both sides. The store is worse than
S3, which keeps nothing of an object whose upload was cut off: in half of the trials it keeps the beginning.
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

from agent.checkpoint.manifest import MANIFEST
from agent.checkpoint.restore import restore
from agent.checkpoint.upload import store_checkpoint
from agent.protocol.checkpoint_dir import folder_of
from chronos_ec2.ports import Source
from chronos_ec2.testing import Crash, MemoryAws, MemoryObjects, MemoryTransfer
from verification.agent.figures import note

TRIALS = 200
_PREFIX = "dev/20260131T120000Z-1a2b3c/checkpoints/"
_MANIFEST_BYTES = 500
"""No manifest of these parts is shorter: the upload is cut off within them or within it."""
_PARTS = ("config.json", "model.safetensors", "optimizer.pt", "rng/rng_state.pth", "trainer_state.json")

Content = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Found:
    """What the trials came to. Every one is counted once, below `trials`."""

    trials: int
    accepted_torn: int
    """Restored what was never whole in the store."""
    resumed: int
    """From the newest checkpoint that was whole."""
    began_anew: int
    """Because none was whole."""
    missed: int
    """Restored an older one than it could have, or none."""


class _FailingBucket:
    """A bucket, as store and as transfer, whose box dies after so many bytes."""

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
    """What was restored, every content that was stored whole by step, and the newest step that still is."""
    random_ = random.Random(seed)
    bucket = _FailingBucket(MemoryAws().objects, random_.random() < 0.5)
    whole: dict[int, list[Content]] = {}
    steps = [10 * (index + 1) for index in range(random_.randint(1, 4))]
    if random_.random() < 0.5:  # the next attempt, from an older checkpoint on
        steps += [step for step in steps if step >= random_.choice(steps)]
    for index, step in enumerate(steps):
        content = {name: random_.randbytes(random_.choice((1, 40, 400))) for name in _PARTS}
        if whole.get(step):  # what is saved again has mostly the same sizes
            content = {name: random_.randbytes(len(body)) for name, body in whole[step][-1].items()}
        if index == len(steps) - 1:
            bucket.left = random_.randrange(sum(map(len, content.values())) + _MANIFEST_BYTES)
        if not _stored(bucket, scratch / f"box-{index}", step, content):
            break
        whole.setdefault(step, []).append(content)
    bucket.left = None
    target = scratch / "next-box"
    target.mkdir(parents=True)
    restored = restore(bucket, bucket, _PREFIX, target, lambda _: None, lambda: None)  # type: ignore[arg-type]
    return (_read(folder_of(target, restored)) if restored else None), whole, _newest_whole(bucket, whole)


def _stored(bucket: _FailingBucket, box: Path, step: int, content: Content) -> bool:
    for name, body in content.items():
        path = folder_of(box, step) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    try:
        store_checkpoint(bucket, bucket, _PREFIX, box, step, lambda _: None)  # type: ignore[arg-type]
    except Crash:
        return False
    return True


def _newest_whole(bucket: _FailingBucket, whole: dict[int, list[Content]]) -> int | None:
    """The newest step whose objects are exactly what some upload of it, finished, has left."""
    for step in sorted(whole, reverse=True):
        prefix = f"{_PREFIX}{step}/"
        names = {key.removeprefix(prefix) for key, _ in bucket.keys(prefix)} - {MANIFEST}
        if {name: bucket.body(prefix + name) for name in names} == whole[step][-1]:
            return step
    return None


def _read(folder: Path) -> Content:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(trials: int) -> Found:
    """All trials, the first with seed 0."""
    outcomes: Counter[str] = Counter()
    for seed in range(trials):
        with TemporaryDirectory() as scratch:
            restored, whole, newest = trial(seed, Path(scratch))
        if restored is not None and all(restored != content for contents in whole.values() for content in contents):
            outcomes["accepted_torn"] += 1
        elif restored != (whole[newest][-1] if newest else None):
            outcomes["missed"] += 1
        else:
            outcomes["resumed" if newest else "began_anew"] += 1
    return Found(trials, **{spec.name: outcomes[spec.name] for spec in fields(Found)[1:]})


if __name__ == "__main__":
    logging.getLogger("agent").setLevel(logging.ERROR)  # each torn checkpoint is a warning
    found = run(int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS)
    note("torn_uploads", asdict(found))
    sys.stdout.write(f"{found}\n")
    sys.exit(found.accepted_torn + found.missed > 0)
