"""A pytest plugin: the AWS calls that all workers recorded, and the rights in the template that none of them used."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.template import objects
from tests.template.calls import CALLS
from tests.template.iam import ATTACHED_WITH, Right
from tests.template.test_policies import DEADLINE, outcomes, policies

TESTS = Path(__file__).parents[1]
ACTING = {
    TESTS / "agent" / "test_process.py",
    *(TESTS / "cli").glob("test_*.py"),
    *(TESTS / "functions").glob("test_*"),
}
"""Where roles act: what they use is known once all of these tests have run."""

NOT_BY_OUR_CALLS = {
    "* sqs:SendMessage *-failedinvocations": "Lambda keeps what failed, in the function's role",
    "WatchdogRole sqs:* *-stateevents": "Lambda takes the events from the queue, in the function's role",
    "InstanceRole s3:GetObject *:::*/cached-datasets/agent/*": "the boot script downloads the agent",
    "InstanceRole s3:GetObject *:::*/cached-datasets/python-env/*": "the boot script and the agent download packages",
    "InstanceRole s3:GetObject *:::*/cached-datasets/code/*": "the boot script downloads a custom trainer",
    "InstanceRole s3:GetObject *:::*/cached-datasets/models/*": "the probe, whose calls are recorded, loads no model",
    "OperatorPolicy s3:AbortMultipartUpload *:::*/cached-datasets/models/*": "no upload of the tests is that large",
    "OperatorPolicy s3:* *:::*/cached-datasets/python-env/*": "the tests' buckets have the packages already",
    **{
        f"InstanceRole s3:PutObject *-??????/{name}": "the probe, whose calls are recorded, trains no model"
        for name in ("eval/[*]", "forecasts.parquet", "forecasts/[*]", "models/[*]", "tensorboard/[*]")
    },
    "WatchdogRole s3:PutObject *-??????/claims/[*]": "void, for an attempt that nobody has claimed",
    "* s3:PutObject */sweep.json": "of an environment with more lanes than a sweep can reconcile",
    **{
        f"OperatorPolicy s3:PutObject *{name}": "the watchdog's work by hand, with which the watchdog is tested"
        for name in ("/outcomes/[*]", "/suspects/[*]", "/unreadable/[*]", "/followed/[*]")
    },
    "* logs:CreateLogStream *": "Lambda writes the log, in the function's role",
    "* logs:PutLogEvents *": "Lambda writes the log, in the function's role",
    f"{DEADLINE} ec2:TerminateInstances *": "Scheduler ends an instance at its deadline",
    "RunScheduleRole lambda:InvokeFunction *-launcher": "Scheduler calls the launcher",
    "LauncherRole s3:DeleteObject */incidents/*": "a message that SNS refuses",
    "SweepScheduleRole lambda:InvokeFunction *-sweep": "Scheduler calls the sweep",
    "* ec2:DeleteVolume *:network-interface/*": "of one statement with the next, which EC2 never asks for",
    "* ec2:DeleteNetworkInterface *:volume/*": "of one statement with the one before, which EC2 never asks for",
}


def granted() -> set[Right]:
    """Every right of every role and managed policy."""
    identities = ("AWS::IAM::Role", "AWS::IAM::ManagedPolicy")
    attached = {name for names in ATTACHED_WITH.values() for name in names}
    return {
        right
        for name, body in policies().resources.items()
        if body["Type"] in identities and name not in attached
        for right in policies().rights(name)
    }


def superfluous(used: set[Right]) -> list[str]:
    """A line for each right that is granted and not used, and for each exception that excepts nothing."""
    unused = sorted(map(_in_words, granted() - used))
    reasons = {right: [why for why in NOT_BY_OUR_CALLS if fnmatchcase(right, why)] for right in unused}
    idle = set(NOT_BY_OUR_CALLS) - {why for found in reasons.values() for why in found}
    return [
        *(f"no call uses: {right}" for right, why in reasons.items() if not why),
        *(f"the exception excepts nothing: {why}" for why in sorted(idle)),
    ]


def _in_words(right: Right) -> str:
    resource = policies().of(right.who)[right.statement]["Resource"]
    return f"{right.who} {right.action} {resource[right.resource] if isinstance(resource, list) else resource}"


class UsedRights:
    """Adds up what the workers have recorded; without workers, what this process has."""

    def __init__(self, config: pytest.Config) -> None:
        self._output: dict[str, Any] | None = getattr(config, "workeroutput", None)
        self._report: Path | None = config.getoption("--policy-calls")
        self._files: set[str] = set()
        self._complete = not any("::" in argument for argument in config.args)
        self._used: set[Right] = set()
        self._recorded = self._denied = 0
        self._superfluous: list[str] = []

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Note that some tests do not run."""
        self._complete &= not {item.path for item in items} & ACTING

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note which tests run."""
        self._files = {str(item.path) for item in session.items}

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """In a worker: hand over. Elsewhere: fail if a right is superfluous."""
        own = {
            "files": sorted(self._files),
            "complete": self._complete,
            "used": [(right.who, right.statement, right.action, right.resource) for right in CALLS.used],
            "recorded": CALLS.recorded,
            "denied": len(CALLS.denied),
        }
        if self._output is not None:
            self._output["rights"] = own
            return
        self._add(own)
        if self._report:
            found: dict[str, Any] = {"calls_recorded": self._recorded, "calls_denied": self._denied}
            found |= {"policy_cases": outcomes(), "objects": objects.document()}
            self._report.parent.mkdir(exist_ok=True)
            self._report.write_text(json.dumps(found) + "\n")
        if session.testsfailed or not self._complete or not self._files >= set(map(str, ACTING)):
            return
        self._superfluous = superfluous(self._used)
        if self._superfluous:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what a worker hands over."""
        if found := getattr(node, "workeroutput", {}).get("rights"):
            self._add(found)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name what is superfluous."""
        for line in self._superfluous:
            terminalreporter.write_line(f"ERROR template.yaml: {line}", red=True)

    def _add(self, found: dict[str, Any]) -> None:
        self._files |= set(found["files"])
        self._complete &= found["complete"]
        self._used |= {Right(*right) for right in found["used"]}
        self._recorded += found["recorded"]
        self._denied += found["denied"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that `make test` and `make check-stack` use."""
    parser.addoption("--policy-calls", type=Path, help="Write what was recorded of calls and policies to this file.")


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin's state."""
    config.pluginmanager.register(UsedRights(config), "used-rights")
