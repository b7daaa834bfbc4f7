"""A training on nothing but torch and the packages that travel: does the lock lack anything that training needs?

The image is played by this machine's Python without its packages, and a folder with torch and what torch itself needs.
There is no torch here for the image's Python, so the lock is resolved once more, for this one: the same versions.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib import metadata
from io import BytesIO
from pathlib import Path

from packaging.requirements import Requirement

from chronos_ec2.services.publish.agent import build_bundle

_TRAIN = """
import json, sys
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from agent import plots
from agent.trainer import __main__ as trainer
from agent.protocol.workdir import Workdir

workdir = Workdir(Path(sys.argv[1]))
workdir.create()
steps = np.tile(np.arange(60), 4)
pq.write_table(pa.table({
    "item_id": np.repeat(["a", "b", "c", "d"], 60).tolist(),
    "timestamp": (np.datetime64("2024-01-01") + steps).astype("datetime64[ms]"),
    "target": 10 + np.sin(steps),
}), workdir.data / "part.parquet")
shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "patch": 6}
workdir.config.write_text(json.dumps({
    "data": {"path": "training-data/toy/"}, "prediction_length": 6, "context_length": 24,
    "model": {"from_scratch": shape}, "training": {"steps": 10, "batch_size": 4},
}))
import agent.__main__  # what the agent itself imports
sys.exit(trainer.main(["--workdir", str(workdir.root)]))
"""


def trains(packages: Path, scratch: Path) -> bool:
    """Whether the agent's trainer trains a tiny Chronos-2 there, with what pip put into `packages`."""
    image, bundle = scratch / "image", scratch / "bundle"
    image.mkdir()
    for name in sorted(set(_files_of("torch"))):
        (image / name).symlink_to(Path(str(metadata.distribution("torch").locate_file(name))))
    with tarfile.open(fileobj=BytesIO(build_bundle(packages_in_image=True))) as archive:
        archive.extractall(bundle)  # noqa: S202 - made here
    # -S: without this environment's own packages.
    done = subprocess.run(
        [sys.executable, "-S", "-c", _TRAIN, str(scratch / "work")],
        env={"PYTHONPATH": f"{bundle}:{packages}:{image}", "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    return done.returncode == 0 and (scratch / "work" / "result.json").is_file()


def _files_of(package: str) -> Iterator[str]:
    """The top-level names of a package and of everything that it needs."""
    found = metadata.distribution(package)
    yield from (path.parts[0] for path in found.files or () if path.parts[0] not in {"..", "__pycache__"})
    for text in found.requires or ():
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            yield from _files_of(needed.name)
