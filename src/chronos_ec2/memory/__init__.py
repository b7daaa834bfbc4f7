"""The ports in plain Python, for tests and simulation. The contract suite holds them to what AWS does."""

from chronos_ec2.memory.faults import Crash, Faults, NoFaults
from chronos_ec2.memory.world import (
    MemoryClock,
    MemoryFleet,
    MemoryNotifier,
    MemoryObjects,
    MemoryStreams,
    MemoryTransfer,
    MemoryWiring,
    MemoryWorld,
)

__all__ = [
    "Crash",
    "Faults",
    "MemoryClock",
    "MemoryFleet",
    "MemoryNotifier",
    "MemoryObjects",
    "MemoryStreams",
    "MemoryTransfer",
    "MemoryWiring",
    "MemoryWorld",
    "NoFaults",
]
