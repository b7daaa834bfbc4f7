"""Start the runs of schedules, each once, within a month's limit; and the job after a run that has succeeded.

The order of the steps is the protocol, verification/model/schedules.pml: the request is written once, the run entered
into the ledger on condition, its lane taken on condition; then the claim is read, because the lane may have been free
since this very run is over. An invocation that crashes is delivered again, and goes on where it was.
"""

from chronos_ec2.services.schedules.service import Schedules, Started

__all__ = ["Schedules", "Started"]
