"""The boot script runs for real, with fakes for the commands it calls. Whatever fails, the instance powers off."""

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

from agent.lifecycle import run_agent
from agent.logs.shipper import LogShipper
from agent.protocol.workdir import Workdir
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.s3_keys import exit_report_key, log_key, run_key
from chronos_ec2.services.publish.agent import CHECKOUT
from chronos_ec2.services.publish.wheels import PythonEnv, file_sha256, pack
from chronos_ec2.testing.builders import RUN_ID, launching
from chronos_ec2.user_data import render_user_data
from chronos_ec2.worker.control import Control
from tests.agent.builders import World, a_config, a_workdir, an_identity, launch

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

CURL = """#!/bin/bash
# IMDSv2: without a token it answers 401 and a page. Only with -f does curl exit with an error.
args="$*"
echo "$args" >> "$ROOT/curl"
[[ "$args" == *"$FAILING"* && -n "$FAILING" && $(grep -c "$FAILING" "$ROOT/curl") -le ${FAILURES:-999} ]] && exit 22
if [[ "$args" == *"-X PUT"*api/token* ]]; then printf TOKEN; exit 0; fi
if [[ "$args" != *"X-aws-ec2-metadata-token: TOKEN"* ]]; then
  printf '<html>401</html>'; [[ "$1" == *f* ]] && exit 22; exit 0
fi
case "$args" in
  *placement/region) [[ -n "$HTTP_500" ]] && { printf '<html>500</html>'; [[ "$1" == *f* ]] && exit 22; exit 0; }
    printf us-east-1;;
  *instance-id) printf i-0123456789abcdef0;;
esac
"""
AWS = """#!/bin/bash
echo "$*" >> "$ROOT/aws"
[[ "$*" == *"$FAILING"* && -n "$FAILING" && $(grep -c "$FAILING" "$ROOT/aws") -le ${FAILURES:-999} ]] && exit 1
case "$*" in
  *request.json*) cp "$ROOT/source/request.json" request.json;;
  *agent/*.tar.gz*) cp "$ROOT/source/bundle.tar.gz" bundle.tar.gz;;
  *python-env/*.tar*) cp "$ROOT/source/claim-env.tar" claim-env.tar;;
  *--recursive*/logs) mkdir -p "$ROOT/bucket/${@: -1}"; cp "${@: -2:1}"/* "$ROOT/bucket/${@: -1}";;
esac
"""
SLEEP = """#!/bin/bash
echo "$1" >> "$ROOT/slept"
if [[ -n "$LONG_SLEEP" ]]; then exec /usr/bin/sleep 60; fi
"""
TIMEOUT = """#!/bin/bash
# The real command: what hangs on purpose has a short limit, and a busy machine all the time it needs.
exec /usr/bin/timeout --kill-after=1 $([[ -n "$LONG_SLEEP" ]] && echo 2 || echo 600) "${@:3}"
"""
MOUNTPOINT = """#!/bin/bash
[[ -n "$LOCAL_DISK" && "$*" == "--quiet $ROOT/disk/opt/dlami/nvme" ]]
"""
DF = """#!/bin/bash
echo Avail
case "${@: -1}" in */opt/dlami/nvme) echo "$LOCAL_DISK";; *) echo 60000000000;; esac
"""
JOURNALCTL = """#!/bin/bash
echo "journal of $*"
"""
SYSTEMCTL = """#!/bin/bash
echo "$*" >> "$ROOT/systemctl"
[[ "$1" == start && "$FAILING" == start ]] && exit 1
exit 0
"""
IMAGE_PYTHON = """#!/bin/bash
# The Python of the image: a real Python and pip that see the packages in this folder.
[[ "$1" == "$FAILING" ]] && exit 1
PYTHONPATH="$ROOT/site-packages${PYTHONPATH:+:$PYTHONPATH}" exec "$REAL_PYTHON" "$@"
"""
REDACTION = ("agent/__init__.py", "agent/logs/__init__.py", "agent/logs/redacted_copy.py", "agent/logs/redaction.py")
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def document() -> Any:
    return yaml.safe_load(render_user_data("a-bucket", launching(), Limits()))


class FakeInstance:
    """A folder that stands for the disk of an instance."""

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
        commands |= {"bin/mountpoint": MOUNTPOINT, "bin/df": DF}
        for name, body in (commands | {"disk/opt/pytorch/bin/python": IMAGE_PYTHON}).items():
            (root / name).write_text(body)
            (root / name).chmod(0o755)
        (root / "site-packages/torch.py").touch()
        self.stdout = self.stderr = ""
        self.files = {entry["path"]: self.inside(entry["content"]) for entry in document()["write_files"]}
        (self.disk / "etc/chronos-ec2/run").write_text(self.files["/etc/chronos-ec2/run"])
        self.output = self.disk / "var/log/cloud-init-output.log"
        self.output.write_text("cloud-init was here\n")
        shipper = self.disk / "opt/chronos-ec2/ship-logs.sh"
        shipper.write_text(self.files["/opt/chronos-ec2/ship-logs.sh"])
        shipper.chmod(0o755)
        self.upload(self.wheels())

    def wheels(self) -> str:
        """Put an archive with one wheel into the bucket, and return its lock."""
        wheel = self.root / "source/wheels/forecasting-1-py3-none-any.whl"
        about = "forecasting-1.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("forecasting.py", "")
            archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: forecasting\nVersion: 1\n")
            archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{about}/RECORD", "")
        pack(wheel.parent, self.root / "source/claim-env.tar")
        return f"forecasting==1 --hash=sha256:{file_sha256(wheel)}\n"

    def upload(self, lock: str, python: str | None = HERE) -> None:
        """Put a bundle with this lock into the bucket, and a request that names the bundle."""
        files = {"agent/requirements.txt": lock} | {name: (CHECKOUT / name).read_text() for name in REDACTION}
        if python:
            files["agent/python-env"] = str(
                PythonEnv(python, file_sha256(self.root / "source/claim-env.tar"), "1" * 64, "0" * 64)
            )
        bundle = self.root / "source/bundle.tar.gz"
        with tarfile.open(bundle, "w:gz") as archive:
            for name, text in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
        (self.root / "source/request.json").write_text(json.dumps({"bundle_sha256": file_sha256(bundle)}))

    def inside(self, text: str) -> str:
        """The text with its paths moved below the folder."""
        for folder in ("/etc/chronos-ec2", "/opt/chronos-ec2", "/opt/dlami", "/var/log"):
            text = text.replace(folder, f"{self.disk}{folder}")
        text = text.replace("--tmpdir=/run", f"--tmpdir={self.root}")
        return text.replace("/opt/pytorch", f"{self.disk}/opt/pytorch").replace("/usr/bin/python3", "/no/python3")

    def workdir(self) -> Workdir:
        """The agent's folder, as the boot script and the agent make it."""
        workdir = Workdir(self.disk / "opt/chronos-ec2/work" / RUN_ID)
        if not workdir.root.exists():
            workdir.root.mkdir(parents=True)
            logs = self.disk / "opt/chronos-ec2/logs"
            logs.mkdir()
            workdir.logs.symlink_to(logs)
        workdir.create()
        return workdir

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.root}/bin:/usr/bin:/bin", "ROOT": str(self.root), "FAILING": "", "HTTP_500": "",
            "LOCAL_DISK": "",
            "REAL_PYTHON": sys.executable,
        }  # fmt: skip

    def run(self, *command: str, **faults: str) -> None:
        environment = self.environment | faults
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        self.stdout, self.stderr = done.stdout, done.stderr

    def boot(self, **faults: str) -> list[str]:
        """Boot, and return the calls of systemctl."""
        script = self.root / "boot.sh"
        script.write_text(self.files["/opt/chronos-ec2/boot.sh"])
        self.run("bash", str(script), **faults)
        return self.systemctl_calls()

    def stored(self, key: str) -> str | None:
        """An object in the bucket."""
        path = self.root / "bucket/s3:/a-bucket" / key
        return path.read_text() if path.exists() else None

    def log(self, name: str) -> str | None:
        return self.stored(run_key("dev", RUN_ID, f"logs/{name}.log"))

    @property
    def slept(self) -> int:
        """The seconds it slept in all."""
        log = self.root / "slept"
        return sum(map(int, log.read_text().split())) if log.exists() else 0

    @property
    def exit_report(self) -> str | None:
        return self.stored(exit_report_key("dev", RUN_ID, 1))

    def systemctl_calls(self) -> list[str]:
        calls = self.root / "systemctl"
        return calls.read_text().splitlines() if calls.exists() else []


@pytest.fixture
def instance(tmp_path: Path) -> FakeInstance:
    return FakeInstance(tmp_path)


STARTED = ["daemon-reload", "start chronos-agent.service"]


def test_a_boot_without_faults_starts_the_agent_and_does_not_power_off(instance: FakeInstance) -> None:
    assert instance.boot() == STARTED
    identity = (instance.disk / "etc/chronos-ec2/instance").read_text().splitlines()
    assert identity[0] == "INSTANCE_ID=i-0123456789abcdef0"
    assert identity[2:] == [
        "AWS_DEFAULT_REGION=us-east-1", f"PYTHON={instance.disk}/opt/pytorch/bin/python",
        f"PYTHON_ENV_SHA256={'1' * 64}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("local_disk", "works_on"),
    [
        ("", "opt/chronos-ec2/work"),
        ("59999999999", "opt/chronos-ec2/work"),
        ("225000000000", "opt/dlami/nvme/chronos-ec2"),
    ],
    ids=["none", "smaller", "larger"],
)
def test_a_run_works_on_the_larger_disk_and_logs_to_the_volume(
    instance: FakeInstance, local_disk: str, works_on: str
) -> None:
    (instance.disk / "opt/dlami/nvme").mkdir(parents=True)
    assert instance.boot(LOCAL_DISK=local_disk) == STARTED
    workdir = instance.workdir()
    assert workdir.data.resolve() == instance.disk / works_on / RUN_ID / "data"
    workdir.claimed.touch()
    assert (instance.disk / "opt/chronos-ec2/logs/claimed").exists()


def test_a_local_disk_that_takes_nothing_is_not_used(instance: FakeInstance) -> None:
    (instance.disk / "opt/dlami").mkdir()
    (instance.disk / "opt/dlami/nvme").touch()
    assert instance.boot(LOCAL_DISK="225000000000") == STARTED
    assert instance.workdir().data.resolve() == instance.disk / "opt/chronos-ec2/work" / RUN_ID / "data"


def test_the_agents_packages_shadow_those_of_the_image(instance: FakeInstance) -> None:
    instance.boot()
    unit = instance.files["/etc/systemd/system/chronos-agent.service"]
    (path,) = (line for line in unit.splitlines() if line.startswith("Environment=PYTHONPATH="))
    folders = [Path(folder) for folder in path.removeprefix("Environment=PYTHONPATH=").split(":")]
    assert [folder.name for folder in folders] == ["bundle", "packages", "claim-packages"]
    assert (folders[0] / "agent/requirements.txt").exists()
    assert not folders[1].exists(), "the agent installs them, and a process that starts meanwhile sees all or none"
    assert (folders[2] / "forecasting.py").exists()


def test_what_the_agent_imports_before_the_claim_is_compiled(instance: FakeInstance) -> None:
    instance.boot()
    folder = instance.disk / "opt/chronos-ec2"
    for source in ("bundle/agent/logs/redaction.py", "claim-packages/forecasting.py"):
        path = folder / source
        assert list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")), source


def test_a_bundle_without_packages_uses_those_of_the_image(instance: FakeInstance) -> None:
    instance.upload("", python=None)
    assert instance.boot() == STARTED
    assert "PYTHON_ENV_SHA256=\n" in (instance.disk / "etc/chronos-ec2/instance").read_text()
    assert not (instance.disk / "opt/chronos-ec2/claim-packages").exists()


@pytest.mark.parametrize(
    "faults",
    [
        {"FAILING": part}
        for part in ("api/token", "placement/region", "instance-id", "request.json", "tar.gz", "python-env", "start")
    ]
    + [{"HTTP_500": "yes"}],
    ids=lambda faults: next(iter(faults.values())),
)
def test_whatever_fails_the_instance_powers_off(instance: FakeInstance, faults: dict[str, str]) -> None:
    assert "poweroff --force" in instance.boot(**faults)
    assert "boot failed: could not" in instance.stderr
    assert instance.slept <= 31


@pytest.mark.parametrize("part", ["api/token", "placement/region", "request.json", "tar.gz", "python-env"])
def test_requests_that_fail_at_first_are_retried(instance: FakeInstance, part: str) -> None:
    assert instance.boot(FAILING=part, FAILURES="3") == STARTED
    assert instance.slept == 1 + 2 + 4


def test_every_request_has_a_timeout(instance: FakeInstance) -> None:
    instance.boot()
    assert all("--max-time 5" in call for call in (instance.root / "curl").read_text().splitlines())
    downloads = [call for call in (instance.root / "aws").read_text().splitlines() if "--recursive" not in call]
    assert all("--cli-connect-timeout 10 --cli-read-timeout 30" in call for call in downloads)
    assert len(downloads) == 3


def test_a_boot_script_that_gets_sigterm_does_not_delay_the_shutdown(instance: FakeInstance) -> None:
    script = instance.root / "boot.sh"
    script.write_text(instance.files["/opt/chronos-ec2/boot.sh"])
    faults = {"FAILING": "request.json", "LONG_SLEEP": "yes"}
    with subprocess.Popen(["bash", script], env=instance.environment | faults, start_new_session=True) as boot:
        while not instance.slept:
            assert boot.poll() is None
            time.sleep(0.02)
        os.killpg(boot.pid, signal.SIGTERM)
    assert instance.systemctl_calls() == ["poweroff --force"]
    assert instance.exit_report is None


def test_a_missing_variable_powers_off_too(instance: FakeInstance) -> None:
    (instance.disk / "etc/chronos-ec2/run").write_text(f"CHRONOS_ENVIRONMENT=dev\nRUN_ID={RUN_ID}\nATTEMPT=1\n")
    assert instance.boot() == ["poweroff --force"]
    assert "BUCKET: unbound variable" in instance.stderr


BOOT_LOG = [
    "cloud-init was here",
    "journal of --quiet --boot --unit=chronos-agent.service --no-pager --lines=200",
]


def test_the_boot_log_is_uploaded_with_the_runs_logs(instance: FakeInstance) -> None:
    instance.boot()
    assert (instance.log("boot") or "").splitlines() == BOOT_LOG
    assert instance.exit_report is None


def test_the_reason_why_a_boot_failed_is_in_the_exit_report_and_in_the_log(instance: FakeInstance) -> None:
    instance.boot(FAILING="tar.gz")
    reason = (instance.exit_report or "").partition(";")[0]
    assert re.fullmatch(r"boot failed: could not get s3://a-bucket/cached-datasets/agent/[0-9a-f]{64}\.tar\.gz", reason)
    assert (instance.log("boot") or "").splitlines() == [BOOT_LOG[0], instance.exit_report]


def after_the_agent(
    instance: FakeInstance, trainer: str = "the trainer's log\n", redacts: bool = True, **variables: str
) -> None:
    """The agent has exited, and systemd runs the unit's ExecStopPost."""
    workdir = instance.workdir()
    workdir.agent_log.write_text("the agent's log\n")
    workdir.trainer_log.write_text(trainer)
    for name in REDACTION:
        path = instance.disk / "opt/chronos-ec2/bundle" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((CHECKOUT / name).read_text() if redacts else "damaged!")
    unit = instance.files["/etc/systemd/system/chronos-agent.service"].splitlines()
    (command,) = (line.removeprefix("ExecStopPost=-+") for line in unit if line.startswith("ExecStopPost="))
    instance.run(*command.split(), **variables)


def test_the_exit_report_of_a_killed_agent_is_systemds_result(instance: FakeInstance) -> None:
    after_the_agent(instance, SERVICE_RESULT="signal", EXIT_CODE="killed", EXIT_STATUS="KILL")
    assert (instance.exit_report or "").startswith("systemd's result for the agent: signal (killed KILL)")
    assert (instance.log("agent"), instance.log("trainer")) == ("the agent's log\n", "the trainer's log\n")


KILLED = {"SERVICE_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}
SECRET = "hf_" + "S" * 30


def test_the_logs_of_a_killed_agent_leave_redacted(instance: FakeInstance) -> None:
    after_the_agent(instance, f"login {SECRET}\n\x1b[2Jpassword: hunter22\nhalf of a line {SECRET}", **KILLED)
    assert instance.log("trainer") == "login [hidden]\n [2Jpassword: [hidden]\nhalf of a line [hidden]"


def test_a_secret_of_which_half_was_uploaded_is_not_completed(instance: FakeInstance) -> None:
    """The agent is killed while the trainer writes a line: its copy had the beginning of it."""
    whole, half = "step 1\n", f"password={SECRET[:10]}"
    log, copies = instance.workdir().trainer_log, instance.workdir().logs / "redacted"
    log.write_text(whole + half)
    LogShipper([(lambda _part: None, (log,))], copies).ship()
    after_the_agent(instance, whole + half + SECRET[10:] + "\n", **KILLED)
    rest = instance.stored(log_key("dev", RUN_ID, "trainer.log", 1, part=2))
    assert rest == "password=[hidden]\n"


def test_what_cannot_be_redacted_is_not_uploaded(instance: FakeInstance) -> None:
    after_the_agent(instance, f"login {SECRET}\n", redacts=False, **KILLED)
    assert (instance.log("agent"), instance.log("trainer")) == (None, None)
    assert (instance.exit_report or "").startswith("systemd's result for the agent: signal")


def test_the_end_of_a_very_long_log_begins_with_a_line(instance: FakeInstance) -> None:
    after_the_agent(instance, "".join(f"password=hunter{number:09d}\n" for number in range(300_000)), **KILLED)
    lines = (instance.log("trainer") or "").splitlines()
    assert 100_000 < len(lines) < 300_000
    assert set(lines) == {"password=[hidden]"}


def test_the_journal_leaves_redacted(instance: FakeInstance) -> None:
    (instance.root / "bin/journalctl").write_text(f"#!/bin/bash\necho 'RuntimeError: {SECRET}'\n")
    after_the_agent(instance, **KILLED)
    assert "RuntimeError: [hidden]" in (instance.log("boot") or "")


def test_a_killed_agents_logs_are_continued_where_it_had_stopped_uploading(instance: FakeInstance) -> None:
    redacted = instance.workdir().logs / "redacted"
    redacted.mkdir()
    (redacted / "agent.log.shipped").write_text(f"{len('the agent')} 3\n")
    (redacted / "trainer.log.shipped").write_text(f"{len('the trainer')}999 1\n")
    after_the_agent(instance, SERVICE_RESULT="signal", EXIT_CODE="killed", EXIT_STATUS="KILL")
    assert instance.stored(log_key("dev", RUN_ID, "agent.log", 1, part=4)) == "'s log\n"
    folder = (instance.root / "bucket/s3:/a-bucket" / run_key("dev", RUN_ID, "logs/any")).parent
    assert sorted(log.name for log in folder.iterdir()) == ["agent.log.0004", "boot.log", "exit-report-1.txt"]


def test_later_attempts_do_not_overwrite_logs(instance: FakeInstance) -> None:
    run = instance.disk / "etc/chronos-ec2/run"
    run.write_text(run.read_text().replace("ATTEMPT=1", "ATTEMPT=2"))
    after_the_agent(instance, SERVICE_RESULT="signal", EXIT_CODE="killed", EXIT_STATUS="KILL")
    assert instance.stored(exit_report_key("dev", RUN_ID, 2))
    folder = (instance.root / "bucket/s3:/a-bucket" / run_key("dev", RUN_ID, "logs/any")).parent
    assert sorted(log.name for log in folder.glob("*.log")) == ["agent-2.log", "boot-2.log", "trainer-2.log"]


def test_the_logs_of_an_agent_that_exited_are_not_uploaded_again(instance: FakeInstance) -> None:
    after_the_agent(instance, SERVICE_RESULT="exit-code", EXIT_CODE="exited", EXIT_STATUS="3")
    assert (instance.exit_report or "").startswith("systemd's result for the agent: exit-code (exited 3)")
    assert (instance.log("agent"), instance.log("trainer")) == (None, None)


def test_an_agent_that_succeeded_leaves_no_exit_report(instance: FakeInstance) -> None:
    after_the_agent(instance, SERVICE_RESULT="success", EXIT_CODE="exited", EXIT_STATUS="0")
    assert instance.exit_report is None
    assert (instance.log("boot") or "").splitlines() == BOOT_LOG


def test_an_exit_report_is_one_short_printable_line(instance: FakeInstance) -> None:
    instance.run(str(instance.disk / "opt/chronos-ec2/ship-logs.sh"), "\x1b[31mred\n\u202ewords " + "x" * 10_000)
    assert instance.exit_report is not None
    assert instance.exit_report.startswith(" [31mred    words xxx")
    assert len(instance.exit_report) == 400


def test_the_upload_of_the_exit_report_is_retried_while_there_is_time(instance: FakeInstance) -> None:
    after_the_agent(
        instance, SERVICE_RESULT="watchdog", EXIT_CODE="dumped", EXIT_STATUS="ABRT", FAILING="/logs", FAILURES="3"
    )
    assert (instance.exit_report or "").startswith("systemd's result for the agent: watchdog (dumped ABRT)")
    assert instance.slept == 3 * 2


def test_a_failed_upload_of_the_boot_log_does_not_stop_the_agent(instance: FakeInstance) -> None:
    assert instance.boot(FAILING="/logs") == STARTED


def test_each_step_is_logged_before_it_starts(instance: FakeInstance) -> None:
    instance.boot(FAILING="request.json")
    assert instance.stdout.splitlines()[-1].endswith(f"/dev/{RUN_ID}/request.json")


def never_started(instance: FakeInstance, reason: str) -> bool:
    """Boot, and check that the instance powers off with this reason in its log."""
    calls = instance.boot()
    return "poweroff --force" in calls and not any("start" in call for call in calls) and reason in instance.stderr


def test_a_bundle_with_another_hash_than_the_request_names_is_not_started(instance: FakeInstance) -> None:
    with tarfile.open(instance.root / "source/bundle.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("agent/__main__.py"))
    assert never_started(instance, ".tar.gz: expected SHA-256 ")


def test_a_hash_with_anything_beside_it_verifies_nothing(instance: FakeInstance) -> None:
    request = instance.root / "source/request.json"
    sha256 = json.loads(request.read_text())["bundle_sha256"]
    request.write_text(json.dumps({"bundle_sha256": f"{sha256}  bundle.tar.gz\nany"}))
    assert never_started(instance, ".tar.gz: expected SHA-256 ")


def test_packages_with_another_hash_than_the_bundle_names_are_not_installed(instance: FakeInstance) -> None:
    with (instance.root / "source/claim-env.tar").open("ab") as archive:
        archive.write(b"more")
    assert never_started(instance, ".tar: expected SHA-256 ")
    assert not list((instance.disk / "opt/chronos-ec2/wheels").iterdir())


def test_an_image_with_the_wrong_python_version_is_refused(instance: FakeInstance) -> None:
    instance.upload(instance.wheels(), python="3.7")
    assert never_started(instance, "boot failed: could not find a Python 3.7 with torch")


def test_torch_is_not_imported_to_find_it(instance: FakeInstance) -> None:
    (instance.root / "site-packages/torch.py").write_text("raise ImportError('takes long on a cold volume')")
    assert instance.boot() == STARTED


@pytest.mark.parametrize("python", [HERE, None])
def test_an_image_without_torch_is_refused(instance: FakeInstance, python: str | None) -> None:
    (instance.root / "site-packages/sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    instance.upload(instance.wheels(), python=python)
    assert never_started(instance, f"boot failed: could not find a Python {python or '3.11 or later'} with torch")


@pytest.mark.parametrize("name", ["boot.sh", "ship-logs.sh", "reboot guard"])
def test_the_scripts_pass_shellcheck(instance: FakeInstance, name: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    script = (
        command_with("chronos-reboot")[-1] if name == "reboot guard" else instance.files[f"/opt/chronos-ec2/{name}"]
    )
    # SC1091: the sourced files do not exist here.
    found = subprocess.run(
        ["shellcheck", "--shell=bash", "--exclude=SC1091", "-"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout


def command_with(text: str) -> list[str]:
    """The command of bootcmd that contains a text."""
    (command,) = (command for command in document()["bootcmd"] if text in command[-1])
    return list(command)


def test_nothing_is_upgraded_or_restarted_while_the_instance_lives(instance: FakeInstance) -> None:
    *shell, script = command_with("unattended-upgrades")
    etc = instance.root / "etc"
    instance.run(*shell, script.replace("/etc/", f"{etc}/"))
    masked = {call.removeprefix("mask --now --no-block ") for call in instance.systemctl_calls()}
    assert masked == {
        "unattended-upgrades.service",
        *(f"apt-daily{part}.{kind}" for part in ("", "-upgrade") for kind in ("timer", "service")),
    }
    # Perl, which needrestart reads: list what could be restarted, and restart nothing.
    assert (etc / "needrestart/conf.d/chronos-ec2.conf").read_text() == '$nrconf{restart} = "l";\n'


def test_the_timers_and_the_reboot_guard_are_armed_before_anything_that_is_not_needed() -> None:
    commands = [" ".join(command) for command in document()["bootcmd"]]
    places = [
        next(place for place, command in enumerate(commands) if text in command)
        for text in ("chronos-deadline", "chronos-boot", "chronos-reboot", "unattended-upgrades")
    ]
    assert places == sorted(places)
    assert places[-1] == len(commands) - 1


def timer(number: int) -> list[str]:
    """The command of a timer: 0 for the deadline, 1 for the boot."""
    command = document()["bootcmd"][number]
    first = command.index("sh")
    return [str(word) for word in command[first:]]


@pytest.mark.parametrize("claimed", [True, False])
def test_the_boot_timer_powers_off_only_an_instance_without_a_claim(instance: FakeInstance, claimed: bool) -> None:
    workdir = instance.workdir()
    if claimed:
        workdir.claimed.touch()
    instance.output.write_text("boot: begin\nboot: get it\nsomething else\n")
    instance.run(*map(instance.inside, timer(1)))
    assert instance.systemctl_calls() == ([] if claimed else ["poweroff --force"])
    assert (instance.log("boot") is None) is claimed
    assert (instance.exit_report or "").startswith(
        "boot failed: run not claimed within 900 s, last step: get it"
    ) is not claimed


@pytest.mark.parametrize("part", ["", "/logs"])
def test_the_deadline_timer_powers_off_even_if_the_exit_report_cannot_be_uploaded(
    instance: FakeInstance, part: str
) -> None:
    instance.run(*map(instance.inside, timer(0)), FAILING=part)
    assert instance.systemctl_calls() == ["poweroff --force"]
    left = launching().deadline - launching().attempt_started_at + Limits().grace
    reason = f"the deadline timer fired {left.total_seconds():.0f} s after the start"
    assert (instance.exit_report or "").startswith(reason) is (not part)


def test_the_deadline_timer_powers_off_even_if_the_exit_report_hangs(instance: FakeInstance) -> None:
    instance.run(*map(instance.inside, timer(0)), FAILING="/logs", LONG_SLEEP="1")
    assert instance.systemctl_calls() == ["poweroff --force"]


def test_timers_do_not_wait_for_sysinit_target() -> None:
    """cloud-init may run before sysinit.target. A timer ordered after that target would never be armed."""
    for command in document()["bootcmd"][:2]:
        assert {"--no-block", "--timer-property=DefaultDependencies=no", "--property=DefaultDependencies=no"} <= {
            *command
        }


def test_a_second_boot_only_powers_off() -> None:
    *shell, guard = command_with("chronos-reboot")
    assert shell == ["sh", "-c"]
    assert "WantedBy=sysinit.target" in guard
    # It uploads an exit report first, limited by systemd.
    assert {"SuccessAction=poweroff-force", "FailureAction=poweroff-force", "TimeoutStartSec=40"} <= {
        *guard.splitlines()
    }
    assert guard.splitlines()[-1] == "systemctl enable chronos-reboot.service"


@pytest.mark.parametrize("boot", ["first", "second"])
def test_the_reboot_unit_does_not_act_in_the_first_boot(instance: FakeInstance, boot: str) -> None:
    """systemd may start it along with any unit that is ordered before sysinit.target."""
    units, run = instance.root / "units", instance.root / "run"
    for folder in (units, run):
        folder.mkdir()
    guard = command_with("chronos-reboot")[-1].replace("/etc/systemd/system", str(units)).replace("/run/", f"{run}/")
    if boot == "second":
        (units / "chronos-reboot.service").touch()
    instance.run("sh", "-c", guard)
    assert (run / "chronos-first-boot").exists() is (boot == "first")
    unit = (units / "chronos-reboot.service").read_text()
    assert f"ConditionPathExists=!{run}/chronos-first-boot" in unit.partition("[Service]")[0]
    assert instance.systemctl_calls() == ["enable chronos-reboot.service"]


def test_a_kernel_panic_reboots_instead_of_halting() -> None:
    assert ["sysctl", "-w", "kernel.panic=10", "kernel.panic_on_oops=1"] in document()["bootcmd"]


@pytest.mark.parametrize("run_id", ["$(reboot)", "20260131T110000Z-1a2b3c;reboot", "a/b", "a&b"])
def test_a_run_id_cannot_inject_anything(run_id: str) -> None:
    with pytest.raises(InvalidInput):
        render_user_data("a-bucket", launching(run_id=run_id), Limits())


@pytest.mark.parametrize("holder", [None, "i-0ffffffffffffffff"])
def test_only_a_claim_disarms_the_boot_timer(tmp_path: Path, holder: str | None) -> None:
    world, workdir = World(), a_workdir(tmp_path)
    launch(world, a_config(no_such_key=1), instance_id=holder)
    run_agent(world, "bucket", an_identity(), workdir, Control())
    assert workdir.claimed.exists() == (holder is None)
