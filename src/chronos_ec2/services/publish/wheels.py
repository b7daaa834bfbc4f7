"""The agent's Python packages: everything it needs beyond the image's own Python and torch.

`agent/requirements.txt` pins each wheel by hash. The archive of these wheels has no other content and no dates, so its
hash depends on the lock alone, and `agent/python-env` can name it before anything is downloaded. That file is in the
agent's bundle: the bundle's hash pins both. A second archive has the few of them that the agent claims its run with.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from chronos_ec2.domain.errors import InvalidInput, UserError
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.s3_keys import python_env_key
from chronos_ec2.ports import ObjectTransfer
from chronos_ec2.run_store import RunStore

LOCK = "agent/requirements.txt"
REFERENCE = "agent/python-env"
RENEW = "`make lock` in a checkout renews both"
CLAIM_PACKAGES = frozenset({
    "annotated-types", "boto3", "botocore", "jinja2", "jmespath", "markupsafe", "nvidia-ml-py", "pydantic",
    "pydantic-core", "python-dateutil", "pyyaml", "s3transfer", "six", "typing-extensions", "typing-inspection",
    "urllib3",
})  # fmt: skip
"""What the agent imports before it has installed all, and the report of a run that ends before that."""

# Platform tags that the image's C library supports; pip matches them exactly.
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64")

PIP_ANYWHERE = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
"""For pip: a user may have set these for other environments, and then pip refuses."""

_SHA256 = "([0-9a-f]{64})"
_REFERENCE = re.compile(
    rf"PYTHON_VERSION=(3\.[0-9]+)\nCLAIM_ENV_SHA256={_SHA256}\nPYTHON_ENV_SHA256={_SHA256}\nLOCK_SHA256={_SHA256}\n"
)


@dataclass(frozen=True, slots=True)
class PythonEnv:
    """The image's Python (`3.13`), and the hashes of both archives and of the lock that they are made from."""

    python: str
    claim_sha256: str
    sha256: str
    lock_sha256: str

    def __str__(self) -> str:
        """The content of `agent/python-env`, which bash reads."""
        return (
            f"PYTHON_VERSION={self.python}\nCLAIM_ENV_SHA256={self.claim_sha256}\n"
            f"PYTHON_ENV_SHA256={self.sha256}\nLOCK_SHA256={self.lock_sha256}\n"
        )


def read_python_env(checkout: Path) -> PythonEnv:
    """Parse `agent/python-env`. Raises InvalidInput if it is damaged or names another lock than the one beside it."""
    found = _REFERENCE.fullmatch((checkout / REFERENCE).read_text())
    if found is None:
        raise InvalidInput(REFERENCE, "is not four lines of NAME=VALUE", RENEW)
    env = PythonEnv(*found.groups())
    if file_sha256(checkout / LOCK) != env.lock_sha256:
        raise InvalidInput(LOCK, f"is not the lock that {REFERENCE} names", RENEW)
    return env


def for_the_image(python: str) -> list[str]:
    """Return the options that make pip select wheels for the image's Python, whatever Python pip runs on."""
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    return ["--only-binary=:all:", *platforms, "--python-version", python, "--implementation", "cp"]


def download_wheels(lock: Path, python: str, folder: Path) -> None:
    """Download the wheels of a lock with pip, which verifies the hashes. Raises UserError."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    command += ["--no-deps", *for_the_image(python), "--dest", str(folder), "-r", str(lock)]
    done = subprocess.run(
        command, env=os.environ | PIP_ANYWHERE, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if "No module named pip" in done.stderr:
        raise UserError(
            f"the agent's packages are downloaded with pip, and {sys.executable} has none",
            "`python -m ensurepip`, or `uv pip install pip` in an environment of uv",
        )
    if done.returncode:
        reason = one_line(" ".join(done.stderr.split("ERROR:", 1)[-1].split()) or "nothing", 300)
        raise UserError(
            f"{LOCK}: pip could not download the agent's packages: {reason}",
            "its package index must be reachable: see `python -m pip config list`, PIP_INDEX_URL and HTTPS_PROXY",
        )


def pack(wheels: Path, archive: Path, packages: Collection[str] | None = None) -> None:
    """Write the wheels in a folder, or only those of some packages, to a tar; the same wheels give the same bytes."""
    # Wheels are compressed already.
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(wheels.iterdir()):
            if packages is not None and path.name.split("-")[0].replace("_", "-").lower() not in packages:
                continue
            entry = tarfile.TarInfo(path.name)
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as content:
                tar.addfile(entry, content)


def publish_python_env(
    checkout: Path,
    store: RunStore,
    transfer: ObjectTransfer,
    say: Callable[[str], None],
    fetch: Callable[[Path, str, Path], None] = download_wheels,
) -> PythonEnv:
    """Upload the archives of wheels unless the bucket has them. `say` gets each slow step.

    Raises:
        UserError: the wheels do not match the lock, or pip failed.
        ServiceUnavailable: an upload failed.
    """
    env = read_python_env(checkout)
    archives = {env.claim_sha256: CLAIM_PACKAGES, env.sha256: None}
    if all(key in dict(store.objects.keys(key)) for key in map(python_env_key, archives)):
        return env
    with tempfile.TemporaryDirectory(prefix="chronos-ec2-") as scratch:
        wheels = Path(scratch, "wheels")
        wheels.mkdir()
        say("downloading the agent's packages (once per lock)")
        fetch(checkout / LOCK, env.python, wheels)
        for sha256, packages in archives.items():
            pack(wheels, Path(scratch, sha256), packages)
            if (found := file_sha256(Path(scratch, sha256))) != sha256:
                raise InvalidInput(REFERENCE, f"names archive {sha256}, but the lock's wheels make {found}", RENEW)
        for archive in (Path(scratch, sha256) for sha256 in archives):
            transfer.upload(archive, python_env_key(archive.name), _progress(archive.stat().st_size, say))
    return env


def _progress(total: int, say: Callable[[str], None]) -> Callable[[int], None]:
    sent: list[int] = []  # appended to by several threads at once

    def on_bytes(count: int) -> None:
        sent.append(count)
        say(f"uploading the agent's packages: {sum(sent) / 1e6:.0f} of {total / 1e6:.0f} MB")

    return on_bytes


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
