"""The boot script, run for real with stand-ins for the commands of the box: whatever fails, the box powers off."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.lifecycle import live
from agent.orders import Orders
from agent.workdir import Workdir
from chronos_ec2.boot import render_user_data
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.limits import Limits
from tests.agent.builders import World, a_config, a_workdir, an_identity, launch
from tests.builders import RUN_ID, launching

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

CURL = """#!/bin/bash
# IMDSv2: without a token it answers 401 with a page; only with -f does curl say so by its exit code.
args="$*"
[[ "$args" == *"$DOWN"* && -n "$DOWN" ]] && exit 22
if [[ "$args" == *"-X PUT"*api/token* ]]; then printf TOKEN; exit 0; fi
if [[ "$args" != *"X-aws-ec2-metadata-token: TOKEN"* ]]; then
  printf '<html>401</html>'; [[ "$1" == *f* ]] && exit 22; exit 0
fi
case "$args" in
  *placement/region) [[ -n "$UNWELL" ]] && { printf '<html>500</html>'; [[ "$1" == *f* ]] && exit 22; exit 0; }
    printf us-east-1;;
  *instance-id) printf i-0123456789abcdef0;;
esac
"""
AWS = """#!/bin/bash
[[ "$*" == *"$DOWN"* && -n "$DOWN" ]] && exit 1
case "$*" in
  *request.json*) cp "$BOX/source/request.json" request.json;;
  *tar.gz*) cp "$BOX/source/bundle.tar.gz" bundle.tar.gz;;
esac
"""
SYSTEMCTL = """#!/bin/bash
echo "$*" >> "$BOX/systemctl"
[[ "$1" == start && "$DOWN" == start ]] && exit 1
exit 0
"""
PYTHON = """#!/bin/bash
[[ "$1" == -m ]] && exit 0
exec "$REAL_PYTHON" "$@"
"""


def document() -> Any:
    return yaml.safe_load(render_user_data("a-bucket", launching(), Limits()))


class Box:
    """A folder that plays the disk of an instance."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.disk = root / "disk"
        for folder in ("bin", "source", "disk/etc/chronos-ec2", "disk/opt/chronos-ec2"):
            (root / folder).mkdir(parents=True)
        for name, body in {"curl": CURL, "aws": AWS, "systemctl": SYSTEMCTL, "python3": PYTHON}.items():
            (root / "bin" / name).write_text(body)
            (root / "bin" / name).chmod(0o755)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz"):
            pass
        (root / "source/bundle.tar.gz").write_bytes(archive.getvalue())
        sha256 = hashlib.sha256(archive.getvalue()).hexdigest()
        (root / "source/request.json").write_text(json.dumps({"bundle_sha256": sha256}))
        self.files = {entry["path"]: self.inside(entry["content"]) for entry in document()["write_files"]}
        (self.disk / "etc/chronos-ec2/run").write_text(self.files["/etc/chronos-ec2/run"])

    def inside(self, text: str) -> str:
        """The same text with this box's paths."""
        for folder in ("/etc/chronos-ec2", "/opt/chronos-ec2"):
            text = text.replace(folder, f"{self.disk}{folder}")
        return text.replace("/opt/pytorch", f"{self.disk}/opt/pytorch")

    def run(self, *command: str, **stdin: str) -> None:
        environment = {
            "PATH": f"{self.root}/bin:/usr/bin:/bin", "BOX": str(self.root), "DOWN": "", "UNWELL": "",
            "REAL_PYTHON": str(shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")),
        }  # fmt: skip
        subprocess.run(command, env=environment | stdin, capture_output=True, check=False, timeout=30)

    def boot(self, **troubles: str) -> list[str]:
        """What systemctl was told while the box booted."""
        script = self.root / "boot.sh"
        script.write_text(self.files["/opt/chronos-ec2/boot.sh"])
        self.run("bash", str(script), **troubles)
        return self.told()

    def told(self) -> list[str]:
        told = self.root / "systemctl"
        return told.read_text().splitlines() if told.exists() else []


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_a_box_where_all_goes_well_starts_its_agent_and_stays(box: Box) -> None:
    assert box.boot() == ["daemon-reload", "start chronos-agent.service"]
    identity = (box.disk / "etc/chronos-ec2/instance").read_text().splitlines()
    assert identity[0] == "INSTANCE_ID=i-0123456789abcdef0"
    assert identity[2] == "AWS_DEFAULT_REGION=us-east-1"


@pytest.mark.parametrize(
    "troubles",
    [{"DOWN": part} for part in ("api/token", "placement/region", "instance-id", "request.json", "tar.gz", "start")]
    + [{"UNWELL": "yes"}],
    ids=lambda troubles: next(iter(troubles.values())),
)
def test_whatever_fails_the_box_powers_off(box: Box, troubles: dict[str, str]) -> None:
    assert "poweroff" in box.boot(**troubles)


def test_an_agent_with_another_hash_than_the_order_names_is_not_started(box: Box) -> None:
    with tarfile.open(box.root / "source/bundle.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("agent/__main__.py"))
    told = box.boot()
    assert "poweroff" in told
    assert not any("start" in line for line in told)


def boot_timer() -> list[str]:
    """What the boot timer runs when its time has come."""
    command = document()["bootcmd"][1]
    first = next(at for at, word in enumerate(command) if word.startswith("--timer-property")) + 1
    return [str(word) for word in command[first:]]


@pytest.mark.parametrize("claimed", [True, False])
def test_the_boot_timer_ends_a_box_without_a_claim_and_no_other(box: Box, claimed: bool) -> None:
    workdir = Workdir(box.disk / "opt/chronos-ec2/work" / RUN_ID)
    workdir.create()
    if claimed:
        workdir.claimed.touch()
    box.run(*map(box.inside, boot_timer()))
    assert box.told() == ([] if claimed else ["poweroff --force"])


def test_a_kernel_panic_ends_in_a_reboot_and_not_in_a_halt() -> None:
    assert ["sysctl", "-w", "kernel.panic=10", "kernel.panic_on_oops=1"] in document()["bootcmd"]


@pytest.mark.parametrize("run_id", ["$(reboot)", "20260131T110000Z-1a2b3c;reboot", "a/b", "a&b"])
def test_nothing_but_a_run_id_gets_in(run_id: str) -> None:
    with pytest.raises(InvalidInput):
        render_user_data("a-bucket", launching(run_id=run_id), Limits())


@pytest.mark.parametrize("holder", [None, "i-0ffffffffffffffff"])
def test_an_agent_spares_its_box_the_boot_timer_by_its_claim_alone(tmp_path: Path, holder: str | None) -> None:
    world, workdir = World(), a_workdir(tmp_path)
    launch(world, a_config(no_such_key=1), instance_id=holder)
    live(world, "bucket", an_identity(), workdir, Orders())
    assert workdir.claimed.exists() == (holder is None)
