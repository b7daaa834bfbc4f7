"""GPU faults and OOM kills from the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.host.kernel_events import KernelEvents, Xid, xids

# As the driver writes it. The first two Xids are faults of the program.
LOG = """\
6,901,5000000,-;nvidia: module license 'NVIDIA' taints kernel.
 SUBSYSTEM=pci
4,902,6000000,-;NVRM: Xid (PCI:0000:00:1e): 31, pid=4242, name=python, Ch 00000008, intr 00000000. MMU Fault
4,903,6000001,-;NVRM: Xid (PCI:0000:00:1e): 43, pid=4242, name=python, Ch 00000008
4,904,7000000,-;NVRM: Xid (PCI:0000:00:1e): 48, pid='<unknown>', name=<unknown>, DBE (double bit error) ECC Error
"""


def a_log(tmp_path: Path, text: str = LOG) -> Path:
    path = tmp_path / "kmsg"
    path.write_text(text)
    return path


def test_xids_are_found_in_the_kernel_log(tmp_path: Path) -> None:
    found = xids(a_log(tmp_path))
    assert [(one.sequence, one.number, one.fatal) for one in found] == [
        (902, 31, False), (903, 43, False), (904, 48, True)
    ]  # fmt: skip
    assert [str(one) for one in found[1:]] == [
        "Xid 43 on PCI:0000:00:1e",
        "Xid 48 on PCI:0000:00:1e: double-bit ECC error",
    ]


def test_a_fault_before_the_trainer_started_is_ignored(tmp_path: Path) -> None:
    events = KernelEvents(a_log(tmp_path))
    assert events.gpu_fault() is None
    a_log(tmp_path, LOG + "4,905,8000000,-;NVRM: Xid (PCI:0000:00:1f): 79, GPU has fallen off the bus.\n")
    assert events.gpu_fault() == "Xid 79 on PCI:0000:00:1f: GPU has fallen off the bus"


def test_a_fault_of_the_program_is_no_gpu_fault(tmp_path: Path) -> None:
    events = KernelEvents(a_log(tmp_path, ""))
    a_log(tmp_path, LOG.partition("4,904")[0])
    assert events.gpu_fault() is None


@pytest.mark.parametrize("number", [13, 31, 32, 43, 45, 69])
def test_an_xid_that_programs_cause_is_not_fatal(number: int) -> None:
    """NVIDIA's catalogue: graphics engine exception, page fault, DMA, reset and preemptive clean-up of a channel."""
    assert not Xid(1, "PCI:0000:00:1e", number).fatal


@pytest.mark.parametrize("number", [48, 62, 64, 74, 79, 94, 95, 119, 120, 140])
def test_an_xid_after_which_a_gpu_needs_a_reset_or_a_repair_is_fatal(number: int) -> None:
    assert Xid(1, "PCI:0000:00:1e", number).fatal


def test_an_unreadable_kernel_log_has_no_xids(tmp_path: Path) -> None:
    assert xids(tmp_path / "none") == ()
    assert KernelEvents(tmp_path / "none", tmp_path / "none").gpu_fault() is None


def test_the_kernel_log_of_this_machine_is_read_to_its_end() -> None:
    """The device returns one record per read, and has no end of file."""
    assert isinstance(xids(), tuple)


def test_oom_kills_are_counted_from_the_start(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 1\noom_kill 3\n")
    events = KernelEvents(tmp_path / "none", vmstat)
    assert events.oom_kills() == 0
    vmstat.write_text("nr_free_pages 1\noom_kill 5\n")
    assert events.oom_kills() == 2
    vmstat.write_text("not what it was\n")
    assert KernelEvents(tmp_path / "none", vmstat).oom_kills() == 0


def test_with_a_trainer_cgroup_only_its_oom_kills_are_counted(tmp_path: Path) -> None:
    vmstat, counts = tmp_path / "vmstat", [2]
    vmstat.write_text("oom_kill 3\n")
    events = KernelEvents(tmp_path / "none", vmstat, lambda: counts[0])
    vmstat.write_text("oom_kill 9\n")
    assert events.oom_kills() == 0
    counts[0] = 3
    assert events.oom_kills() == 1
