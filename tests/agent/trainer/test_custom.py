"""Custom trainers: from the file next to the configuration to a model in the bucket."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from agent.data.trainer_code import fetch_code
from agent.errors import RunFailed
from agent.lifecycle import FAILED, SUCCEEDED, run_agent
from agent.protocol.workdir import Workdir
from agent.results.schema import problems
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.records.s3_keys import code_key, run_key
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.publish.trainer import MAX_CODE_BYTES, MAX_CODE_FILES, MAX_UNPACKED_BYTES, pack, publish_code
from chronos_ec2.testing import MemoryAws
from chronos_ec2.worker.control import Control
from tests.agent.builders import (
    RUN_ID,
    World,
    a_config,
    a_workdir,
    an_identity,
    launch,
    put_toy_series,
    the_run,
    toy_series,
)
from tests.agent.supervise.test_supervisor import Supervised

EXAMPLE = Path(__file__).parents[3] / "examples" / "custom_trainer"
SEASONAL_MEAN = {"trainer": "seasonal_mean:SeasonalMean", "options": {"seasons": 2}}


def a_config_file(tmp_path: Path, **modules: str) -> Path:
    """The path of a configuration, with modules next to it."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    return folder / "train.yaml"


def fetch_archive(supervised: Supervised, archive: bytes) -> None:
    objects, sha256 = MemoryAws().objects, hashlib.sha256(archive).hexdigest()
    objects.write(code_key(sha256), archive)
    fetch_code(objects, sha256, supervised.workdir.code)


def run_the_agent(world: World, workdir: Workdir) -> int:
    return run_agent(world, "bucket", an_identity(), workdir, Control())


def test_a_custom_trainer_writes_its_model_and_metrics(tmp_path: Path) -> None:
    world = World()
    put_toy_series(world, tmp_path)
    code = publish_code("seasonal_mean", EXAMPLE / "train.yaml", world.store)
    launch(world, a_config(**SEASONAL_MEAN), code_sha256=code)

    assert run_the_agent(world, a_workdir(tmp_path)) == SUCCEEDED

    assert {"models/seasonal_means.parquet", "plots/loss.png", "metrics.jsonl", "training.json"} < world.names()
    assert not any("LICENSE" in name for name in world.names())
    document = world.document("training.json")
    assert (document["trainer"], document["steps"]) == (SEASONAL_MEAN["trainer"], 12)
    assert world.document("run.json")["training"] == {"device": "cpu", "series": 12, "parameters": 72}
    assert world.document("run.json")["code_sha256"] == code
    assert problems(document) == []
    model = world.memory.objects.body(run_key("dev", RUN_ID, "models/seasonal_means.parquet"))
    means = np.stack([column.to_numpy() for column in pq.read_table(io.BytesIO(model)).columns[1:]], axis=1)
    values = toy_series()["target"].to_numpy().reshape(12, 60)
    assert means == pytest.approx(values[:, 42:54].reshape(12, 2, 6).mean(axis=1), rel=1e-6)
    error, scale = np.abs(means - values[:, 54:]).mean(axis=1), np.abs(values[:, 6:54] - values[:, :48]).mean(axis=1)
    assert document["metrics"] == {"mase": pytest.approx((error / scale).mean(), rel=1e-5)}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import nowhere_to_be_found",
            r"own cannot be imported: ModuleNotFoundError: .*'nowhere.*' \(own.py, line 1\)",
        ),
        ("x = 1\nif x", r"own cannot be imported: SyntaxError: "),
        ("class Other: ...", "own has no class Mine"),
        ("Mine = 3", "own has no class Mine"),
        ("class Mine: ...", r"Mine has no __init__\(self, config\)"),
        ("class Mine:\n def __init__(self, config): ...", r"Mine has no train\(self, workdir, metrics, stop\)"),
        (
            "class Mine:\n def __init__(self, config): ...\n def train(self, workdir): ...",
            r"Mine has no train\(self, workdir, metrics, stop\)",
        ),
        (
            "class Mine:\n def __init__(self, config): ...\n def train(self, workdir, metrics, stop): ...",
            "own:Mine returned NoneType instead of a mapping",
        ),
        (
            "class Mine:\n def __init__(self, c): ...\n def train(self, w, m, s): return {'mase': float('nan')}",
            "own:Mine returned a result that is not JSON",
        ),
        (
            "class Mine:\n def __init__(self, c): ...\n def train(self, w, m, s):\n  raise RuntimeError('my own bug')",
            "the trainer failed: RuntimeError: my own bug",
        ),
    ],
)
def test_an_error_in_it_is_reported_in_one_line(tmp_path: Path, code: str, message: str) -> None:
    supervised = Supervised(tmp_path, a_config(trainer="own:Mine"))
    fetch_archive(supervised, pack("own", a_config_file(tmp_path, own=code).parent))
    with pytest.raises(RunFailed, match=message) as caught:
        supervised.run()
    assert caught.value.verdict.cause is Cause.USER_CODE
    assert "\n" not in caught.value.verdict.message


def test_the_name_of_an_installed_module_is_refused(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, a_config(trainer="json:Mine"))
    fetch_archive(supervised, pack("json", a_config_file(tmp_path, json="class Mine: ...").parent))
    with pytest.raises(RunFailed, match=r"json is the name of another installed module \(rename yours\)"):
        supervised.run()


def test_a_file_beside_it_shadows_no_module_of_python_or_the_agent(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, a_config(trainer="mine:Trainer"))
    supervised.workdir.code.mkdir()
    (supervised.workdir.code / "mine.py").write_text(
        "class Trainer:\n"
        "    def __init__(self, config): pass\n"
        "    def train(self, workdir, metrics, stop):\n"
        "        import colorsys, agent.plots\n"
        "        return {'mine': 'code' in colorsys.__file__}\n"
    )
    for name in ("colorsys.py", "agent.py"):
        (supervised.workdir.code / name).write_text("raise SystemExit('the wrong one')\n")
    assert supervised.run() == {"mine": False}


def test_a_package_is_uploaded_without_byte_code(tmp_path: Path) -> None:
    package = tmp_path / "mine"
    shutil.copytree(EXAMPLE, package / "models")
    (package / "__init__.py").write_text("from mine.models.seasonal_mean import SeasonalMean\n")
    (package / "models" / "__pycache__").mkdir(exist_ok=True)
    (package / "models" / "__pycache__" / "x.pyc").write_bytes(b"x")
    supervised = Supervised(tmp_path, a_config(trainer="mine:SeasonalMean"))
    pq.write_table(toy_series(), supervised.workdir.data / "toy.parquet")
    fetch_archive(supervised, pack("mine", tmp_path))
    assert not list(supervised.workdir.code.rglob("*.pyc"))
    assert supervised.run()["steps"] == 12


def test_code_is_named_by_its_hash(tmp_path: Path) -> None:
    store, config = RunStore(MemoryAws().objects), a_config_file(tmp_path, own="x = 1")
    first = publish_code("own", config, store)
    os.utime(config.parent / "own.py", (10**9, 10**9))
    assert publish_code("own", config, store) == first
    (config.parent / "own.py").write_text("x = 2")
    assert publish_code("own", config, store) != first
    assert publish_code(None, config, store) is None


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (None, r"no own\.py in .*, where the configuration is, nor own/__init__\.py"),
        (MAX_CODE_BYTES, "packs to more than 8 MiB"),
    ],
)
def test_code_that_cannot_be_packed_is_refused_at_the_launch(tmp_path: Path, size: int | None, message: str) -> None:
    config = a_config_file(tmp_path)
    if size is not None:
        (config.parent / "own.py").write_bytes(np.random.default_rng(0).bytes(size))
    with pytest.raises(InvalidInput, match=message):
        pack("own", config.parent)


def test_code_that_becomes_too_large_is_refused_at_the_launch(tmp_path: Path) -> None:
    config = a_config_file(tmp_path, own="")
    os.truncate(config.parent / "own.py", MAX_UNPACKED_BYTES + 1)
    with pytest.raises(InvalidInput, match="own has more than 5,000 files or 64 MiB"):
        pack("own", config.parent)


@pytest.mark.parametrize(("files", "size"), [(1, MAX_UNPACKED_BYTES + 1), (MAX_CODE_FILES + 1, 0)])
def test_an_archive_that_becomes_too_large_is_not_unpacked(tmp_path: Path, files: int, size: int) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for number in range(files):
            packed.writestr(f"own{number}.py", bytes(size))
    objects, sha256 = MemoryAws().objects, hashlib.sha256(archive.getvalue()).hexdigest()
    objects.write(code_key(sha256), archive.getvalue())
    with pytest.raises(RunFailed, match="too large once it is unpacked"):
        fetch_code(objects, sha256, tmp_path / "code")
    assert not (tmp_path / "code").exists()


def test_a_configuration_in_the_bucket_cannot_bring_code() -> None:
    with pytest.raises(InvalidInput, match=r"module own must be beside a configuration \(give --config FILE\)"):
        publish_code("own", None, RunStore(MemoryAws().objects))


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_code_that_changed_since_the_launch_does_not_run(tmp_path: Path, change: str) -> None:
    world = World()
    put_toy_series(world, tmp_path)
    code = publish_code("seasonal_mean", EXAMPLE / "train.yaml", world.store)
    assert code is not None
    launch(world, a_config(**SEASONAL_MEAN), code_sha256=code)
    if change == "gone":
        world.memory.objects.remove(code_key(code))
    else:
        world.memory.objects.write(code_key(code), b"something else")
    assert run_the_agent(world, a_workdir(tmp_path)) == FAILED
    verdict = the_run(world).verdict
    assert verdict is not None
    assert (verdict.cause, "launch again" in verdict.message) == (Cause.USER_CODE, True)
    assert "logs/trainer.log" not in world.names()
