"""The template as data, and the bundles as `sam build` makes them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from chronos_ec2.local.sam_cli import sam
from verification.template.synthesis import synthesised, transformed

ROOT = Path(__file__).resolve().parents[2]


EVERYTHING = {
    "AgentLogs": "cloudwatch",
    "Dashboard": "true",
    "CustomMetrics": "true",
    "NotificationEmail": "team@example.com",
}


@pytest.fixture(scope="session")
def template() -> dict[str, Any]:
    return dict(yaml_parse((ROOT / "template.yaml").read_text()))


@pytest.fixture(scope="session")
def source() -> dict[str, Any]:
    """After the SAM transform, intrinsic functions as they are."""
    return transformed()


@pytest.fixture(scope="session")
def stack() -> dict[str, Any]:
    """The resources as they would be made, with everything on that a parameter can switch on."""
    return synthesised(parameters=EVERYTHING)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each function's bundle, built from another folder than the project's."""
    elsewhere = tmp_path_factory.mktemp("build")
    command = [sam(), "build", "--template-file", ROOT / "template.yaml"]
    command += ["--config-file", ROOT / "samconfig.toml"]
    done = subprocess.run(
        [str(part) for part in command],
        cwd=elsewhere,
        env=os.environ | {"SAM_CLI_TELEMETRY": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.name: path for path in (elsewhere / ".aws-sam" / "build").iterdir() if path.is_dir()}
