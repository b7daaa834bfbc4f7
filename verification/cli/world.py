"""The environment in which the commands run: moto with a deployed stack, a run that failed, and one that is active."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from chronos_ec2.aws.clients import client, forget_credentials
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Verdict
from chronos_ec2.testing.aws_server import BUCKET, deploy_outputs, forget_everything, moto_server, store
from chronos_ec2.testing.builders import NOW, a_run
from verification.cli.invoke import new_session
from verification.cli.proxy import Proxy, proxy_before

FAILED, ACTIVE = "20260131T100000Z-00000a", "20260131T110000Z-00000b"
_CONFIG = "data: {path: training-data/sales/}\nprediction_length: 6\nmodel: {from_scratch: {}}\n"
_KEPT = ("PATH", "HOME", "PYTHONPATH", "VIRTUAL_ENV", "OMP_NUM_THREADS", "TMPDIR")


@dataclass(frozen=True)
class World:
    """Where a command is run."""

    proxy: Proxy
    folder: Path
    outputs: Mapping[str, str]

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
            yield renewed(World(proxy, folder, {}))
        finally:
            os.chdir(before)


def renewed(world: World) -> World:
    """The same world as new, whatever a command has left in it."""
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
    return replace(world, outputs={each["OutputKey"]: each["OutputValue"] for each in found})


def _put_runs() -> None:
    client("s3").put_object(Bucket=BUCKET, Key="cached-datasets/dev/training-data/sales/a.parquet", Body=b"PAR1PAR1")
    verdict = Verdict(Outcome.FAILED, Cause.USER_CODE, "the loss is not a number “nan” …", DecidedBy.AGENT)
    failed = a_run(run_id=FAILED, lane=Lane("dev", "spare")).end(verdict, NOW)
    objects = store().objects
    objects.write(run_key("dev", FAILED, "state.json"), failed.to_json())
    objects.write(run_key("dev", FAILED, "logs/agent.log"), "claimed\nstep 1 …\n".encode(), "text/plain")
    ends = NOW + timedelta(days=3650)
    store().create_lock(a_run(run_id=ACTIVE, lane=Lane("dev", "busy"), instance_id=None, deadline=ends))


def _write_files(folder: Path) -> None:
    (folder / "train.yaml").write_text(_CONFIG)
    for name, body in {"sales": b"PAR1data-PAR1", "empty": b"", "none": None}.items():
        (folder / name).mkdir()
        if body is not None:
            (folder / name / "a.parquet").write_bytes(body)
    for name, text in {
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
    (folder / "latin-1.yaml").write_bytes("data: {path: größe/}".encode("latin-1"))
    (folder / "loop.yaml").symlink_to("loop.yaml")
    (folder / "a-file").write_text("x")
    (folder / os.fsdecode(b"caf\xe9.yaml")).write_text(_CONFIG)
    (folder / os.fsdecode(b"caf\xe9")).mkdir()
