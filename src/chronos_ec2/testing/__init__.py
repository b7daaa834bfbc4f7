"""The ports in plain Python, for tests and simulation. The contract suite holds them to what AWS does."""

from chronos_ec2.testing.faults import Crash, Faults, NoFaults
from chronos_ec2.testing.memory import MemoryNotifier, MemorySetupChecks, MemoryStreams, MemoryWorld
from chronos_ec2.testing.memory_clock import MemoryClock
from chronos_ec2.testing.memory_fleet import MemoryFleet
from chronos_ec2.testing.memory_objects import MemoryObjects, MemoryTransfer

__all__ = [
    "Crash",
    "Faults",
    "MemoryClock",
    "MemoryFleet",
    "MemoryNotifier",
    "MemoryObjects",
    "MemorySetupChecks",
    "MemoryStreams",
    "MemoryTransfer",
    "MemoryWorld",
    "NoFaults",
]
