"""`python -m verification.functions`, after `sam build`: checks the stack, into build/stack.json.

Prints a line for each problem and returns 1 if there is one. A machine that cannot run functions in containers is a
problem too, unless --without-containers is given.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chronos_ec2.local import LocalAwsFailed, local_aws
from chronos_ec2.local.sam_invoke import functions
from verification.functions.imports import handler_import_ms, slow_handlers
from verification.functions.invokes import Matrix, failures, local_invokes
from verification.functions.local_gate import local_gate
from verification.template.scans import scan

_BUILT = Path(".aws-sam/build")
_POLICY_CALLS, _FOUND = Path("build/policy-calls.json"), Path("build/stack.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and check everything. Returns 1 if there is a problem."""
    parser = argparse.ArgumentParser(prog="python -m verification.functions", description="Check the stack.")
    parser.add_argument("--without-containers", action="store_true", help="run no function, on machines without Docker")
    containers = not parser.parse_args(arguments).without_containers
    scanned = _timed("scans", scan)
    findings = scanned.pop("findings")
    found: dict[str, Any] = scanned | json.loads(_POLICY_CALLS.read_text())
    found["bundle_bytes"] = max(map(_zipped_bytes, functions()))
    found["handler_import_ms"] = _timed("imports", lambda: handler_import_ms(_BUILT))
    with tempfile.TemporaryDirectory() as folder, local_aws(Path(folder)) as aws:
        found["local_gate"], wrong = _timed("gate of the embedded AWS", lambda: local_gate(aws))
        found["local_invokes"], failed = invocations((lambda: local_invokes(aws)) if containers else None)
    _FOUND.write_text(json.dumps(found, indent=1) + "\n")
    problems = [*findings, *denials(found), *slow_handlers(found["handler_import_ms"]), *wrong, *failed]
    print("\n".join([*problems, f"{_FOUND}: {len(problems)} problems"]))
    return 1 if problems else 0


def invocations(run: Callable[[], Matrix] | None) -> tuple[Matrix | str, list[str]]:
    """The outcomes of all invocations, or `not run`; and a line for each problem."""
    if run is None:
        return "not run", []
    try:
        invokes: Matrix = _timed("invocations", run)
    except LocalAwsFailed as reason:
        return "not run", [f"no function was run ({reason}); --without-containers skips this"]
    return invokes, failures(invokes)


def denials(found: Mapping[str, Any]) -> list[str]:
    """A line for recorded calls that the roles do not allow, and one for failed policy cases."""
    problems = []
    if denied := found.get("calls_denied", 0):
        problems.append(f"{denied} of {found['calls_recorded']} recorded calls are denied to their role")
    cases = found.get("policy_cases", {"total": 0, "passed": 0})
    if missed := cases["total"] - cases["passed"]:
        problems.append(f"{missed} of {cases['total']} policy cases failed")
    return problems


def _zipped_bytes(function: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return Path(shutil.make_archive(f"{folder}/bundle", "zip", _BUILT / function)).stat().st_size


def _timed(name: str, part: Callable[[], Any]) -> Any:
    start = time.monotonic()
    found = part()
    print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
