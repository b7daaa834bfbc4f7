"""Fixtures for all rooms."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.loaders import create_loader
from botocore.session import Session
from xdist.scheduler import LoadScopeScheduling

from chronos_ec2.aws import clients
from chronos_ec2.aws.clients import forget_credentials
from chronos_ec2.local.lifecycle import LocalAws, local_aws
from chronos_ec2.services.publish import agent as publish
from chronos_ec2.testing.aws_answers import without_price_list
from chronos_ec2.testing.aws_server import Network, deploy_outputs, forget_everything, moto_server
from chronos_ec2.testing.aws_snapshot import bring_back, keep
from tests.template.calls import CALLS, Recorder
from tests.template.test_policies import policies, policies_of

# Before anything makes a client: no test may reach the real AWS, whatever the developer's shell holds.
for _name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[_name]
for _name in ("BUCKET", "ENVIRONMENT", "INSTANCE_TYPE"):
    os.environ.pop(_name, None)
os.environ |= {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",  # 1,300 of them, which moto would make for each test
    "POWERTOOLS_SERVICE_NAME": "chronos-ec2",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",  # `make test` has a process on each core; threads that wait for a busy one turn idly
}


MODELS = create_loader()
gc.disable()  # while tests are collected: what the imports make stays


class KnownSession(Session):
    """Knows whether a test may go on with the clients of the last one: making them takes longer than most tests."""

    def __init__(self) -> None:
        super().__init__()
        self.register_component("data_loader", MODELS)
        self.register("needs-retry", self._hear)
        self.used, self.reusable, self.asks = False, True, {}

    def create_client(self, *arguments: Any, **options: Any) -> Any:
        self.used = True
        self.reusable &= self.asks == _aws_variables()
        return super().create_client(*arguments, **options)

    def _hear(self, response: tuple[Any, Any] | None, **_: Any) -> None:
        # A client that has failed, or was slowed down, tries less often.
        http, parsed = response or (None, {})
        slowed = "Throttl" in parsed.get("Error", {}).get("Code", "")
        self.reusable &= http is not None and http.status_code < 500 and not slowed


def _aws_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


_session = KnownSession()


@pytest.fixture(autouse=True)
def _clients(request: pytest.FixtureRequest) -> None:
    """Clients of one emulator, or with one user's settings, must not serve a test with others; all are heard."""
    global _session  # noqa: PLW0603
    session = boto3.DEFAULT_SESSION
    known = session is not None and session._session is _session
    if not known or (_session.used and not (_session.reusable and "aws" in request.fixturenames)):
        _session = KnownSession()
        boto3.setup_default_session(botocore_session=_session)
        without_price_list()
    CALLS.policies = policies()
    CALLS.listen()


@pytest.fixture
def calls() -> Iterator[Recorder]:
    """Hears the calls of whoever acts. A call that the role's policies do not allow fails the test that made it."""
    CALLS.denied, before = [], CALLS.denied
    yield CALLS
    denied = CALLS.denied
    CALLS.denied = before + denied
    assert not denied, f"made, but not allowed: {denied}"


pytest_plugins = ["tests.template.used_rights"]

END_TO_END = "tests/end_to_end/test_"
SLOW_ENDINGS = f"{END_TO_END}slow_endings.py"
BESIDE_THE_RUNS = (
    f"{END_TO_END}embedded_aws.py::test_a_second_launch",  # launches all runs
    "tests/containers/",
    "tests/contract/test_setup_checks.py",
    f"{END_TO_END}embedded_aws.py",
    f"{END_TO_END}deployment.py",
    f"{END_TO_END}events.py",
    SLOW_ENDINGS,
)
"""What is tested on the embedded AWS of the runs, in this order."""
LONGEST = (
    *BESIDE_THE_RUNS,
    "tests/end_to_end/",
    "tests/verification/simulation/test_histories.py",
    "tests/verification/test_model.py",
    "tests/local/test_retraining_demo.py",
    "tests/agent/test_jobs.py",
    "tests/agent/test_lifecycle.py",
    "tests/verification/",
    "tests/contract/",
    "tests/functions/",
    "tests/template/",
    "tests/cli/",
    "tests/user_data/",
    "tests/agent/chronos/",
    "tests/benchmarks/",
    "tests/agent/",
)
"""What takes long begins first, so that no worker is left with it at the end when the other one has nothing to do."""


class Scheduling(LoadScopeScheduling):
    """A worker takes a file at a time, or everything that shares an embedded AWS.

    There are two of them, because their tests mostly wait: one with the runs, one for whoever has an operator's day.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(BESIDE_THE_RUNS) or "[embedded" in nodeid:
            return "embedded AWS with runs"
        return "embedded AWS" if nodeid.startswith(END_TO_END) else nodeid.split("::", 1)[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    config.option.loadscopereorder = False
    return Scheduling(config, log)


def _place(nodeid: str) -> int:
    """When a test runs. Ends of runs that take minutes are looked at last: meanwhile other tests run."""
    if nodeid.startswith(SLOW_ENDINGS):
        return len(LONGEST) + 1
    return next((n for n, place in enumerate(LONGEST) if nodeid.startswith(place)), len(LONGEST))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("embedded_aws"):
            item.add_marker("thorough")
    items.sort(key=lambda item: _place(item.nodeid))


def pytest_collection_finish() -> None:
    gc.set_threshold(50_000, 20, 100)  # a tenth of the time of a simulation went into collections
    gc.enable()


@pytest.fixture(autouse=True, scope="module")
def _kept_out_of_collections() -> None:
    """What is there stays: accelerate collects after each training, and would look at all of it for a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """moto as a server: real HTTP, and nothing patched under the other implementations."""
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture
def aws(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An AWS with nothing in it; its endpoint."""
    forget_everything(moto_endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    _session.asks = _aws_variables()
    return moto_endpoint


@cache
def stack() -> tuple[Network, bytes]:
    """A stack's outputs, and what AWS holds then. Made once, in an AWS with nothing in it."""
    return deploy_outputs(), keep()


build_bundle = cache(publish.build_bundle)


@pytest.fixture
def deployed(aws: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An AWS with the outputs of `dev`'s stack and what they name. All launches share one bundle of the agent."""
    monkeypatch.setattr(publish, "build_bundle", build_bundle)
    network, kept = stack()
    bring_back(kept)
    CALLS.policies = policies_of(network.vpc, network.security_group, network.launch_template)
    return aws


@pytest.fixture
def asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients give up after one try: how often botocore asks, and how long it waits, is not ours to test."""
    once = Config(retries={"mode": "adaptive", "total_max_attempts": 1})
    _session.reusable = False
    clients.client.cache_clear()
    for name in ("_CONFIG", "_BRIEF"):
        monkeypatch.setattr(clients, name, getattr(clients, name).merge(once))


@pytest.fixture(scope="session")
def embedded_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """The embedded AWS with the real template deployed by the real sam, and EC2 played; started once a session."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the embedded AWS needs Linux")
    with local_aws(tmp_path_factory.mktemp("aws")) as aws:
        yield aws


@pytest.fixture
def embedded_endpoint(embedded_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the embedded AWS answers. Until the end of the test clients have its key, which it asks for."""
    for name, value in embedded_aws.variables.items():
        monkeypatch.setenv(name, value)
    forget_credentials()
    yield embedded_aws.endpoint
    forget_credentials()
