"""Who may do what to each object of the bucket, as the policies of the synthesised stack decide it.

`python -m tests.template.objects` writes the table into docs/security.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.s3_keys import (
    bundle_key,
    champion_key,
    champion_version_key,
    claim_key,
    code_key,
    exit_report_key,
    followed_key,
    group_key,
    hub_model_key,
    idle_unreadable_key,
    incident_key,
    judgement_key,
    lane_turn_key,
    ledger_key,
    log_key,
    model_key,
    outcome_key,
    python_env_key,
    run_key,
    schedule_key,
    set_aside_key,
    shared_key,
    status_key,
    success_key,
    suspect_key,
    teardown_key,
)
from tests.template.conftest import ROOT
from tests.template.iam import Answer, Policies, Request
from tests.template.test_policies import AS_WE_CALL, BUCKET, RUN, policies
from verification.template.synthesis import synthesised

DOCUMENT = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- objects -->\n", "<!-- end of objects -->\n"
WHO = {"instance": "InstanceRole", "watchdog": "WatchdogRole", "launcher": "LauncherRole", "operator": "OperatorPolicy"}
NEW, SAME = {"s3:if-none-match": "*"}, {"s3:if-match": "etag"}
ACTIONS: dict[str, list[tuple[str, Mapping[str, str]]]] = {
    "create": [("s3:PutObject", NEW), ("s3:PutObject", {})],
    "replace": [("s3:PutObject", SAME), ("s3:PutObject", {})],
    "read": [("s3:GetObject", {})],
    "delete": [("s3:DeleteObject", SAME), ("s3:DeleteObject", {})],
}
"""Each action, by the requests of which one has to be allowed."""
HASH, ENVIRONMENT = "0" * 64, "dev"
LANE, OTHER = Lane(ENVIRONMENT), Lane(ENVIRONMENT, "nightly")
OBJECTS: dict[str, Sequence[str]] = {
    "the lock: `system-state.json`, `lanes/LANE/system-state.json`": [LANE.state_key, OTHER.state_key],
    "the order: `RUN/request.json`": [run_key(ENVIRONMENT, RUN, "request.json")],
    "`RUN/claims/ATTEMPT.json`": [claim_key(ENVIRONMENT, RUN, 1)],
    "`RUN/outcomes/ATTEMPT.json`": [outcome_key(ENVIRONMENT, RUN, 1)],
    "`RUN/heartbeat.json`, `RUN/status.json`": [
        run_key(ENVIRONMENT, RUN, "heartbeat.json"), status_key(ENVIRONMENT, RUN),
    ],
    "results: `RUN/` `models/` `forecasts/` `eval/` `plots/` `tensorboard/` and the files beside them": [
        run_key(ENVIRONMENT, RUN, name)
        for name in ("models/model.safetensors", "forecasts/part-00000.parquet", "eval/metrics.json", "plots/loss.png",
                     "tensorboard/events", "forecasts.parquet", "report.html", "run.json", "training.json")
    ],
    "what a forecast consists of: `RUN/forecasts/manifest.json`": [
        run_key(ENVIRONMENT, RUN, "forecasts/manifest.json")
    ],
    "`RUN/checkpoints/`, `RUN/logs/`, `RUN/metrics.jsonl`": [
        run_key(ENVIRONMENT, RUN, "checkpoints/100/manifest.json"), exit_report_key(ENVIRONMENT, RUN, 1),
        log_key(ENVIRONMENT, RUN, "trainer.log", 1), run_key(ENVIRONMENT, RUN, "metrics.jsonl"),
    ],
    "the final record: `RUN/state.json`": [run_key(ENVIRONMENT, RUN, "state.json")],
    "the receipt: `RUN/cleanup_status.json`": [run_key(ENVIRONMENT, RUN, "cleanup_status.json")],
    "markers of messages about runs: `notified/`": [incident_key(ENVIRONMENT, RUN, "failed", 1)],
    "about instances: `incidents/`": [incident_key(ENVIRONMENT, "i-0123456789abcdef0", "orphan", None)],
    "about schedules and groups: `incidents/` `schedule-NAME/` `group-NAME/`": [
        incident_key(ENVIRONMENT, "schedule-nightly", "skipped", None),
        incident_key(ENVIRONMENT, "group-sales", "ended", None),
    ],
    "`suspects/`": [suspect_key(ENVIRONMENT, "i-0123456789abcdef0"), idle_unreadable_key(LANE, "etag")],
    "`unreadable/`": [set_aside_key(LANE, "etag")],
    "the champion of a model: `models/MODEL/champion.json`": [champion_key(ENVIRONMENT, "default")],
    "`models/MODEL/` `history/` `judgements/`": [
        champion_version_key(ENVIRONMENT, "default", 1), judgement_key(ENVIRONMENT, "default", RUN),
    ],
    "the order of a schedule: `schedules/NAME/order.json`": [schedule_key(ENVIRONMENT, "nightly")],
    "what it has started: `schedules/NAME/ledger.json`": [ledger_key(ENVIRONMENT, "nightly")],
    "the order of a group: `groups/NAME/order.json`": [group_key(ENVIRONMENT, "sales", "order.json")],
    "what it has started: `groups/NAME/ledger.json`": [group_key(ENVIRONMENT, "sales", "ledger.json")],
    "how it has ended: `groups/NAME/` `result.json` `manifest.json`": [
        group_key(ENVIRONMENT, "sales", name) for name in ("result.json", "manifest.json")
    ],
    "what follows a run: `followed/RUN.json`": [followed_key(ENVIRONMENT, RUN)],
    "`sweep.json`": [lane_turn_key(ENVIRONMENT)],
    "`teardown.json`": [teardown_key(ENVIRONMENT)],
    "`cached-datasets/` `agent/` `code/` `python-env/`, by hash": [
        bundle_key(HASH), code_key(HASH), python_env_key(HASH),
    ],
    "`cached-datasets/models/`, by hash": [model_key(HASH, "model.safetensors")],
    "`cached-datasets/ENV/models/`": [hub_model_key(ENVIRONMENT, "amazon/chronos-2", HASH[:40])],
    "`cached-datasets/ENV/training-data/`": [shared_key(ENVIRONMENT, "training-data/sales/a.parquet")],
    "data are whole: `cached-datasets/ENV/training-data/NAME/_SUCCESS`": [
        success_key(ENVIRONMENT, "training-data/sales/"),
    ],
    "`cached-datasets/ENV/configs/`": [shared_key(ENVIRONMENT, "configs/train.yaml")],
}  # fmt: skip
"""Each row of the table, with keys that the policies have to treat alike."""


@dataclass(frozen=True)
class Row:
    """Who may create, replace, read and delete an object."""

    name: str
    allowed: Mapping[str, tuple[str, ...]]


@cache
def _of_another_environment() -> Policies:
    """The policies of environment prod, which shares dev's bucket."""
    own = {"BucketPolicy": policies().resources["BucketPolicy"]}
    chosen = {"Environment": "prod", "BucketName": BUCKET.rpartition(":")[2]}
    return Policies(synthesised(parameters=chosen) | own)


def may(of: Policies, who: str, action: str, key: str) -> bool:
    """Whether somebody may do something to an object."""
    return any(
        of.ask(WHO[who], Request(name, f"{BUCKET}/{key}", AS_WE_CALL | context)) is Answer.ALLOWED
        for name, context in ACTIONS[action]
    )


@cache
def rows() -> tuple[Row, ...]:
    """The table. Raises AssertionError if the keys of a row are not treated alike."""
    found = []
    for name, keys in OBJECTS.items():
        first, *rest = ({action: _allowed(action, key) for action in ACTIONS} for key in keys)
        assert all(other == first for other in rest), f"{name}: {keys}"
        found.append(Row(name, first))
    return tuple(found)


def _allowed(action: str, key: str) -> tuple[str, ...]:
    own = [who for who in WHO if may(policies(), who, action, key)]
    others = [f"other environments' {who}" for who in WHO if may(_of_another_environment(), who, action, key)]
    return (*own, *others)


def document() -> dict[str, dict[str, list[str]]]:
    """The table for build/stack.json."""
    return {row.name: {action: list(who) for action, who in row.allowed.items()} for row in rows()}


def as_markdown() -> str:
    """The table for docs/security.md."""
    head = ["Object, below `ENV/` unless it names another prefix", *map(str.title, ACTIONS)]
    body = [[row.name, *(", ".join(row.allowed[action]) or "nobody" for action in ACTIONS)] for row in rows()]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *body))


def written() -> str:
    """The table that docs/security.md has now."""
    return DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]


def main() -> None:
    """Write the table into the document."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    DOCUMENT.write_text(before + BEGIN + as_markdown() + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
