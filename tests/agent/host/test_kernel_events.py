"""What the kernel says of GPUs and of memory."""

from __future__ import annotations

from pathlib import Path

from agent.host.kernel_events import Box, xids

# As the driver writes it; the first two are a program's own faults.
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


def test_the_drivers_reports_are_found_among_the_rest(tmp_path: Path) -> None:
    found = xids(a_log(tmp_path))
    assert [(one.sequence, one.number, one.fatal) for one in found] == [
        (902, 31, False), (903, 43, False), (904, 48, True)
    ]  # fmt: skip
    assert [str(one) for one in found[1:]] == [
        "Xid 43 of PCI:0000:00:1e",
        "Xid 48 of PCI:0000:00:1e: a double-bit memory error",
    ]


def test_a_fault_from_before_is_not_the_trainers(tmp_path: Path) -> None:
    box = Box(a_log(tmp_path))
    assert box.gpu_fault() is None
    a_log(tmp_path, LOG + "4,905,8000000,-;NVRM: Xid (PCI:0000:00:1f): 79, GPU has fallen off the bus.\n")
    assert box.gpu_fault() == "Xid 79 of PCI:0000:00:1f: it has fallen off the bus"


def test_a_programs_own_fault_is_none_of_the_gpu(tmp_path: Path) -> None:
    box = Box(a_log(tmp_path, ""))
    a_log(tmp_path, LOG.partition("4,904")[0])
    assert box.gpu_fault() is None


def test_a_log_that_may_not_be_read_says_nothing(tmp_path: Path) -> None:
    assert xids(tmp_path / "none") == ()
    assert Box(tmp_path / "none", tmp_path / "none").gpu_fault() is None


def test_this_machines_own_log_is_read_to_its_end() -> None:
    """The device answers one record a read, and does not end like a file."""
    assert isinstance(xids(), tuple)


def test_processes_killed_for_memory_are_counted_from_now_on(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 1\noom_kill 3\n")
    box = Box(tmp_path / "none", vmstat)
    assert box.killed_for_memory() == 0
    vmstat.write_text("nr_free_pages 1\noom_kill 5\n")
    assert box.killed_for_memory() == 2
    vmstat.write_text("not what it was\n")
    assert Box(tmp_path / "none", vmstat).killed_for_memory() == 0


def test_where_the_trainer_has_a_group_its_own_dead_are_counted_and_no_others(tmp_path: Path) -> None:
    vmstat, counts = tmp_path / "vmstat", [2]
    vmstat.write_text("oom_kill 3\n")
    box = Box(tmp_path / "none", vmstat, lambda: counts[0])
    vmstat.write_text("oom_kill 9\n")
    assert box.killed_for_memory() == 0
    counts[0] = 3
    assert box.killed_for_memory() == 1
