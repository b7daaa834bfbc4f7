"""Known defects, brought back one by one into a copy of the code: the tests must catch each of them.

Every defect is one textual replacement in one file. A snippet that is not found exactly once is an error, so that the
list cannot rot. The sources are the lines of the reference's list of defects (`L4` is its line 4, a leak; `S14` its
line 14, a matter of safety; `D`, `U` likewise), the rules of the run protocol, and bugs that this project once had.
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
_COPIED = (
    "src", "agent", "functions", "tests", "evidence", "events", "examples", "template.yaml", "samconfig.toml",
    "pyproject.toml", "constraints.txt", "Makefile",
)  # fmt: skip
_TIMEOUT_SECONDS = 300

# Selections of tests; each is a list of words for pytest.
DOMAIN = ("tests/domain/test_decide.py", "tests/domain/records/test_documents.py")
SERVICES = ("tests/services/test_run_lifecycle.py", "tests/services/test_interference.py")
RECORD = ("tests/worker/test_claim.py",)
PULSE = ("tests/worker/test_heartbeat.py",)
BOOT = ("tests/user_data/test_user_data.py", "tests/user_data/test_boot_script.py")
TEMPLATE = ("tests/template/test_template.py", "tests/template/test_tags_and_rights.py")
SCHEDULER = ("tests/contract/test_scheduler_requests.py",)
ASKED = ("tests/contract/test_ec2_requests.py",)
MEMORY = ("tests/contract/test_ports.py", "-k", "memory")
MOTO = ("tests/contract/test_ports.py", "-k", "moto")
HANDLERS = ("tests/functions/test_handlers.py", "-k", "one_lane_failed or foreign_instance")
POINTS = ("tests/verification/test_crash_points.py",)


@dataclass(frozen=True, slots=True)
class Defect:
    """One defect: what it is, where it is known from, how it is brought back, and which tests must catch it."""

    name: str
    source: str
    file: str
    snippet: str
    replacement: str
    tests: tuple[str, ...]

    def apply(self, tree: Path) -> str:
        """Bring the defect into a tree; the text that was there. Raises LookupError when the snippet is not unique."""
        path = tree / self.file
        text = path.read_text()
        path.write_text(self.changed(text))
        return text

    def changed(self, text: str) -> str:
        """The file's text with the defect. Raises LookupError, and SyntaxError when it would not be Python."""
        if (found := text.count(self.snippet)) != 1:
            raise LookupError(f"{self.name}: the snippet occurs {found} times in {self.file}")
        changed = text.replace(self.snippet, self.replacement)
        if self.file.endswith(".py"):
            compile(changed, self.file, "exec")
        return changed


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one defect. `by` is the test that caught it, or why none could."""

    defect: Defect
    caught: bool
    by: str
    seconds: float


@dataclass(frozen=True, slots=True)
class DefectResult:
    """What became of all of them."""

    total: int
    caught: int
    rows: list[Row]


_POLICY, _HELD, _LOST, _STRAYS, _DYING = (
    f"src/chronos_ec2/domain/{name}.py" for name in ("policy", "held", "lost", "strays", "dying")
)
_RECONCILE, _OBSERVE, _EXECUTE = (f"src/chronos_ec2/services/{name}.py" for name in ("reconcile", "observe", "execute"))
_STORE = "src/chronos_ec2/run_store.py"
_LAYER_ONE = "src/chronos_ec2/services/watchdog/deadline_schedules.py"
_LAUNCH = "src/chronos_ec2/services/launch.py"
_NOTIFY = "src/chronos_ec2/services/outbox.py"
_EC2 = "src/chronos_ec2/aws/ec2_fleet.py"
_S3 = "src/chronos_ec2/aws/s3_objects.py"
_SCHEDULER = "src/chronos_ec2/aws/scheduler_deadlines.py"
_RECORD = "src/chronos_ec2/worker/claim.py"
_USER_DATA = "src/chronos_ec2/user_data/user-data.yaml"
_TEMPLATE = "template.yaml"

DEFECTS: tuple[Defect, ...] = (
    # --- the box
    Defect(
        "an error inside a function of the boot script does not power off", "L1", _USER_DATA,
        "      trap ended EXIT\n", "      trap ended ERR\n", BOOT,
    ),
    Defect(
        "the boot script goes on after a failure", "L9", _USER_DATA, "set -euo pipefail", "set -x", BOOT,
    ),
    Defect(
        "an agent that ends, ends nothing else", "L2", _USER_DATA, "      SuccessAction=poweroff\n", "", BOOT,
    ),
    Defect(
        "an agent that fails, ends nothing else", "L2", _USER_DATA,
        "      FailureAction=poweroff-force\n\n", "\n", BOOT,
    ),
    Defect(
        "no timer on the box ends it at its deadline", "L4", _USER_DATA,
        "--on-active=${DEADLINE_SECONDS}s", "--on-active=999999999s", BOOT,
    ),
    Defect(
        "no timer on the box ends a boot that hangs", "L4", _USER_DATA,
        "--on-active=${BOOT_SECONDS}s", "--on-active=999999999s", BOOT,
    ),
    Defect(
        "the boot timer ends healthy runs", "once here", _USER_DATA,
        '"test -e /opt/chronos-ec2/work/${RUN_ID}/logs/claimed || {', '"{', BOOT,
    ),
    Defect(
        "an agent that is frozen ends nothing", "L22", _USER_DATA,
        "      WatchdogSec=${WATCHDOG_SECONDS}\n", "", BOOT,
    ),
    Defect(
        "a run survives a reboot of its box", "L4", _USER_DATA,
        "      systemctl enable chronos-reboot.service\n", "", BOOT,
    ),
    Defect(
        "a claim does not stop the boot timer", "once here", "agent/lifecycle.py",
        "    workdir.claimed.touch()\n", "", BOOT,
    ),
    Defect(
        "instance metadata is asked for a token without PUT", "L5", _USER_DATA,
        "ask -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 900'", "ask", BOOT,
    ),
    Defect(
        "instance metadata is asked without the token", "L5", _USER_DATA,
        'ask -H "X-aws-ec2-metadata-token: $$token"', "ask", BOOT,
    ),
    Defect(
        "an error page of the metadata service is taken for a region", "L5", _USER_DATA,
        "curl -fsS --max-time 5", "curl -sS --max-time 5", BOOT,
    ),
    Defect(
        "the code that runs is not the code that was ordered", "S30", _USER_DATA,
        'get_checked "cached-datasets/agent/$$sha256.tar.gz" bundle.tar.gz "$$sha256"',
        'get "cached-datasets/agent/$$sha256.tar.gz" bundle.tar.gz', BOOT,
    ),
    Defect(
        "an agent that does not start is optional", "L31", _USER_DATA,
        "systemctl start chronos-agent.service", "systemctl start chronos-agent.service || true", BOOT,
    ),
    Defect(
        "a bucket name of any kind gets into the user data", "S27", "src/chronos_ec2/user_data/__init__.py",
        'BUCKET=check_bucket(bucket, "bucket")', "BUCKET=bucket", BOOT,
    ),
    Defect(
        "a run id of any kind gets into the user data", "S27", "src/chronos_ec2/user_data/__init__.py",
        "RUN_ID=check_run_id(run.run_id)", "RUN_ID=run.run_id", BOOT,
    ),
    # --- the stack
    Defect(
        "an instance that shuts down is kept stopped (launch template)", "L4", _TEMPLATE,
        "InstanceInitiatedShutdownBehavior: terminate", "InstanceInitiatedShutdownBehavior: stop", TEMPLATE,
    ),
    Defect(
        "an instance that shuts down is kept stopped (launch)", "L4", _EC2,
        'InstanceInitiatedShutdownBehavior="terminate"', 'InstanceInitiatedShutdownBehavior="stop"', ASKED,
    ),
    Defect(
        "volumes outlive their instances", "L4", _TEMPLATE,
        "DeleteOnTermination: true", "DeleteOnTermination: false", TEMPLATE,
    ),
    Defect(
        "instance metadata without a token", "L5", _TEMPLATE, "HttpTokens: required", "HttpTokens: optional", TEMPLATE,
    ),
    Defect(
        "the policy asks for another project than launch tags", "L6", _TEMPLATE,
        """                  StringEquals: &our-tags
                    "aws:ResourceTag/Project": !Ref ProjectTag
""",
        """                  StringEquals: &our-tags
                    "aws:ResourceTag/Project": Heisenberg-Engine
""",
        TEMPLATE,
    ),
    Defect(
        "the watchdog looks for another project than launch tags", "L6", _TEMPLATE,
        "PROJECT: !Ref ProjectTag", "PROJECT: !Ref CostCenterTag", TEMPLATE,
    ),
    Defect(
        "the right to look at EC2 has a condition that EC2 does not know", "L7", _TEMPLATE,
        """                  - ec2:DescribeSpotInstanceRequests
                Resource: "*"
""",
        """                  - ec2:DescribeSpotInstanceRequests
                Resource: "*"
                Condition: {StringEquals: {"ec2:ResourceTag/Project": !Ref ProjectTag}}
""",
        TEMPLATE,
    ),
    Defect(
        "an image without the driver", "L8", _TEMPLATE,
        "/aws/service/deeplearning/ami/x86_64/oss-nvidia-driver-gpu-pytorch-2.12-ubuntu-24.04/latest/ami-id",
        "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64", TEMPLATE,
    ),
    Defect(
        "an agent may delete", "S32", _TEMPLATE,
        """              - Sid: WriteLocksAndRuns
                Effect: Allow
                Action: [s3:GetObject, s3:PutObject]
""",
        """              - Sid: WriteLocksAndRuns
                Effect: Allow
                Action: [s3:GetObject, s3:PutObject, s3:DeleteObject]
""",
        TEMPLATE,
    ),
    Defect(
        "an agent may write in other environments", "S32", _TEMPLATE,
        "arn:${AWS::Partition}:s3:::${Name}/${Environment}/lanes/*/system-state.json",
        "arn:${AWS::Partition}:s3:::${Name}/*/lanes/*/system-state.json", TEMPLATE,
    ),
    Defect(
        "the watchdog may end what has not our profile", "S32", _TEMPLATE,
        """                  ArnEquals:
                    "ec2:InstanceProfile": !GetAtt InstanceProfile.Arn
""",
        "", TEMPLATE,
    ),
    Defect(
        "something gets in", "S", _TEMPLATE,
        "      SecurityGroupEgress:\n",
        "      SecurityGroupIngress:\n"
        "        - {IpProtocol: tcp, FromPort: 22, ToPort: 22, CidrIp: 0.0.0.0/0}\n"
        "      SecurityGroupEgress:\n",
        TEMPLATE,
    ),
    # --- launch
    Defect(
        "the instance comes before its record", "L11", _LAUNCH,
        "        held = store.create_lock(run)\n",
        "        user_data = render_user_data(order.bucket, run, order.limits)\n"
        "        fleet.launch(run, LaunchOption(order.instance_types[0], order.subnet_ids[0]), user_data)\n"
        "        held = store.create_lock(run)\n",
        SERVICES,
    ),
    Defect(
        "two launchers may take one lane", "L11", _STORE,
        "self.objects.create(run.lane.state_key, body))",
        'self.objects.write(run.lane.state_key, body) or "")', MEMORY,
    ),
    Defect(
        "no ClientToken", "L11", _EC2,
        "                    ClientToken=client_token(run, option.instance_type, option.subnet_id, option.market),\n",
        "",
        ASKED,
    ),
    Defect(
        "a new attempt has the token of the old one", "L11", "src/chronos_ec2/domain/records/run.py",
        "run.run_id, str(run.attempt), instance_type", "run.run_id, instance_type", ASKED,
    ),
    Defect(
        "a late write of the launcher overwrites the agent's progress", "S12", _LAUNCH,
        "            store.replace_lock(run, state)\n",
        "            store.objects.write(run.lane.state_key, run.to_json())\n", SERVICES,
    ),
    Defect(
        "a launch that was refused keeps the lane", "L11", _LAUNCH,
        "        _give_up(held, store, error)\n", "", SERVICES,
    ),
    Defect(
        "run ids of one second", "S28", "src/chronos_ec2/domain/records/run.py",
        "{entropy.hex()[:6]}", "000000", SERVICES,
    ),
    Defect(
        "one agent for all in one place", "S30", "src/chronos_ec2/domain/records/lane.py",
        '{CACHED}/agent/{sha256}.tar.gz"', '{CACHED}/agent/latest.tar.gz"', SERVICES,
    ),
    Defect(
        "whatever the data set, all data are taken", "D26", _LAUNCH,
        'prefix = f"{CACHED}/{data_path}"', 'prefix = f"{CACHED}/"', SERVICES,
    ),
    # --- the lock and its agent
    Defect(
        "read, modify, write without a condition", "S13", _STORE,
        "self.objects.replace(run.lane.state_key, body, expected.etag))",
        'self.objects.write(run.lane.state_key, body) or "")', MEMORY,
    ),
    Defect(
        "a lost answer is taken for a lost race", "protocol 5", _STORE,
        "(found.run.seq, found.run.nonce) == (run.seq, run.nonce)", "False", SERVICES,
    ),
    Defect(
        "every write has the same nonce", "protocol 5", _STORE, "secrets.token_hex(8)", '"0"', MEMORY,
    ),
    Defect(
        "an agent claims the run of another instance", "protocol 2", _RECORD,
        "if run.instance_id not in (None, me.instance_id):", "if False:", RECORD,
    ),
    Defect(
        "an agent claims another run", "protocol 2", _RECORD, "if run.run_id != me.run_id:", "if False:", RECORD,
    ),
    Defect(
        "an agent claims what another has claimed", "protocol 2", _RECORD,
        """raise Fenced(f"run {run.run_id} is in {run.status} ({run.current_step}): another agent took it")""",
        "return run", RECORD,
    ),
    Defect(
        "a late instance claims the next attempt", "protocol 2", _RECORD,
        "if me.attempt is not None and run.attempt != me.attempt:", "if False:", RECORD,
    ),
    Defect(
        "a running agent overwrites `killed`", "S17", _RECORD,
        "if run.verdict is not None and run.verdict.judge is Judge.WATCHDOG:", "if False:", RECORD,
    ),
    Defect(
        "an agent that is cut off trains on", "protocol 6", "src/chronos_ec2/worker/heartbeat.py",
        "if silence >= self._limits.self_fence.total_seconds():", "if False:", PULSE,
    ),
    Defect(
        "timestamps without zone", "U24", "src/chronos_ec2/domain/parsing/codec.py",
        '        raise ValueError(f"timestamp {value!r} has no zone")', "        moment = moment.replace(tzinfo=UTC)",
        DOMAIN,
    ),
    Defect(
        "a newer schema is acted on", "failure mode 38", "src/chronos_ec2/domain/records/run.py",
        '(version := fields.count("schema_version")) != SCHEMA_VERSION:',
        '(version := fields.count("schema_version")) < SCHEMA_VERSION:', DOMAIN,
    ),
    Defect(
        "the record of another lane is acted on", "failure mode 39", "src/chronos_ec2/domain/records/run.py",
        'if (fields.text("environment"), fields.text("lane")) != (lane.environment, lane.name):', "if False:", DOMAIN,
    ),
    # --- AWS's answers
    Defect(
        "404 is an error (S3)", "AWS", _S3,
        '_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})', "_MISSING: frozenset[str] = frozenset()", MOTO,
    ),
    Defect(
        "404 is an error (EC2)", "AWS", _EC2, '!= "InvalidInstanceID.NotFound"', '!= "none"', MOTO,
    ),
    Defect(
        "a list that could not be read whole is taken for empty", "S15", _EC2,
        "        return tuple(self._describe(environment, *of_lane))\n",
        "        try:\n            return tuple(self._describe(environment, *of_lane))\n"
        "        except ServiceUnavailable:\n            return ()\n",
        ASKED,
    ),
    Defect(
        "one of our tags is enough (EC2)", "protocol", _EC2,
        "owner_tags(self._project, environment).items()\n        ]",
        "list(owner_tags(self._project, environment).items())[:1]\n        ]", ASKED,
    ),
    Defect(
        "one of our tags is enough (memory)", "protocol", "src/chronos_ec2/testing/memory.py",
        "ours = owner_tags(self.project, environment).items() <= tags.items()",
        "ours = owner_tags(self.project, environment).items() & tags.items()", MEMORY,
    ),
    Defect(
        "volumes carry no tags", "failure mode 51", _EC2,
        'ON_DEMAND: ("instance", _VOLUME, _INTERFACE)', 'ON_DEMAND: ("instance",)', ASKED,
    ),
    Defect(
        "force is used at once", "protocol", _EC2,
        'if force else {}', 'if not force else {}', ASKED,
    ),
    Defect(
        "a state that could not be read is taken for none", "S15", _STORE,
        "            found = self.objects.read(lane.state_key)\n"
        "        except (ServiceUnavailable, NotAllowed) as error:\n            return Failed(str(error))\n",
        "            found = self.objects.read(lane.state_key)\n"
        "        except (ServiceUnavailable, NotAllowed):\n            return Absent()\n",
        SERVICES,
    ),
    Defect(
        "verify says that nothing is left of what is shutting down", "U35", "src/chronos_ec2/services/verify.py",
        "        if box.alive\n", '        if box.state == "running"\n', SERVICES,
    ),
    # --- the watchdog's judgement
    Defect(
        "a heartbeat of exactly the lease is dead", "protocol 3", _HELD,
        "(silence := case.now - last) <= case.limits.lease", "(silence := case.now - last) < case.limits.lease", DOMAIN,
    ),
    Defect(
        "a dead agent is invisible", "L22", _HELD, "    _agent_lost,\n", "", DOMAIN,
    ),
    Defect(
        "a hang is invisible", "L22", _HELD, "    _hung,\n", "", DOMAIN,
    ),
    Defect(
        "a beat that could not be read kills", "S15", _HELD,
        "if not case.run.claimed or isinstance(case.facts.beat, Failed):", "if not case.run.claimed:", DOMAIN,
    ),
    Defect(
        "a beat of another attempt or instance counts", "protocol 3", _HELD,
        "(heartbeat.run_id, heartbeat.attempt, heartbeat.instance_id) == mine", "heartbeat.run_id == mine[0]", DOMAIN,
    ),
    Defect(
        "a stopped instance is left to its volume", "failure mode 6", _HELD, "    _stopped,\n", "", DOMAIN,
    ),
    Defect(
        "no end at the deadline", "L4", _HELD, "    _past_deadline,\n", "", DOMAIN,
    ),
    Defect(
        "a record can move its own deadline", "S14", _HELD,
        "return min(self.run.deadline, self.box.deadline or self.run.deadline)", "return self.run.deadline", DOMAIN,
    ),
    Defect(
        "Hold lasts for ever", "protocol", _HELD,
        "    _past_deadline,\n    _over_budget,\n    _stopped,\n    _condemned,\n    _held_for_debugging,\n",
        "    _held_for_debugging,\n    _past_deadline,\n    _over_budget,\n    _stopped,\n    _condemned,\n", DOMAIN,
    ),
    Defect(
        "a restart resets what was spent", "protocol", "src/chronos_ec2/domain/records/run.py",
        "            spent_usd=spent_usd,\n", "            spent_usd=0.0,\n", SERVICES,
    ),
    Defect(
        "one look for a hang", "protocol", _HELD,
        "if case.now - case.held.since(suspect.first_seen) < case.limits.second_look:", "if False:", DOMAIN,
    ),
    Defect(
        "one look for a stray", "protocol", _STRAYS,
        "        return Decision(f\"suspect: {text}\", (MarkStray(box.instance_id),))\n",
        "        first_seen = box.launched_at\n", DOMAIN,
    ),
    Defect(
        "one empty list kills the run", "protocol", _LOST,
        "    if facts.listed_at - held.since(run.suspect.first_seen) < limits.absence:\n", "    if False:\n", DOMAIN,
    ),
    Defect(
        "the lock is released while an instance shuts down", "L10", "src/chronos_ec2/domain/instance.py",
        "return self.state is not InstanceState.TERMINATED",
        "return self.state not in (InstanceState.TERMINATED, InstanceState.SHUTTING_DOWN)", DOMAIN + SERVICES,
    ),
    Defect(
        "the lock is released while an earlier attempt lives", "L10", _LOST,
        "    if any(box.alive and box.run_id == run.run_id for box in facts.instances):\n", "    if False:\n", DOMAIN,
    ),
    Defect(
        "the id to end comes from the record", "S14", _LOST,
        "    return _end_or_resume(run, facts, now, limits, f\"run {run.run_id} has no instance, seen twice\")\n",
        "    return Decision(\"seen twice\", (Terminate(run.instance_id or \"\", Cause.INFRA), Conclude(run)))\n",
        DOMAIN,
    ),
    Defect(
        "a killed run keeps its lane", "S17", _LOST,
        "        return Decision(reason, (Conclude(ended),))\n",
        "        killed = ended.verdict is not None and ended.verdict.outcome is Outcome.KILLED\n"
        "        return Decision(reason, () if killed else (Conclude(ended),))\n",
        SERVICES,
    ),
    Defect(
        "a kill has no grace", "D18", "src/chronos_ec2/services/kill.py",
        "        if at_once:\n            wanted =", "        if True:\n            wanted =", SERVICES,
    ),
    Defect(
        "an instance that is slow to die is forgotten", "failure mode 8", _DYING,
        "    if now - since >= limits.force:\n", "    if False:\n", SERVICES,
    ),
    Defect(
        "a read that failed costs the run its next attempt", "once here", _LOST,
        "(may_have_one or verdict", "(_has_checkpoint(run, facts) or verdict", POINTS,
    ),
    Defect(
        "a resumed run is told of only if nothing fails", "once here", _HELD,
        "Kind.STARTED if case.run.attempt == 1 else Kind.RESUMED", "Kind.STARTED", POINTS,
    ),
    Defect(
        "a stray is ended before people are told", "once here", _STRAYS,
        "        (Notify(Kind.ORPHAN, box.instance_id, text), end, *lives_on(box, overdue, limits)),\n",
        "        (Terminate(box.instance_id, cause), Notify(Kind.ORPHAN, box.instance_id, text)),\n", POINTS,
    ),
    Defect(
        "an agent that EC2 does not list is given up although it beats", "protocol", _LOST,
        "    if _works(run, facts, now, limits):\n", "    if False:\n", DOMAIN,
    ),
    Defect(
        "a time to come in the record is believed", "once here", "src/chronos_ec2/domain/facts.py",
        "        return min(said, self.written_at)\n", "        return said\n", DOMAIN,
    ),
    Defect(
        "a suspicion of long ago makes a first look fatal", "once here", "src/chronos_ec2/domain/facts.py",
        "first_seen is not None and now - first_seen <= limits.suspicion", "True", SERVICES,
    ),
    Defect(
        "beside an unreadable lock one beat speaks for all", "once here", _OBSERVE,
        "for run_id in sorted(run_ids)}", "for run_id in sorted(run_ids)[:1]}", SERVICES,
    ),
    Defect(
        "an unreadable lock ends the run", "once here", _RECORD,
        "raise Fenced(text) if self._run is None else _LockUnreadable(text)", "raise Fenced(text)", RECORD,
    ),
    Defect(
        "an unreadable lock is released at one look", "once here", _STRAYS,
        "    if facts.listed_at - first_seen < limits.lease:\n", "    if False:\n", DOMAIN,
    ),
    Defect(
        "a dearer type is counted at the price of the first", "once here", "src/chronos_ec2/domain/cost.py",
        "return dict(run.prices).get(", "return min(dict(run.prices).values()) if run.prices else {}.get(", SERVICES,
    ),
    Defect(
        "an absence is dated by the time of the decision", "once here", _LOST,
        "facts.listed_at - held.since(", "now - held.since(", DOMAIN,
    ),
    Defect(
        "the claim keeps the suspicion", "once here", _RECORD,
        "instance_id=self._identity.instance_id, suspect=None)", "instance_id=self._identity.instance_id)", RECORD,
    ),
    # --- the watchdog's deeds
    Defect(
        "the state is read before EC2's list", "protocol", _OBSERVE,
        "        state = self.store.read_lock(lane)\n        armed =",
        "        state = self.store.read_lock(lane)\n        listing = self.list_lane(lane)\n"
        "        instances = listing.instances\n        armed =", SERVICES,
    ),
    Defect(
        "an agent that has come back is ended all the same", "protocol", _EXECUTE,
        "        if moved or (came and not hung):\n", "        if False:\n", SERVICES,
    ),
    Defect(
        "the record is not read again before an end", "protocol", _EXECUTE,
        "        if _version(state) != _version(facts.state):\n", "        if False:\n", SERVICES,
    ),
    Defect(
        "any id can be ended", "S14", _EXECUTE,
        "        if instance_id not in {box.instance_id for box in facts.instances if box.alive}:\n",
        "        if False:\n", SERVICES,
    ),
    Defect(
        "a schedule that cannot be listed keeps the watchdog from its work", "protocol L1", _LAYER_ONE,
        "        return deadlines.armed()\n    except Exception as error:",
        "        return deadlines.armed()\n    except LookupError as error:", SERVICES,
    ),
    Defect(
        "a schedule that cannot be deleted keeps the lock", "protocol L1", _LAYER_ONE,
        "        raise\n    except Exception as error:", "        raise\n    except LookupError as error:", SERVICES,
    ),
    Defect(
        "a launch does not schedule its end", "protocol L1", _LAUNCH,
        "        deadlines.arm(launched.instance_id, held.run.deadline)\n", "        pass\n", SERVICES,
    ),
    Defect(
        "a schedule that is missing is not made again", "protocol L1", _POLICY,
        "(*disarm, *decision.actions, *arm)", "(*disarm, *decision.actions)", DOMAIN + SERVICES,
    ),
    Defect(
        "a schedule outlives its instance", "protocol L1", _POLICY,
        "(*disarm, *decision.actions, *arm)", "(*decision.actions, *arm)", DOMAIN + SERVICES,
    ),
    Defect(
        "a schedule fires in the minute before its deadline", "protocol L1", _SCHEDULER,
        "whole if whole == at else whole + timedelta(minutes=1)", "whole", SCHEDULER,
    ),
    Defect(
        "a record that cannot be written keeps a dead box alive", "L3", _EXECUTE,
        "                failed = failed or error\n", "                raise\n", SERVICES,
    ),
    Defect(
        "the lock is released before receipt and message", "L10", _EXECUTE,
        "        now = self.clock.now()\n        run, cost = held.run,",
        "        self.store.release_lock(facts.lane, held.etag)\n"
        "        now = self.clock.now()\n        run, cost = held.run,",
        POINTS,
    ),
    Defect(
        "an upload that a dead box did not end is left", "failure mode 51", "src/chronos_ec2/services/watchdog/cleanup_receipt.py",
        "    resources += _aborted(objects, run_prefix(environment, run.run_id))\n", "", SERVICES + POINTS,
    ),
    Defect(
        "the lock is released while its message is on its way", "once here", _EXECUTE,
        "        if told:\n            self.store.release_lock(facts.lane, held.etag)\n",
        "        self.store.release_lock(facts.lane, held.etag)\n",
        POINTS,
    ),
    Defect(
        "a message that is not out holds up no end", "once here", _EXECUTE,
        "if isinstance(action, Terminate) and action.once_told and not told:",
        "if isinstance(action, Terminate) and action.once_told and told is None:", POINTS,
    ),
    Defect(
        "a message that cannot be sent holds up an end for ever", "L", _DYING,
        "return overdue - limit < 3 * limits.sweep", "return True", SERVICES,
    ),
    Defect(
        "a sweep sees lanes with a lock alone", "protocol", _RECONCILE,
        "lanes = sorted({*locked, *by_lane})",
        "lanes = sorted(locked)", SERVICES,
    ),
    Defect(
        "one lane's trouble keeps the sweep from the others", "failure mode 25", _RECONCILE,
        "listing)\n        except Exception as error:", "listing)\n        except LookupError as error:", HANDLERS,
    ),
    # --- messages
    Defect(
        "a message is published without a marker", "protocol", _NOTIFY,
        "        if found and found.body == _SENT:\n            return True\n"
        "        if not self._take(marker_key, found, now):\n            return False\n",
        "        del now\n", SERVICES,
    ),
    Defect(
        "a message counts as sent before it is", "protocol", _NOTIFY,
        "                self._objects.create(key, _PENDING)\n", "                self._objects.create(key, _SENT)\n",
        POINTS,
    ),
    Defect(
        "a marker is not withdrawn when the publish fails", "protocol", _NOTIFY,
        "            self._objects.remove(marker_key)\n", "", SERVICES,
    ),
)  # fmt: skip


def run_defects(
    jobs: int = 2, defects: tuple[Defect, ...] = DEFECTS, tell: Callable[[Row], None] = lambda _row: None
) -> DefectResult:
    """Bring each defect into a copy of the code, and run the tests that must catch it; `tell` hears of each in order.

    Raises:
        LookupError: a snippet is not there any more.
        RuntimeError: the tests fail without any defect, so that they prove nothing.
    """
    for defect in defects:
        defect.changed((CHECKOUT / defect.file).read_text())
    with tempfile.TemporaryDirectory() as folder:
        trees: queue.Queue[Path] = queue.Queue()
        for number in range(jobs):
            trees.put(_copy(Path(folder) / str(number)))

        with ThreadPoolExecutor(jobs) as pool:
            selections = sorted({defect.tests for defect in defects})
            for selection, (code, output) in zip(
                selections, pool.map(lambda selection: _clean(trees, selection), selections), strict=True
            ):
                if code != 0:
                    raise RuntimeError(f"{' '.join(selection)} fails without a defect:\n{output}")
            rows: list[Row] = []
            for row in pool.map(lambda defect: _judge(trees, defect), defects):
                rows.append(row)
                tell(row)
    return DefectResult(len(rows), sum(row.caught for row in rows), rows)


def _copy(tree: Path) -> Path:
    tree.mkdir()
    leave_out = shutil.ignore_patterns("__pycache__", ".hypothesis", "*.pyc")
    for name in _COPIED:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=leave_out)
        elif source.exists():
            shutil.copy2(source, tree / name)
    return tree


@contextmanager
def _borrowed(trees: queue.Queue[Path]) -> Iterator[Path]:
    tree = trees.get()
    try:
        yield tree
    finally:
        trees.put(tree)


def _clean(trees: queue.Queue[Path], selection: tuple[str, ...]) -> tuple[int, str]:
    with _borrowed(trees) as tree:
        return _pytest(tree, selection)


def _judge(trees: queue.Queue[Path], defect: Defect) -> Row:
    with _borrowed(trees) as tree:
        started = time.monotonic()
        original = defect.apply(tree)
        try:
            code, output = _pytest(tree, defect.tests)
        finally:
            (tree / defect.file).write_text(original)
    failed = [line.removeprefix("FAILED ") for line in output.splitlines() if line.startswith("FAILED ")]
    # 1 is pytest's word for tests that ran and failed; a test file that cannot be imported catches nothing.
    caught = code == 1 and bool(failed)
    by = failed[0].split(" - ")[0] if caught else f"pytest ended with {code}"
    return Row(defect, caught, by, time.monotonic() - started)


def _pytest(tree: Path, selection: tuple[str, ...]) -> tuple[int, str]:
    """Exit code and output; the packages are those of the tree, not those that are installed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", *selection]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(tree / "src"), str(tree))), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return -1, f"no end within {_TIMEOUT_SECONDS} s"
    return done.returncode, done.stdout + done.stderr


def main() -> int:
    """Print what became of each defect; 1 when one survives."""
    result = run_defects(tell=_print)
    sys.stdout.write(f"\n{result.caught} of {result.total} caught\n")
    return 0 if result.caught == result.total else 1


def _print(row: Row) -> None:
    defect = row.defect
    verdict = "caught  " if row.caught else "SURVIVED"
    sys.stdout.write(f"{verdict}  {defect.source:16}  {defect.name}\n{'':28}{defect.file}: {row.by}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
