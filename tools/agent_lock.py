"""`python -m tools.agent_lock`: do the agent's locked packages fit the image? `--renew` makes the lock anew.

pip resolves the project with its extra `agent` against constraints.txt for the image's Python. Torch is the image's
own: pip is shown an empty package in its place, so that neither torch nor what torch alone needs gets into the lock.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from chronos_ec2.services.publish.agent import CHECKOUT
from chronos_ec2.services.publish.wheels import (
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
# What travels to the instance, with the hashes of the wheels: all of `chronos-ec2[agent]` but torch, which is the AMI's
# own. `make agent-lock` makes it from pyproject.toml and constraints.txt, and agent/python-env with it.
"""
_PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def main(arguments: list[str]) -> int:
    """Renew the lock if told to, then fetch and install what it names, train with it, and say how large it is."""
    with tempfile.TemporaryDirectory(prefix="chronos-ec2-") as name:
        scratch = Path(name)
        env = _renew(scratch) if "--renew" in arguments else read_python_env(CHECKOUT)
        wheels, installed = _install(CHECKOUT / LOCK, env.python, scratch / "image-python")
        found = _packed(wheels, scratch)
        if found != env.sha256:
            print(f"{REFERENCE} names archive {env.sha256}, the lock's wheels make {found}")
            return 1
        print(
            f"{len(list(wheels.iterdir()))} wheels for Python {env.python}: {_megabytes(wheels)} MB, "
            f"{_megabytes(installed)} MB installed"
        )
        own = f"{sys.version_info.major}.{sys.version_info.minor}"
        lock = scratch / "own-lock.txt"
        lock.write_text(_lock(scratch, own))
        _, packages = _install(lock, own, scratch / "own-python")
        if not trains(packages, scratch):
            print(f"with torch and these packages alone, on Python {own}, the agent does not train")
            return 1
        print(f"with torch and these packages alone, on Python {own}, the agent trains")
    return 0


def _renew(scratch: Path) -> PythonEnv:
    (CHECKOUT / LOCK).write_text(_lock(scratch, PYTHON))
    wheels = scratch / "wheels"
    wheels.mkdir()
    download_wheels(CHECKOUT / LOCK, PYTHON, wheels)
    env = PythonEnv(PYTHON, _packed(wheels, scratch), file_sha256(CHECKOUT / LOCK))
    (CHECKOUT / REFERENCE).write_text(str(env))
    return env


def _packed(wheels: Path, scratch: Path) -> str:
    archive = scratch / "python-env.tar"
    pack(wheels, archive)
    return file_sha256(archive)


def _megabytes(folder: Path) -> int:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6)


def _lock(scratch: Path, python: str) -> str:
    """What the agent needs beside torch, as pip resolves it, with the hash of the one wheel that fits a Python."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    report = scratch / "report.json"
    _pip(
        "install", "--dry-run", "--ignore-installed", "--report", str(report), "--target", str(scratch / "nothing"),
        "-c", str(CHECKOUT / "constraints.txt"), "--find-links", str(_empty_torch(scratch)), *for_the_image(python),
        *project["dependencies"], *project["optional-dependencies"]["agent"],
    )  # fmt: skip
    packages = [package for package in json.loads(report.read_text())["install"] if _name(package) != "torch"]
    pins = sorted(
        f"{_name(package)}=={package['metadata']['version']} \\\n"
        f"    --hash=sha256:{package['download_info']['archive_info']['hashes']['sha256']}\n"
        for package in packages
    )
    return _HEADER + "".join(pins)


def _name(package: dict[str, Any]) -> str:
    return str(package["metadata"]["name"]).lower().replace("_", "-")


def _empty_torch(scratch: Path) -> Path:
    """A folder with a torch that needs nothing; its local version makes pip prefer it to every other."""
    pins = (CHECKOUT / "constraints.txt").read_text().splitlines()
    (pinned,) = (line.removeprefix("torch==") for line in pins if line.startswith("torch=="))
    version = f"{pinned}+image"
    folder = scratch / "torch"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as wheel:
        about = f"torch-{version}.dist-info"
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return folder


def _install(lock: Path, python: str, folder: Path) -> tuple[Path, Path]:
    """Fetch and install as launch and the boot script do; pip refuses a wheel that does not fit. Both folders."""
    wheels, packages = folder / "wheels", folder / "packages"
    wheels.mkdir(parents=True)
    download_wheels(lock, python, wheels)
    _pip(
        "install", "--no-index", "--find-links", str(wheels), "--require-hashes", "--no-deps", "--no-compile",
        *for_the_image(python), "--target", str(packages), "-r", str(lock),
    )  # fmt: skip
    return wheels, packages


def _pip(*arguments: str) -> None:
    subprocess.run([*_PIP, arguments[0], "--quiet", *arguments[1:]], check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
