"""What `sam build` hands to Lambda. `make check-stack` runs it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from chronos_ec2.local.sam_invoke import functions

pytestmark = pytest.mark.thorough

FUNCTIONS = functions()
HEAVY = {"torch", "pyarrow", "pandas", "numpy", "pydantic", "pydantic_core", "typer", "rich", "yaml", "matplotlib"}
SETTINGS = (
    "ENVIRONMENT", "BUCKET", "PROJECT", "COST_CENTER", "TOPIC_ARN", "DEADLINE_GROUP", "DEADLINE_ROLE_ARN",
    "LAUNCHER_FUNCTION", "LAUNCH_TEMPLATE_ID", "INSTANCE_PROFILE_ARN", "SUBNET_IDS", "ALLOWED_INSTANCE_TYPES",
    "STACK_ID",
)  # fmt: skip
AT_MOST_BYTES = 6_000_000


def run_in_bundle(bundle: Path, code: str) -> str:
    """Run code that sees the standard library and the bundle, and nothing else."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", f"import sys; sys.path.insert(0, {str(bundle)!r})\n{code}"],
        env={"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_bundle_holds_our_code_and_nothing_heavy(bundles: dict[str, Path], function: str) -> None:
    names = {path.name for path in bundles[function].iterdir()}
    assert {"functions", "chronos_ec2", "boto3", "botocore", "aws_lambda_powertools"} <= names
    assert not names & HEAVY
    assert not [name for name in names if name.endswith(".dist-info")]
    ours = {path.name for path in (bundles[function] / "chronos_ec2").iterdir()}
    assert not ours & {"cli", "client", "local", "testing", "worker"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_byte_code_is_of_use_to_the_runtime_or_there_is_none(bundles: dict[str, Path], function: str) -> None:
    compiled = list(bundles[function].rglob("*.pyc"))
    assert len(compiled) in (0, len(list(bundles[function].rglob("*.py"))))
    assert {path.suffixes[-2] for path in compiled} <= {".cpython-313"}
    # Unchecked: the zip changes the times of the sources, and Lambda would compare them.
    assert {path.read_bytes()[4:8] for path in compiled} <= {b"\1\0\0\0"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_bundle_is_small(bundles: dict[str, Path], function: str, tmp_path: Path) -> None:
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in bundles[function].rglob("*"):
            zipped.write(path, path.relative_to(bundles[function]))
    assert archive.stat().st_size < AT_MOST_BYTES


def test_each_client_can_be_made_from_the_pruned_bundle(bundles: dict[str, Path]) -> None:
    services = ["s3", "ec2", "sns", "sts", "scheduler", "lambda"]
    code = f"""
from chronos_ec2.aws.clients import client
for service in {services}:
    print(client(service).meta.endpoint_url)
"""
    urls = run_in_bundle(bundles["Sweep"], code).split()
    assert [url.startswith(f"https://{service}") for service, url in zip(services, urls, strict=True)] == [True] * 6


def test_each_handler_can_be_imported_and_composed_from_the_bundle(bundles: dict[str, Path]) -> None:
    modules = [path.stem for path in (bundles["Sweep"] / "functions").glob("[!_]*.py")]
    code = f"""
import importlib, os
os.environ |= dict.fromkeys({SETTINGS!r}, "x") | {{"TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:t"}}
os.environ |= dict.fromkeys(("MAX_TYPES_PER_RUN", "MAX_RUN_HOURS"), "9")
for name in {modules}:
    for ours in [name for name in sys.modules if name.startswith(("chronos_ec2", "functions"))]:
        del sys.modules[ours]
    module = importlib.import_module(f"functions.{{name}}")
    assert callable(module.handler), name
    (module.schedules if name == "launcher" else module.reconciler)()
print(sorted(name for name in {HEAVY!r} if name in sys.modules))
"""
    assert len(modules) == len(FUNCTIONS)
    assert run_in_bundle(bundles["Sweep"], code).strip() == "[]"
