"""A testkit for your trainers and checks: AWS in memory, faults by operation name, and a whole environment over both.

    from datetime import timedelta
    from chronos_ec2.domain.errors import ServiceUnavailable
    from chronos_ec2.testing import Environment

    def test_a_silent_agent_is_terminated_although_its_verdict_cannot_be_written():
        env = Environment()
        launched = env.launch()
        env.claim(launched)
        env.clock.advance(timedelta(minutes=5))
        env.first_look()
        env.faults.fail("objects.replace", ServiceUnavailable("S3 is down"))
        env.watchdog.sweep()
        assert env.fleet.terminate_calls == [launched.instance_id]

The contract tests hold the adapters to what AWS does. `builders` makes values, `aws_server` runs moto (not installed
with this package). More in docs/testing.md.
"""

from chronos_ec2.testing.agent import Agent, AgentBehaviour
from chronos_ec2.testing.aws import MemoryAws, MemoryNotifier, MemorySetupChecks, MemoryStreams
from chronos_ec2.testing.clock import MemoryClock, VirtualTime
from chronos_ec2.testing.deadlines import MemoryDeadlines
from chronos_ec2.testing.environment import Environment
from chronos_ec2.testing.faults import Crash, Faults, Interceptor
from chronos_ec2.testing.fleet import MemoryFleet
from chronos_ec2.testing.objects import MemoryObjects, MemoryTransfer

__all__ = [
    "Agent",
    "AgentBehaviour",
    "Crash",
    "Environment",
    "Faults",
    "Interceptor",
    "MemoryAws",
    "MemoryClock",
    "MemoryDeadlines",
    "MemoryFleet",
    "MemoryNotifier",
    "MemoryObjects",
    "MemorySetupChecks",
    "MemoryStreams",
    "MemoryTransfer",
    "VirtualTime",
]
