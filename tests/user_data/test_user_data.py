"""The user data is well-formed, arms its timers first, and is closed to injection."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import yaml

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.status import Cause, Status, Suspect
from chronos_ec2.testing.builders import NOW, RUN_ID, launching
from chronos_ec2.user_data import render_user_data


def rendered() -> str:
    return render_user_data("a-bucket", launching(), Limits())


def files() -> dict[str, str]:
    document: Any = yaml.safe_load(rendered())
    return {entry["path"]: entry["content"] for entry in document["write_files"]}


def test_it_is_cloud_config_with_the_timers_first() -> None:
    assert rendered().startswith("#cloud-config\n")
    document: Any = yaml.safe_load(rendered())
    assert next(iter(document)) == "bootcmd"
    deadline, boot = (" ".join(command) for command in document["bootcmd"][:2])
    # The eleven hours until the deadline, and the grace.
    assert "--on-active=39720s" in deadline
    assert "--on-active=900s" in boot


HOURS = [(12.0, 43200 + 120), (1.0, 3600 + 120), (0.0, 120), (-1.0, 120), (9000.0, 43200 + 120)]


@pytest.mark.parametrize(("hours", "seconds"), HOURS)
def test_the_deadline_timer_of_a_later_attempt_is_set_to_the_time_that_is_left(hours: float, seconds: int) -> None:
    began = NOW + timedelta(hours=11)
    first = launching(deadline=began + timedelta(hours=hours))
    again = replace(first, attempt=2, phases=(*first.phases, (Status.INITIALIZATION, began)))
    document: Any = yaml.safe_load(render_user_data("a-bucket", again, Limits()))
    assert f"--on-active={seconds}s" in " ".join(document["bootcmd"][0])


def test_a_repeated_launch_requests_the_same_instance() -> None:
    first = launching(deadline=NOW + timedelta(hours=12))
    suspect = Suspect(Cause.INFRA, "not listed", NOW + timedelta(minutes=5))
    later = replace(first, suspect=suspect, updated_at=NOW + timedelta(minutes=5), seq=9)
    assert render_user_data("a-bucket", first, Limits()) == render_user_data("a-bucket", later, Limits())


def test_the_agent_gets_its_identity() -> None:
    assert files()["/etc/chronos-ec2/run"].splitlines() == [
        "BUCKET=a-bucket", "CHRONOS_ENVIRONMENT=dev", f"RUN_ID={RUN_ID}", "ATTEMPT=1",
        "AWS_METADATA_SERVICE_NUM_ATTEMPTS=10", "AWS_METADATA_SERVICE_TIMEOUT=5",
    ]  # fmt: skip
    unit = files()["/etc/systemd/system/chronos-agent.service"]
    assert "--attempt ${ATTEMPT}" in unit
    assert "EnvironmentFile=/etc/chronos-ec2/run" in unit.splitlines()


def test_the_instance_powers_off_when_the_agent_exits() -> None:
    unit = files()["/etc/systemd/system/chronos-agent.service"]
    assert "SuccessAction=poweroff" in unit
    assert "FailureAction=poweroff-force" in unit
    assert "Restart=no" in unit.splitlines()


def test_systemds_watchdog_ends_an_agent_that_stops_reporting() -> None:
    unit = files()["/etc/systemd/system/chronos-agent.service"].splitlines()
    assert "Type=notify" in unit
    # Half of the ten minutes after which an agent without S3 fences itself.
    assert "WatchdogSec=300" in unit


def test_the_agent_survives_an_oom_killed_trainer() -> None:
    unit = files()["/etc/systemd/system/chronos-agent.service"].splitlines()
    assert {"KillMode=mixed", "Delegate=yes", "OOMPolicy=continue", "Environment=CHRONOS_CGROUP_DELEGATED=yes"} <= {
        *unit
    }


def test_the_agent_and_its_trainer_write_where_they_work_only() -> None:
    unit = files()["/etc/systemd/system/chronos-agent.service"].splitlines()
    assert {
        "NoNewPrivileges=yes", "ProtectSystem=strict", "ReadWritePaths=/opt/chronos-ec2 -/opt/dlami/nvme",
        "PrivateTmp=yes", "ProtectHome=yes", "Environment=HOME=/tmp", "RestrictNamespaces=yes",
    } <= {*unit}  # fmt: skip
    # Nothing that would hide the GPUs, their driver, or the cgroup of the trainer.
    closed = ("PrivateDevices", "DevicePolicy", "DeviceAllow", "ProtectClock", "ProtectControlGroups",
              "ProtectKernelModules", "ProtectKernelLogs", "MemoryDenyWriteExecute", "PrivateNetwork")  # fmt: skip
    assert not [line for line in unit if line.startswith(closed)]
    assert "ExecStopPost=-+/opt/chronos-ec2/ship-logs.sh" in unit


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_boot_script_is_bash() -> None:
    script = files()["/opt/chronos-ec2/boot.sh"]
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("bucket", ["a;reboot", "a b", "$(reboot)", "a\nb", ""])
def test_a_bucket_name_cannot_inject_anything(bucket: str) -> None:
    with pytest.raises(InvalidInput):
        render_user_data(bucket, launching(), Limits())
