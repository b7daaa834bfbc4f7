"""chronos-ec2 from Python: what the command does, with DataFrames in and out.

    from chronos_ec2 import Client

    client = Client("dev")
    ahead = client.forecast(sales, horizon=28)
    run = client.fit(sales, horizon=28, max_cost=5)
    run.wait()
    print(run.scores, run.cost_usd)
    run.results("out")

Errors are those of `chronos_ec2.domain.errors`: `UserError` for what the caller can mend, `ServiceUnavailable` for what
may work a moment later. The command line is a layer over the same services.
"""

from chronos_ec2.client.client import Client
from chronos_ec2.client.group import GroupHandle
from chronos_ec2.client.options import LaunchOptions
from chronos_ec2.client.run import RunHandle

__all__ = ["Client", "GroupHandle", "LaunchOptions", "RunHandle"]
