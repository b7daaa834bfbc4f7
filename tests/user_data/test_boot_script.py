"""The boot script, run for real with stand-ins for the commands of the box: whatever fails, the box powers off."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.lifecycle import live
from agent.protocol.workdir import Workdir
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.s3_keys import exit_report_key, run_key
from chronos_ec2.services.publish.wheels import PythonEnv, file_sha256, pack
from chronos_ec2.user_data import render_user_data
from chronos_ec2.worker.control import Control
from tests.agent.builders import World, a_config, a_workdir, an_identity, launch
from tests.builders import RUN_ID, launching

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

CURL = """#!/bin/bash
# IMDSv2: without a token it answers 401 with a page; only with -f does curl say so by its exit code.
args="$*"
echo "$args" >> "$BOX/curl"
[[ "$args" == *"$DOWN"* && -n "$DOWN" && $(grep -c "$DOWN" "$BOX/curl") -le ${FOR:-999} ]] && exit 22
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
echo "$*" >> "$BOX/aws"
[[ "$*" == *"$DOWN"* && -n "$DOWN" && $(grep -c "$DOWN" "$BOX/aws") -le ${FOR:-999} ]] && exit 1
case "$*" in
  *request.json*) cp "$BOX/source/request.json" request.json;;
  *agent/*.tar.gz*) cp "$BOX/source/bundle.tar.gz" bundle.tar.gz;;
  *python-env/*.tar*) cp "$BOX/source/python-env.tar" python-env.tar;;
  *--recursive*/logs) mkdir -p "$BOX/bucket/${@: -1}"; cp "${@: -2:1}"/* "$BOX/bucket/${@: -1}";;
esac
"""
SLEEP = """#!/bin/bash
echo "$1" >> "$BOX/slept"
if [[ -n "$LONG" ]]; then exec /usr/bin/sleep 60; fi
"""
TIMEOUT = """#!/bin/bash
# With the same meaning, and less patience.
exec /usr/bin/timeout --kill-after=1 2 "${@:3}"
"""
JOURNALCTL = """#!/bin/bash
echo "systemd's word of $*"
"""
SYSTEMCTL = """#!/bin/bash
echo "$*" >> "$BOX/systemctl"
[[ "$1" == start && "$DOWN" == start ]] && exit 1
exit 0
"""
IMAGE_PYTHON = """#!/bin/bash
# The image's own: what it has is what lies in this folder, beside a real Python with a real pip.
[[ "$1" == "$DOWN" ]] && exit 1
PYTHONPATH="$BOX/site-packages" exec "$REAL_PYTHON" "$@"
"""
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def document() -> Any:
    return yaml.safe_load(render_user_data("a-bucket", launching(), Limits()))


class Box:
    """A folder that plays the disk of an instance."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.disk = root / "disk"
        for folder in (
            "bin", "bucket", "source/wheels", "site-packages",
            "disk/etc/chronos-ec2", "disk/opt/chronos-ec2", "disk/opt/pytorch/bin", "disk/var/log",
        ):  # fmt: skip
            (root / folder).mkdir(parents=True)
        commands = {"bin/curl": CURL, "bin/aws": AWS, "bin/systemctl": SYSTEMCTL, "bin/python3": IMAGE_PYTHON}
        commands |= {"bin/journalctl": JOURNALCTL, "bin/sleep": SLEEP, "bin/timeout": TIMEOUT}
        for name, body in (commands | {"disk/opt/pytorch/bin/python": IMAGE_PYTHON}).items():
            (root / name).write_text(body)
            (root / name).chmod(0o755)
        (root / "site-packages/torch.py").touch()
        self.said = self.complained = ""
        self.files = {entry["path"]: self.inside(entry["content"]) for entry in document()["write_files"]}
        (self.disk / "etc/chronos-ec2/run").write_text(self.files["/etc/chronos-ec2/run"])
        self.output = self.disk / "var/log/cloud-init-output.log"
        self.output.write_text("cloud-init was here\n")
        shipper = self.disk / "opt/chronos-ec2/ship-logs.sh"
        shipper.write_text(self.files["/opt/chronos-ec2/ship-logs.sh"])
        shipper.chmod(0o755)
        self.upload(self.wheels())

    def wheels(self) -> str:
        """Put an archive with one wheel into the bucket; its lock."""
        wheel = self.root / "source/wheels/forecasting-1-py3-none-any.whl"
        about = "forecasting-1.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("forecasting.py", "")
            archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: forecasting\nVersion: 1\n")
            archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{about}/RECORD", "")
        pack(wheel.parent, self.root / "source/python-env.tar")
        return f"forecasting==1 --hash=sha256:{file_sha256(wheel)}\n"

    def upload(self, lock: str, python: str | None = HERE) -> None:
        """Put a bundle there that names the wheels for a Python, and a request that names the bundle."""
        files = {"agent/requirements.txt": lock}
        if python:
            files["agent/python-env"] = str(
                PythonEnv(python, file_sha256(self.root / "source/python-env.tar"), "0" * 64)
            )
        bundle = self.root / "source/bundle.tar.gz"
        with tarfile.open(bundle, "w:gz") as archive:
            for name, text in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
        (self.root / "source/request.json").write_text(json.dumps({"bundle_sha256": file_sha256(bundle)}))

    def inside(self, text: str) -> str:
        """The same text with this box's paths."""
        for folder in ("/etc/chronos-ec2", "/opt/chronos-ec2", "/var/log"):
            text = text.replace(folder, f"{self.disk}{folder}")
        text = text.replace("--tmpdir=/run", f"--tmpdir={self.root}")
        return text.replace("/opt/pytorch", f"{self.disk}/opt/pytorch").replace("/usr/bin/python3", "/no/python3")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.root}/bin:/usr/bin:/bin", "BOX": str(self.root), "DOWN": "", "UNWELL": "",
            "REAL_PYTHON": sys.executable,
        }  # fmt: skip

    def run(self, *command: str, **troubles: str) -> None:
        environment = self.environment | troubles
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        self.said, self.complained = done.stdout, done.stderr

    def boot(self, **troubles: str) -> list[str]:
        """What systemctl was told while the box booted."""
        script = self.root / "boot.sh"
        script.write_text(self.files["/opt/chronos-ec2/boot.sh"])
        self.run("bash", str(script), **troubles)
        return self.told()

    def stored(self, key: str) -> str | None:
        """An object that it put into its bucket."""
        path = self.root / "bucket/s3:/a-bucket" / key
        return path.read_text() if path.exists() else None

    def log(self, name: str) -> str | None:
        return self.stored(run_key("dev", RUN_ID, f"logs/{name}.log"))

    @property
    def waited(self) -> int:
        """The seconds that it slept."""
        slept = self.root / "slept"
        return sum(map(int, slept.read_text().split())) if slept.exists() else 0

    @property
    def exit_report(self) -> str | None:
        return self.stored(exit_report_key("dev", RUN_ID, 1))

    def told(self) -> list[str]:
        told = self.root / "systemctl"
        return told.read_text().splitlines() if told.exists() else []


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


STARTED = ["daemon-reload", "start chronos-agent.service"]


def test_a_box_where_all_goes_well_starts_its_agent_and_stays(box: Box) -> None:
    assert box.boot() == STARTED
    identity = (box.disk / "etc/chronos-ec2/instance").read_text().splitlines()
    assert identity[0] == "INSTANCE_ID=i-0123456789abcdef0"
    assert identity[2:] == ["AWS_DEFAULT_REGION=us-east-1", f"PYTHON={box.disk}/opt/pytorch/bin/python"]


def test_the_agent_finds_its_packages_before_those_of_the_image(box: Box) -> None:
    box.boot()
    unit = box.files["/etc/systemd/system/chronos-agent.service"]
    (path,) = (line for line in unit.splitlines() if line.startswith("Environment=PYTHONPATH="))
    folders = [Path(folder) for folder in path.removeprefix("Environment=PYTHONPATH=").split(":")]
    assert [folder.name for folder in folders] == ["bundle", "packages"]
    assert (folders[0] / "agent/requirements.txt").exists()
    assert (folders[1] / "forecasting.py").exists()


def test_a_bundle_that_names_no_packages_runs_with_those_of_the_image(box: Box) -> None:
    box.upload("", python=None)
    assert box.boot() == STARTED
    assert not list((box.disk / "opt/chronos-ec2/packages").iterdir())


@pytest.mark.parametrize(
    "troubles",
    [
        {"DOWN": part}
        for part in ("api/token", "placement/region", "instance-id", "request.json", "tar.gz", "python-env", "start")
    ]
    + [{"UNWELL": "yes"}],
    ids=lambda troubles: next(iter(troubles.values())),
)
def test_whatever_fails_the_box_powers_off(box: Box, troubles: dict[str, str]) -> None:
    assert "poweroff --force" in box.boot(**troubles)
    assert "boot failed: could not" in box.complained
    assert box.waited <= 31


@pytest.mark.parametrize("part", ["api/token", "placement/region", "request.json", "tar.gz", "python-env"])
def test_what_does_not_answer_at_first_is_asked_again(box: Box, part: str) -> None:
    assert box.boot(DOWN=part, FOR="3") == STARTED
    assert box.waited == 1 + 2 + 4


def test_nothing_that_is_asked_keeps_it_waiting_for_ever(box: Box) -> None:
    box.boot()
    assert all("--max-time 5" in asked for asked in (box.root / "curl").read_text().splitlines())
    gets = [asked for asked in (box.root / "aws").read_text().splitlines() if "--recursive" not in asked]
    assert all("--cli-connect-timeout 10 --cli-read-timeout 30" in asked for asked in gets)
    assert len(gets) == 3


def test_a_boot_script_that_goes_down_with_its_box_does_not_hold_it_up(box: Box) -> None:
    script = box.root / "boot.sh"
    script.write_text(box.files["/opt/chronos-ec2/boot.sh"])
    troubles = {"DOWN": "request.json", "LONG": "yes"}
    with subprocess.Popen(["bash", script], env=box.environment | troubles, start_new_session=True) as boot:
        while not box.waited:
            assert boot.poll() is None
            time.sleep(0.02)
        os.killpg(boot.pid, signal.SIGTERM)
    assert box.told() == ["poweroff --force"]
    assert box.exit_report is None


def test_a_variable_that_is_missing_is_the_end_too(box: Box) -> None:
    (box.disk / "etc/chronos-ec2/run").write_text(f"CHRONOS_ENVIRONMENT=dev\nRUN_ID={RUN_ID}\nATTEMPT=1\n")
    assert box.boot() == ["poweroff --force"]
    assert "BUCKET: unbound variable" in box.complained


BOOT_LOG = [
    "cloud-init was here",
    "systemd's word of --quiet --boot --unit=chronos-agent.service --no-pager --lines=200",
]


def test_what_was_said_while_the_box_booted_reaches_the_runs_logs(box: Box) -> None:
    box.boot()
    assert (box.log("boot") or "").splitlines() == BOOT_LOG
    assert box.exit_report is None


def test_why_a_boot_failed_is_said_to_the_watchdog_and_in_the_log(box: Box) -> None:
    box.boot(DOWN="tar.gz")
    words = (box.exit_report or "").partition(";")[0]
    assert re.fullmatch(r"boot failed: could not get s3://a-bucket/cached-datasets/agent/[0-9a-f]{64}\.tar\.gz", words)
    assert (box.log("boot") or "").splitlines() == [*BOOT_LOG, box.exit_report]


def after_the_agent(box: Box, **variables: str) -> None:
    """The agent has ended, and systemd does what the unit says."""
    workdir = Workdir(box.disk / "opt/chronos-ec2/work" / RUN_ID)
    workdir.create()
    workdir.agent_log.write_text("the agent's log\n")
    workdir.trainer_log.write_text("the trainer's log\n")
    unit = box.files["/etc/systemd/system/chronos-agent.service"].splitlines()
    (command,) = (line.removeprefix("ExecStopPost=-") for line in unit if line.startswith("ExecStopPost="))
    box.run(*command.split(), **variables)


def test_of_an_agent_that_was_killed_systemd_has_the_last_word(box: Box) -> None:
    after_the_agent(box, SERVICE_RESULT="signal", EXIT_CODE="killed", EXIT_STATUS="KILL")
    assert (box.exit_report or "").startswith("systemd has this of the agent's end: signal (killed KILL)")
    assert (box.log("agent"), box.log("trainer")) == ("the agent's log\n", "the trainer's log\n")


def test_the_logs_of_the_attempt_before_stay(box: Box) -> None:
    run = box.disk / "etc/chronos-ec2/run"
    run.write_text(run.read_text().replace("ATTEMPT=1", "ATTEMPT=2"))
    after_the_agent(box, SERVICE_RESULT="signal", EXIT_CODE="killed", EXIT_STATUS="KILL")
    assert box.stored(exit_report_key("dev", RUN_ID, 2))
    folder = (box.root / "bucket/s3:/a-bucket" / run_key("dev", RUN_ID, "logs/any")).parent
    assert sorted(log.name for log in folder.glob("*.log")) == ["agent-2.log", "boot-2.log", "trainer-2.log"]


def test_an_agent_that_ended_by_itself_has_sent_its_logs(box: Box) -> None:
    after_the_agent(box, SERVICE_RESULT="exit-code", EXIT_CODE="exited", EXIT_STATUS="3")
    assert (box.exit_report or "").startswith("systemd has this of the agent's end: exit-code (exited 3)")
    assert (box.log("agent"), box.log("trainer")) == (None, None)


def test_of_an_agent_that_ended_well_there_is_nothing_to_say(box: Box) -> None:
    after_the_agent(box, SERVICE_RESULT="success", EXIT_CODE="exited", EXIT_STATUS="0")
    assert box.exit_report is None
    assert (box.log("boot") or "").splitlines() == BOOT_LOG


def test_last_words_are_one_short_line(box: Box) -> None:
    box.run(str(box.disk / "opt/chronos-ec2/ship-logs.sh"), "\x1b[31mred\n\u202ewords " + "x" * 10_000)
    assert box.exit_report is not None
    assert box.exit_report.startswith(" [31mred    words xxx")
    assert len(box.exit_report) == 400


def test_the_last_words_are_sent_again_while_there_is_time(box: Box) -> None:
    after_the_agent(box, SERVICE_RESULT="watchdog", EXIT_CODE="dumped", EXIT_STATUS="ABRT", DOWN="/logs", FOR="3")
    assert (box.exit_report or "").startswith("systemd has this of the agent's end: watchdog (dumped ABRT)")
    assert box.waited == 3 * 2


def test_a_log_that_does_not_reach_the_bucket_keeps_no_agent_from_its_start(box: Box) -> None:
    assert box.boot(DOWN="/logs") == STARTED


def test_each_step_is_said_before_it_is_done(box: Box) -> None:
    box.boot(DOWN="request.json")
    assert box.said.splitlines()[-1].endswith(f"/dev/{RUN_ID}/request.json")


def never_started(box: Box, reason: str) -> bool:
    """Boot, and see the box power off with this reason in its log."""
    told = box.boot()
    return "poweroff --force" in told and not any("start" in line for line in told) and reason in box.complained


def test_an_agent_with_another_hash_than_the_order_names_is_not_started(box: Box) -> None:
    with tarfile.open(box.root / "source/bundle.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("agent/__main__.py"))
    assert never_started(box, ".tar.gz: its SHA-256 should be ")


def test_packages_with_another_hash_than_the_bundle_names_are_not_installed(box: Box) -> None:
    with (box.root / "source/python-env.tar").open("ab") as archive:
        archive.write(b"more")
    assert never_started(box, ".tar: its SHA-256 should be ")
    assert not list((box.disk / "opt/chronos-ec2/wheels").iterdir())


def test_a_wheel_with_another_hash_than_the_lock_is_not_installed(box: Box) -> None:
    box.upload(f"forecasting==1 --hash=sha256:{'0' * 64}\n")
    assert never_started(box, "boot failed: could not install the packages")
    assert not list((box.disk / "opt/chronos-ec2/packages").iterdir())


def test_nothing_that_lacks_in_the_archive_comes_from_an_index(box: Box) -> None:
    box.upload(f"six==1.17.0 --hash=sha256:{'0' * 64}\n")
    assert never_started(box, "boot failed: could not install the packages")


def test_an_image_with_another_python_than_the_packages_are_for_is_refused(box: Box) -> None:
    box.upload(box.wheels(), python="3.7")
    assert never_started(box, "boot failed: could not find a Python 3.7 with torch")


@pytest.mark.parametrize("python", [HERE, None])
def test_an_image_without_torch_is_refused(box: Box, python: str | None) -> None:
    (box.root / "site-packages/torch.py").write_text("raise ImportError('no torch')")
    box.upload(box.wheels(), python=python)
    assert never_started(box, f"boot failed: could not find a Python {python or '3.11 or later'} with torch")


@pytest.mark.parametrize("name", ["boot.sh", "ship-logs.sh", "reboot guard"])
def test_the_scripts_are_clean_bash(box: Box, name: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    guard = document()["bootcmd"][-1][-1]
    script = guard if name == "reboot guard" else box.files[f"/opt/chronos-ec2/{name}"]
    # SC1091: the files that it sources are not there to be followed.
    found = subprocess.run(
        ["shellcheck", "--shell=bash", "--exclude=SC1091", "-"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout


def timer(number: int) -> list[str]:
    """What a timer runs when its time has come: the deadline's, or the boot's."""
    command = document()["bootcmd"][number]
    first = command.index("sh")
    return [str(word) for word in command[first:]]


@pytest.mark.parametrize("claimed", [True, False])
def test_the_boot_timer_ends_a_box_without_a_claim_and_no_other(box: Box, claimed: bool) -> None:
    workdir = Workdir(box.disk / "opt/chronos-ec2/work" / RUN_ID)
    workdir.create()
    if claimed:
        workdir.claimed.touch()
    box.output.write_text("boot: begin\nboot: get it\nno news\n")
    box.run(*map(box.inside, timer(1)))
    assert box.told() == ([] if claimed else ["poweroff --force"])
    assert (box.log("boot") is None) is claimed
    assert (box.exit_report or "").startswith(
        "boot failed: no claim within 900 s, its last step: get it"
    ) is not claimed


@pytest.mark.parametrize("part", ["", "/logs"])
def test_the_deadline_timer_ends_every_box_whether_it_can_say_so_or_not(box: Box, part: str) -> None:
    box.run(*map(box.inside, timer(0)), DOWN=part)
    assert box.told() == ["poweroff --force"]
    left = launching().deadline - launching().attempt_started_at + Limits().grace
    words = f"its time is over: still up {left.total_seconds():.0f} s after its start"
    assert (box.exit_report or "").startswith(words) is (not part)


def test_no_timer_waits_for_what_waits_for_it() -> None:
    """Before sysinit.target, where cloud-init may run, a timer that comes after it is never armed."""
    for command in document()["bootcmd"][:2]:
        assert {"--no-block", "--timer-property=DefaultDependencies=no", "--property=DefaultDependencies=no"} <= {
            *command
        }


def test_the_second_boot_is_for_a_unit_that_only_powers_off() -> None:
    *shell, guard = document()["bootcmd"][-1]
    assert shell == ["sh", "-c"]
    assert "WantedBy=sysinit.target" in guard
    # It says so first if it can, which systemd bounds.
    assert {"SuccessAction=poweroff-force", "FailureAction=poweroff-force", "TimeoutStartSec=40"} <= {
        *guard.splitlines()
    }
    assert guard.splitlines()[-1] == "systemctl enable chronos-reboot.service"


@pytest.mark.parametrize("boot", ["first", "second"])
def test_the_first_boot_alone_is_spared(box: Box, boot: str) -> None:
    """Started with any other unit that waits for sysinit.target, the guard would end a box that boots well."""
    units, run = box.root / "units", box.root / "run"
    for folder in (units, run):
        folder.mkdir()
    guard = document()["bootcmd"][-1][-1].replace("/etc/systemd/system", str(units)).replace("/run/", f"{run}/")
    if boot == "second":
        (units / "chronos-reboot.service").touch()
    box.run("sh", "-c", guard)
    assert (run / "chronos-first-boot").exists() is (boot == "first")
    unit = (units / "chronos-reboot.service").read_text()
    assert f"ConditionPathExists=!{run}/chronos-first-boot" in unit.partition("[Service]")[0]
    assert box.told() == ["enable chronos-reboot.service"]


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
    live(world, "bucket", an_identity(), workdir, Control())
    assert workdir.claimed.exists() == (holder is None)
