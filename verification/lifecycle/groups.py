"""Histories of groups: processes die, calls fail, and a kill may come, at random; and how series fall to shards."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from agent.data.ingest.shards import split
from chronos_ec2.domain.errors import ChronosError
from chronos_ec2.domain.groups.order import Group, Purpose
from chronos_ec2.job_config.data import Data
from chronos_ec2.services.run_queries import final_record
from chronos_ec2.testing import Crash, Environment
from chronos_ec2.testing.builders import a_group
from verification.simulation.campaign import without_log

MEMBERS = ("started_twice", "lost", "over_cap")
_DISTURBED, _CLEAN = 25, 120
_TICK_USD = 0.1
"""What a member may cost beyond its cap until a sweep sees it and its instance is gone, at $0.752 an hour."""


def group_histories(count: int) -> dict[str, int]:
    """The figures of so many histories: what went wrong, which should be nothing."""
    found = Counter(dict.fromkeys(("histories", *MEMBERS), 0))
    with without_log():
        for seed in range(count):
            found.update(_history(Random(seed)))
            found["histories"] += 1
    return dict(found)


def _history(random: Random) -> Counter[str]:
    env = Environment(price_per_hour_usd=0.752)
    members, parallel = random.randint(2, 6), random.randint(1, 4)
    purpose, cap = random.choice([*Purpose]), random.choice([None, 0.5, 1.0, 9.0])
    group = a_group("group", members, parallel=parallel, purpose=purpose, max_cost_usd=cap)
    killed_at = random.randint(0, _DISTURBED) if random.random() < 0.3 else None
    with env.faults.suspended():
        env.groups.orders.create(group)
    for tick in range(_DISTURBED):
        env.faults.clear()
        random.choice((env.faults.crash_before, env.faults.crash_after))("*", skip=random.randrange(80))
        with suppress(Crash, ChronosError):
            if tick == killed_at:
                env.groups.kill(group.name, env.watchdog, "by hand")
            if random.random() < 0.2:
                env.groups.go_on(group.name)
        with suppress(Crash, ChronosError):
            env.tick()
    env.faults.clear()
    for _ in range(3):
        with suppress(ChronosError):  # a message is pending, or a launcher has slept: whoever asked asks again
            if killed_at is not None:
                env.groups.kill(group.name, env.watchdog, "by hand")
            env.groups.go_on(group.name)
        env.tick()
    for _ in range(_CLEAN):
        env.tick()
    return judged(env, group, cap)


def judged(env: Environment, group: Group, cap: float | None) -> Counter[str]:
    """What is wrong with a group, or in an environment that has been left alone since."""
    ledger, result = env.groups.orders.ledger(group.name).ledger, env.groups.orders.result(group.name)
    instances = Counter(one.run_id for one in env.fleet.instances(env.name))
    ends = {one.run_id: final_record(env.store, env.name, one.run_id) for one in ledger.entries}
    unended = [run_id for run_id, final in ends.items() if final is None and (not ledger.stopped or instances[run_id])]
    spent = sum(final.spent_usd for final in ends.values() if final)
    return Counter(
        started_twice=sum(count > 1 for count in instances.values()),
        lost=len(unended) + (result is None) + (not env.settled),
        over_cap=cap is not None and spent > cap + _TICK_USD * len(ends),
    )


def shard_figures(series: int = 2000) -> dict[str, int]:
    """How many series fall to no shard or to several, for some numbers of shards."""
    names = [f"item {number}" if number % 3 else f"größe-{number}" for number in range(series)]
    table = pa.table(
        {"item_id": names, "timestamp": pa.array([0] * series, pa.timestamp("s")), "target": [1.0] * series}
    )
    wrong, data = 0, Data.model_validate({"path": "x"})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "data.parquet")
        pq.write_table(table, file)
        for of, rows in ((2, series), (3, 100), (8, series), (8, 50)):
            counts: Counter[str] = Counter()
            for index in range(of):
                into = Path(folder, f"{of}-{rows}-{index}")
                shards = split([file], [], data, into, lambda _done, _total: None, rows, (index, of))
                for shard in shards:
                    counts.update(pq.read_table([*shard.files], columns=["item_id"])["item_id"].to_pylist())
            wrong += sum(counts[name] != 1 for name in names)
    return {"items_in_no_or_two_shards": wrong}
