"""The environment in which the commands run: moto with a deployed stack, a run that failed, and one that is active."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from chronos_ec2.aws.clients import client, forget_credentials
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Verdict
from chronos_ec2.model_registry import Registry
from chronos_ec2.ports import ObjectStore
from chronos_ec2.testing.aws_server import BUCKET, deploy_outputs, forget_everything, moto_server, store
from chronos_ec2.testing.aws_snapshot import bring_back, keep
from chronos_ec2.testing.builders import NOW, a_run
from verification.cli.invoke import new_session
from verification.cli.proxy import Proxy, proxy_before

FAILED, ACTIVE = "20260131T100000Z-00000a", "20260131T110000Z-00000b"
TRAINED, BEST = "20260131T080000Z-00000c", "20260131T090000Z-00000d"
_DATA = "data: {path: training-data/sales/}\nprediction_length: 6\n"
_CONFIG = f"{_DATA}model: {{from_scratch: {{}}}}\n"
_MODEL = {"config.json": b'{"chronos_config": {"context_length": 512}}', "model.safetensors": b"weights" * 100}
_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
_KEPT = ("PATH", "HOME", "PYTHONPATH", "VIRTUAL_ENV", "OMP_NUM_THREADS", "TMPDIR")


_FRESH_SECONDS = 300.0
"""For how long a run that is being launched is not overdue."""


@dataclass
class World:
    """Where a command is run. `outputs` are the stack's."""

    proxy: Proxy
    folder: Path
    outputs: Mapping[str, str] = field(default_factory=dict)
    _kept: bytes = b""
    _made: float = 0.0

    def renew(self) -> None:
        """Make AWS as new, whatever a command has left in it."""
        if time.monotonic() - self._made < _FRESH_SECONDS:
            forget_everything(self.proxy.aws)
            bring_back(self._kept)
            return
        self.outputs = _made_anew(self)
        self._kept, self._made = keep(), time.monotonic()

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of somebody who has everything right."""
        return {name: os.environ[name] for name in _KEPT if name in os.environ} | {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_ENDPOINT_URL": self.proxy.endpoint,
            "HF_ENDPOINT": "http://127.0.0.1:9",
        }


@contextmanager
def world_in(folder: Path) -> Iterator[World]:
    """A world with its files in a folder, which becomes the working folder."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
    _write_files(folder)
    before = Path.cwd()
    with moto_server() as aws, proxy_before(aws) as proxy:
        os.chdir(folder)
        try:
            world = World(proxy, folder)
            world.renew()
            yield world
        finally:
            os.chdir(before)


def _made_anew(world: World) -> dict[str, str]:
    """Deploy a stack and put runs into its bucket. Returns the outputs of the stack."""
    aws = world.proxy.aws
    kept = dict(os.environ)
    os.environ |= world.variables | {"AWS_ENDPOINT_URL": aws}
    new_session()
    forget_everything(aws)
    deploy_outputs()
    _put_runs()
    found = client("cloudformation").describe_stacks(StackName="chronos-ec2-dev")["Stacks"][0]["Outputs"]
    forget_credentials()
    os.environ.clear()
    os.environ |= kept
    return {each["OutputKey"]: each["OutputValue"] for each in found}


def _put_runs() -> None:
    client("s3").put_object(Bucket=BUCKET, Key="cached-datasets/dev/training-data/sales/a.parquet", Body=b"PAR1PAR1")
    verdict = Verdict(Outcome.FAILED, Cause.USER_CODE, "the loss is not a number “nan” …", DecidedBy.AGENT)
    failed = a_run(run_id=FAILED, lane=Lane("dev", "spare")).end(verdict, NOW)
    objects = store().objects
    objects.write(run_key("dev", FAILED, "state.json"), failed.to_json())
    objects.write(run_key("dev", FAILED, "logs/agent.log"), "claimed\nstep 1 …\n".encode(), "text/plain")
    registry = Registry("dev", objects)
    for run_id in (TRAINED, BEST):
        _put_model(objects, run_id, registry)
    ends = NOW + timedelta(days=3650)
    store().create_lock(a_run(run_id=ACTIVE, lane=Lane("dev", "busy"), instance_id=None, deadline=ends))


def _put_model(objects: ObjectStore, run_id: str, registry: Registry) -> None:
    """A run that has succeeded, with the model that it left, which is the champion from now on."""
    verdict = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "trained", DecidedBy.AGENT)
    files = tuple((name, hashlib.sha256(body).hexdigest()) for name, body in _MODEL.items())
    run = replace(a_run(run_id=run_id).end(verdict, NOW), models=files)
    objects.write(run_key("dev", run_id, "state.json"), run.to_json())
    for name, body in _MODEL.items():
        objects.write(run_key("dev", run_id, f"models/{name}"), body, "application/octet-stream")
    registry.promote("default", run, "by hand", NOW)


def _write_files(folder: Path) -> None:
    (folder / "train.yaml").write_text(_CONFIG)
    for name, body in {"sales": b"PAR1data-PAR1", "empty": b"", "none": None}.items():
        (folder / name).mkdir()
        if body is not None:
            (folder / name / "a.parquet").write_bytes(body)
    for name, text in {
        "grid.yaml": "base: train.yaml\nvalues: {training.steps: [1, 2]}\n",
        "not-yaml.yaml": "a: [",
        "a-list.yaml": "- a\n- b\n",
        "empty.yaml": "",
        "nul.yaml": "\0",
        "unknown-key.yaml": _CONFIG + "training: {step: 5}\n",
        "wrong-type.yaml": _CONFIG.replace("6", "six"),
        "no-data.yaml": "prediction_length: 6\n",
        "outside.yaml": _CONFIG.replace("training-data/sales/", "../dev/"),
        "no-such-data.yaml": _CONFIG.replace("sales", "nothing"),
        "own-trainer.yaml": "trainer: 'mine:Mine'\n" + _CONFIG,
        "infinite.yaml": _CONFIG + "training: {learning_rate: .inf}\n",
        "deep.yaml": "[" * 2000,
        "not-json.json": "tick",
    }.items():
        (folder / name).write_text(text)
    _write_tables(folder)
    (folder / "latin-1.yaml").write_bytes("data: {path: größe/}".encode("latin-1"))
    (folder / "loop.yaml").symlink_to("loop.yaml")
    for kind in ("yaml", "csv"):
        os.mkfifo(folder / f"fifo.{kind}")
        (folder / f"zero.{kind}").symlink_to("/dev/zero")
        (folder / f"pointer.{kind}").write_bytes(_POINTER)
    (folder / "huge.yaml").touch()
    os.truncate(folder / "huge.yaml", 1 << 40)
    (folder / "a-file").write_text("x")
    (folder / os.fsdecode(b"caf\xe9.yaml")).write_text(_CONFIG)
    (folder / os.fsdecode(b"caf\xe9")).mkdir()


def _write_tables(folder: Path) -> None:
    """Data sets as people have them, good and bad."""
    days = [f"2026-01-{day:02d}" for day in range(1, 29)]
    rows = [f"{shop},{day},{index * 2 + len(shop)}" for shop in ("north", "south") for index, day in enumerate(days)]
    header = "item_id,timestamp,target"
    good = "\n".join([header, *rows]) + "\n"
    long_name = "n" * 5000
    for name, body in {
        "good.csv": good.encode(),
        "windows.csv": b"\xef\xbb\xbf" + good.replace("\n", "\r\n").encode(),
        "latin-1.csv": good.replace("north", "n\xf6rd").encode("latin-1"),
        "utf-16.csv": good.encode("utf-16"),
        "nul.csv": good.replace("north", "no\0rth").encode(),
        "control.csv": good.replace("north", "no\x1b[31mrth\x07").encode(),
        "long-id.csv": good.replace("north", long_name).encode(),
        "long-header.csv": good.replace("target", long_name).encode(),
        "header.csv": header.encode(),
        "empty.csv": b"",
        "semicolons.csv": good.replace(",", ";").encode(),
        "ragged.csv": good.replace("2026-01-02,", "2026-01-02,,,").encode(),
        "quote.csv": good.replace("north", '"north').encode(),
        "gaps.csv": "\n".join([header, *rows[::3]]).encode(),
        "words.csv": good.replace("2026-01-05", "last Monday").encode(),
        "damaged.parquet": b"PAR1damagedPAR1",
        "damaged.feather": b"ARROW1\0\0damagedARROW1",
        "pointer.parquet": _POINTER,
    }.items():
        (folder / name).write_bytes(body)
    for name, text in {
        "forecast.yaml": "job: forecast\nmodel: champion\n" + _DATA,
        "evaluate.yaml": "job: evaluate\nmodels: [champion]\n" + _DATA,
        "forecast-many.yaml": "job: forecast\nmodel: [a, b]\n" + _DATA,
        "evaluate-none.yaml": "job: evaluate\nmodels: []\n" + _DATA,
        "no-job.yaml": "job: dance\n" + _DATA,
        "job-list.yaml": "job: [forecast]\n" + _DATA,
        "levels.yaml": "job: forecast\nmodel: champion\nquantile_levels: [0.9, 2, x]\n" + _DATA,
        "keys.yaml": "1: 2\nnull: 3\n[a]: b\n" + _DATA,
        "bomb.yaml": "a: &a [x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghij")),
        "tag.yaml": "data: !!python/object/apply:os.system [true]\n",
        "date.yaml": "prediction_length: 2026-01-01\n" + _CONFIG,
    }.items():
        (folder / name).write_text(text)
