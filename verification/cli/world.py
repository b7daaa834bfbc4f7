"""The environment in which the commands run: moto with a deployed stack, a run that failed, and one that is active."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.loaders import create_loader
from botocore.session import Session

from chronos_ec2.aws import clients
from chronos_ec2.aws.clients import client, forget_credentials
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Verdict
from chronos_ec2.model_registry import Registry
from chronos_ec2.testing.aws_server import deploy_outputs, forget_everything, store
from chronos_ec2.testing.aws_snapshot import bring_back, keep
from chronos_ec2.testing.builders import NOW, a_run
from verification.cli.answers import READ_TIMEOUT
from verification.cli.faulty_aws import FaultyAws

FAILED, ACTIVE = "20260131T100000Z-00000a", "20260131T110000Z-00000b"
TRAINED, BEST = "20260131T080000Z-00000c", "20260131T090000Z-00000d"
_MODEL = {"config.json": b'{"chronos_config": {"context_length": 512}}', "model.safetensors": b"weights" * 100}
_KEPT = ("PATH", "HOME", "PYTHONPATH", "VIRTUAL_ENV", "OMP_NUM_THREADS", "TMPDIR")
_FRESH_SECONDS = 300
"""For how long a run that is being launched is not overdue."""
_MODELS = create_loader()
_ONCE = Config(connect_timeout=2, read_timeout=READ_TIMEOUT, retries={"mode": "standard", "total_max_attempts": 1})


@dataclass
class World:
    """An AWS in which commands are run. `outputs` are the stack's."""

    aws: FaultyAws
    endpoint: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    _kept: bytes = b""
    _made: float = 0

    def renew(self) -> None:
        """Make AWS as new, whatever a command has left in it."""
        forget_everything(self.endpoint)
        if self._kept and time.monotonic() - self._made < _FRESH_SECONDS:
            bring_back(self._kept)
            return
        with patch.dict(os.environ, self.variables):
            new_session()
            deploy_outputs()
            _put_runs()
            stack = client("cloudformation").describe_stacks(StackName="chronos-ec2-dev")["Stacks"][0]
            forget_credentials()
        self.outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
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
            "AWS_ENDPOINT_URL": self.endpoint,
            "HF_ENDPOINT": "http://127.0.0.1:9",
        }


@contextmanager
def world_in(folder: Path) -> Iterator[World]:
    """A world whose working folder this is. Clients ask once: how often botocore asks is not what is checked here."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
    once = {name: getattr(clients, name).merge(_ONCE) for name in ("_CONFIG", "_BRIEF")}
    aws = FaultyAws()
    with aws.served() as endpoint, chdir(folder), patch.multiple(clients, **once):
        world = World(aws, endpoint)
        world.renew()
        yield world


def new_session() -> None:
    """A session with this moment's variables. botocore's models are read once, because that takes longest."""
    forget_credentials()
    session = Session()
    session.register_component("data_loader", _MODELS)
    try:
        boto3.setup_default_session(botocore_session=session)
    except (BotoCoreError, ValueError):
        forget_credentials()  # what is wrong with the settings is for the command to find


def _put_runs() -> None:
    """A run that failed, one that is active, and two with a model, which was the champion at first and is it now."""
    objects = store().objects
    objects.write("cached-datasets/dev/training-data/sales/a.parquet", b"PAR1PAR1", "application/octet-stream")
    verdict = Verdict(Outcome.FAILED, Cause.USER_CODE, "the loss is not a number “nan” …", DecidedBy.AGENT)
    failed = a_run(run_id=FAILED, lane=Lane("dev", "spare")).end(verdict, NOW)
    objects.write(run_key("dev", FAILED, "state.json"), failed.to_json())
    objects.write(run_key("dev", FAILED, "logs/agent.log"), "claimed\nstep 1 …\n".encode(), "text/plain")
    trained = Verdict(Outcome.SUCCEEDED, Cause.COMPLETED, "trained", DecidedBy.AGENT)
    digests = tuple((name, hashlib.sha256(body).hexdigest()) for name, body in _MODEL.items())
    for run_id in (TRAINED, BEST):
        run = replace(a_run(run_id=run_id).end(trained, NOW), models=digests)
        objects.write(run_key("dev", run_id, "state.json"), run.to_json())
        for name, body in _MODEL.items():
            objects.write(run_key("dev", run_id, f"models/{name}"), body, "application/octet-stream")
        Registry("dev", objects).promote("default", run, "by hand", NOW)
    ends = NOW + timedelta(days=3650)
    store().create_lock(a_run(run_id=ACTIVE, lane=Lane("dev", "busy"), instance_id=None, deadline=ends))
