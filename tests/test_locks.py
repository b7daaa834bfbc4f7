"""Everything that is installed is a wheel with a hash, of one version wherever it is named."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.template.conftest import ROOT

LOCKS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("agent", "benchmarks", "examples", "functions", "requirements", "src", "verification")
    for path in (ROOT / folder).rglob("*.txt")
    if "==" in path.read_text()
)
OURS = ("requirements/dev.txt", "requirements/cuda.txt", "requirements/cli.txt", "functions/requirements.txt",
        "agent/requirements.txt")  # fmt: skip

"""The locks of our own code, which runs on the instance as it was tested."""
_ENTRY = r"[a-z0-9-]+==[^\s\\]+(?: ; [^\\\n]+)?(?:(?: \\\n   )? --hash=sha256:[0-9a-f]{64})+\n"


def pins(lock: str) -> list[Requirement]:
    return [Requirement(line.rstrip(" \\")) for line in (ROOT / lock).read_text().splitlines() if re.match(r"\w", line)]


def on_linux(lock: str, python: str) -> dict[str, str]:
    """The versions that a lock names for a Python."""
    machine = {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux",
               "python_version": python, "python_full_version": f"{python}.2"}  # fmt: skip
    return {
        canonicalize_name(pin.name): str(pin.specifier)
        for pin in pins(lock)
        if pin.marker is None or pin.marker.evaluate(machine)
    }


def test_the_locks_are_found() -> None:
    assert {*OURS, "src/chronos_ec2/local/sam-requirements.txt", "benchmarks/sync-peers.txt"} < set(LOCKS)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_versions_with_hashes_and_names_no_index(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert re.fullmatch(rf"(#.*\n)*({_ENTRY})+", text)
    assert "://" not in re.sub(r"#.*", "", text)


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_a_package_has_one_version_in_all_locks_of_our_code(python: str) -> None:
    versions: dict[str, set[str]] = defaultdict(set)
    for lock in OURS:
        for name, version in on_linux(lock, python).items():
            versions[name].add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_the_locks_have_what_the_project_asks_for_and_the_backend_that_builds_it(python: str) -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, backend = document["project"], document["build-system"]["requires"]
    extras = project["optional-dependencies"]
    asked = {
        "requirements/dev.txt requirements/cpu.txt": [project["dependencies"], backend, *extras.values()],
        "requirements/cli.txt": [project["dependencies"], backend, extras["data"], extras["hub"]],
    }
    for lock, lists in asked.items():
        found = {name: version for one in lock.split() for name, version in on_linux(one, python).items()}
        for one in (Requirement(text) for texts in lists for text in texts):
            version = found.get(canonicalize_name(one.name), "==0").removeprefix("==")
            assert one.specifier.contains(version), f"{lock}: {one}"


def test_torch_is_of_one_version_with_cuda_or_without() -> None:
    cuda = re.compile(r"cuda-|torch$|triton$|nvidia-(?!ml-py$)")
    assert [pin.name for pin in pins("requirements/dev.txt") if cuda.match(pin.name)] == []
    found = {pin.name: str(pin.specifier) for pin in pins("requirements/cuda.txt")}
    assert all(cuda.match(name) for name in found)
    assert [str(pin) for pin in pins("requirements/cpu.txt")] == [f"torch{found['torch']}+cpu"]


@pytest.mark.parametrize("target", ["venv", "cli"])
def test_an_environment_is_installed_by_hash_and_the_project_without_its_dependencies(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True, check=True
    )
    *locked, project = [line for line in done.stdout.splitlines() if "pip install" in line]
    calls = [call for line in locked for call in line.split(" || ")]
    assert all({"--require-hashes", "--no-deps", "--only-binary"} <= set(call.split()) for call in calls)
    assert {"--no-deps", "--no-build-isolation", "-e", "."} < set(project.split())


_INSTALL = re.compile(r"pip[\"', ]+(?:install|download)\b")
_NO_CALL = re.compile(r"(?m)^\s*#.*|\"\"\"[\s\S]*?\"\"\"|`[^`\n]*`|pip install -e[^\n]*")
"""Comments, docstrings, and what hints tell people to do."""


def test_whatever_else_calls_pip_names_hashes() -> None:
    """In scripts and in code; the Makefile is above."""
    named = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    calls = {
        name: text
        for name in named
        if name.endswith((".py", ".sh", ".yaml", ".yml")) or name.startswith(".ci/")
        if not name.startswith(("tests/", "docs/"))
        if _INSTALL.search(text := _NO_CALL.sub("", _text(ROOT / name)))
    }
    assert [name for name, text in calls.items() if "--require-hashes" not in text] == []
    assert {"agent/boot/packages.py", "src/chronos_ec2/local/tool_venv.py"} < set(calls)


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""
