"""`python -m tools.agent_lock`: do the agent's locked packages fit the image? `--renew` makes the lock first.

uv resolves `chronos-ec2[agent]` against requirements/dev.txt for the image's Python, without torch, which is the
image's own, and without what torch alone needs. Of each package the lock keeps the hash of the one wheel that pip
chooses.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.utils import parse_wheel_filename

from chronos_ec2.services.publish.agent import CHECKOUT
from chronos_ec2.services.publish.wheels import (
    CLAIM_PACKAGES,
    LOCK,
    REFERENCE,
    PythonEnv,
    download_wheels,
    file_sha256,
    for_the_image,
    pack,
    read_python_env,
)
from tools.agent_lock_trial import trains

PYTHON = "3.13"
"""The Python of the default AMI, the PyTorch Deep Learning AMI that `ImageIdParameter` in template.yaml names."""
_HEADER = """\
# What travels to the instance: `chronos-ec2[agent]` without torch, which is the AMI's own. Made by `make lock` from
# pyproject.toml and requirements/dev.txt, together with agent/python-env.
"""


def main(arguments: list[str]) -> int:
    """Renew the lock if asked to, then fetch and install what it names, train with it, and print its size."""
    with tempfile.TemporaryDirectory(prefix="chronos-ec2-") as name:
        scratch = Path(name)
        if "--renew" in arguments:
            _renew(scratch)
        env = read_python_env(CHECKOUT)
        wheels, installed = _install(CHECKOUT / LOCK, env.python, scratch / "image-python")
        if (found := _packed(wheels, scratch)) != (env.claim_sha256, env.sha256):
            print(f"{REFERENCE} names archives {env.claim_sha256}, {env.sha256}, the lock's wheels make {found}")
            return 1
        print(
            f"{len(list(wheels.iterdir()))} wheels for Python {env.python}: {_megabytes(wheels)} MB, "
            f"{_megabytes(installed)} MB installed"
        )
        own = f"{sys.version_info.major}.{sys.version_info.minor}"
        _, packages = _install(_resolve(own, scratch), own, scratch / "own-python")
        if not trains(packages, scratch):
            print(f"with torch and these packages alone, on Python {own}, the agent does not train")
            return 1
        print(f"with torch and these packages alone, on Python {own}, the agent trains")
    return 0


def _renew(scratch: Path) -> None:
    wheels = scratch / "wheels"
    wheels.mkdir()
    download_wheels(_resolve(PYTHON, scratch), PYTHON, wheels)
    pins = []
    for wheel in sorted(wheels.iterdir()):
        name, version, *_ = parse_wheel_filename(wheel.name)
        pins.append(f"{name}=={version} \\\n    --hash=sha256:{file_sha256(wheel)}\n")
    (CHECKOUT / LOCK).write_text(_HEADER + "".join(sorted(pins)))
    env = PythonEnv(PYTHON, *_packed(wheels, scratch), file_sha256(CHECKOUT / LOCK))
    (CHECKOUT / REFERENCE).write_text(str(env))


def _resolve(python: str, scratch: Path) -> Path:
    """Everything that the agent needs beside torch on a Python, with the hashes of all its wheels."""
    without_torch, lock = scratch / "overrides.txt", scratch / f"lock-{python}.txt"
    without_torch.write_text("torch; python_version < '3'\n")
    _run(
        str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--no-config", "--generate-hashes",
        "--only-binary", ":all:", "--python-platform", "x86_64-manylinux_2_28", "--python-version", python,
        "--override", str(without_torch), "--constraint", str(CHECKOUT / "requirements" / "dev.txt"),
        "--extra", "agent", str(CHECKOUT / "pyproject.toml"), "--output-file", str(lock),
    )  # fmt: skip
    return lock


def _packed(wheels: Path, scratch: Path) -> tuple[str, str]:
    """The hashes of both archives."""
    archive = scratch / "python-env.tar"
    pack(wheels, archive, CLAIM_PACKAGES)
    claim = file_sha256(archive)
    pack(wheels, archive)
    return claim, file_sha256(archive)


def _megabytes(folder: Path) -> int:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6)


def _install(lock: Path, python: str, folder: Path) -> tuple[Path, Path]:
    """Fetch and install as launch and the boot script do; pip refuses a wheel that does not fit. Both folders."""
    wheels, packages = folder / "wheels", folder / "packages"
    wheels.mkdir(parents=True)
    download_wheels(lock, python, wheels)
    _run(
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index",
        "--find-links", str(wheels), "--require-hashes", "--no-deps", "--no-compile",
        *for_the_image(python), "--target", str(packages), "-r", str(lock),
    )  # fmt: skip
    return wheels, packages


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
