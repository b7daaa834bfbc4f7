"""Cloud Custodian's side of the sweep benchmark. Runs in its own environment, without this project.

`custodian_sweep.py REPEATS` runs a terminate-when-old policy against AWS_ENDPOINT_URL, and prints the seconds of each
run and the AWS calls of all runs as JSON.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from collections import Counter
from typing import Any

from botocore.client import BaseClient
from c7n.config import Config
from c7n.loader import PolicyLoader
from c7n.resources import load_resources

POLICY = {
    "name": "terminate-when-old",
    "resource": "aws.ec2",
    "query": [
        {"tag:Project": "Chronos-Training"},
        {"tag:Environment": "dev"},
        {"tag:ManagedBy": "chronos-ec2"},
        {"instance-state-name": "running"},
    ],
    "filters": [{"type": "instance-age", "op": "ge", "hours": 12}],
    "actions": ["terminate"],
}


def main() -> None:
    """Run the policy."""
    logging.disable()
    calls: Counter[str] = Counter()
    _count(calls)
    load_resources(("aws.ec2",))
    seconds = []
    with tempfile.TemporaryDirectory() as output:
        config = Config.empty(
            region="us-east-1", regions=["us-east-1"], output_dir=output, account_id="123456789012", cache="memory",
            cache_period=0, metrics_enabled=False,
        )  # fmt: skip
        (policy,) = PolicyLoader(config).load_data({"policies": [POLICY]}, "bench")
        for _ in range(int(sys.argv[1])):
            begin = time.perf_counter()
            found = policy.run()
            seconds.append(time.perf_counter() - begin)
            if found:
                raise SystemExit(f"no instance is old, but {len(found)} were found")
    json.dump({"seconds": seconds, "calls": calls}, sys.stdout)


def _count(calls: Counter[str]) -> None:
    """Count every API call, also each page of a list, in botocore: Custodian's sessions accept no event hooks."""
    base: Any = BaseClient
    made = base._make_api_call

    def counted(client: BaseClient, operation: str, parameters: object) -> object:
        calls[f"{client.meta.service_model.service_name}.{operation}"] += 1
        return made(client, operation, parameters)

    base._make_api_call = counted


if __name__ == "__main__":
    main()
