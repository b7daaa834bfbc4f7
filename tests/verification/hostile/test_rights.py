"""What the simulated instance may write is what the template lets a real one write, key by key."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.template.objects import may
from tests.template.test_policies import policies
from verification.hostile.rights import Right, right_to_write
from verification.hostile.writing import Target, Writer

RUN = "20260131T110000Z-1a2b3c"
NAMES = (
    "claims/", "outcomes/", "heartbeat.json", "status.json", "run.json", "training.json", "metrics.jsonl", "metrics",
    "forecasts.parquet", "report.html", "forecasts/", "checkpoints/", "models/", "eval/", "plots/", "tensorboard/",
    "logs/",
    "request.json", "state.json", "cleanup_status.json", "system-state.json", "sweep.json", "teardown.json",
    "notified/", "incidents/", "suspects/", "unreadable/", "lanes/", "agent/", "training-data/", "configs/",
)  # fmt: skip
PARTS = st.sampled_from((*NAMES, RUN, f"{RUN}/", "dev/", "prod/", "cached-datasets/", "/", "1.json", "x", "T", "Z-"))
KEYS = st.one_of(
    st.builds("{}/{}/{}{}".format, st.sampled_from(("dev", "prod")), st.just(RUN), st.sampled_from(NAMES), PARTS),
    st.builds("dev/{}T{}Z-{}/{}".format, *[st.text("0/alnes", min_size=n, max_size=n) for n in (8, 6, 6)],
              st.sampled_from(NAMES)),
    st.lists(PARTS, min_size=1, max_size=6).map("".join),
)  # fmt: skip


def by_the_policy(key: str) -> Right | None:
    if may(policies(), "instance", "replace", key):
        return Right.REPLACE
    return Right.CREATE if may(policies(), "instance", "create", key) else None


@given(KEYS)
@example("dev/lanes/x/T123456Z-123456/status.json")
@example("dev/lanes/abT123456Z-123456/models/x")
@example(f"dev/{RUN}/tensorboard/events")
@example(f"dev/{RUN}/forecasts.parquet")
@example(f"dev/{RUN}/metrics-of-another-name")
def test_the_simulated_instance_may_write_what_the_policies_let_it_write(key: str) -> None:
    assert right_to_write(key, "dev") is by_the_policy(key)


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_asked_for(name: str) -> None:
    key = f"dev/{RUN}/{name}"
    assert right_to_write(key, "dev") is by_the_policy(key)


def test_the_simulated_instance_uses_each_right() -> None:
    writer = Writer(Random(0), lambda: ["i-0123456789abcdef0"], list)
    written = {writer.writing(Target(RUN, 1)).name.split("/")[0] for _ in range(2000)} | {"heartbeat.json"}
    allowed = {name.rstrip("/") for name in NAMES if right_to_write(f"dev/{RUN}/{name}", "dev")}
    assert written == allowed
