"""`python -m verification.template.scans`: what cfn-lint, checkov and cloudsplaining find in the template.

The source does not show what SAM generates, so cfn-lint and checkov scan the transformed template too, and
cloudsplaining every policy in it. Exceptions are in the metadata of their resource, with a reason; an unused exception
is a finding.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chronos_ec2.local import LocalAwsFailed
from chronos_ec2.local.tool_venv import isolated_python
from verification.template.synthesis import TEMPLATE, Template, synthesised, transformed

_HERE = Path(__file__).resolve().parent


def scan(template: Path = TEMPLATE) -> dict[str, Any]:
    """Scan a template.

    The result counts cfn-lint's errors and warnings, checkov's passed, failed and skipped checks of the source and of
    the transformed template, and cloudsplaining's findings. `findings` has a line for each.

    Raises:
        LocalAwsFailed: the scanners could not be installed.
        RuntimeError: a scanner failed.
    """
    scanners = isolated_python("scanners", (_HERE / "scan-requirements.txt").read_text(), print)
    findings: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "transformed.json"
        made.write_text(json.dumps(transformed(template), indent=1))
        linted = _cfn_lint(template, made, findings)
        checked = _checkov(scanners, template, made, findings)
    before = len(findings)
    _cloudsplaining(scanners, template, findings)
    policy_findings = len(findings) - before
    return {"cfn_lint": linted, "checkov": checked, "policy_findings": policy_findings, "findings": findings}


def policies(resources: Template) -> dict[str, Any]:
    """Every policy of these resources by its path, except trust policies."""

    def below(place: str, value: Any) -> Iterator[tuple[str, Any]]:
        match value:
            case dict():
                for key, item in value.items():
                    yield from [(place, item)] if key == "PolicyDocument" else below(f"{place}.{key}", item)
            case list():
                for index, item in enumerate(value):
                    yield from below(f"{place}.{index}", item)

    return dict(found for name, body in resources.items() for found in below(name, body["Properties"]))


def _cfn_lint(template: Path, made: Path, findings: list[str]) -> dict[str, int]:
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--format", "json", str(template), str(made)]
    matches = json.loads(_run(command, "cfn-lint"))
    for match in matches:
        where = "transformed" if match["Filename"] == str(made) else "source"
        line = match["Location"]["Start"]["LineNumber"]
        findings.append(f"cfn-lint {match['Rule']['Id']} {where} line {line}: {match['Message']}")
    levels = [match["Level"] for match in matches]
    return {"errors": levels.count("Error"), "warnings": levels.count("Warning")}


def _checkov(scanners: Path, template: Path, made: Path, findings: list[str]) -> dict[str, dict[str, int]]:
    command = [str(scanners), "-m", "checkov.main", "--framework", "cloudformation", "--skip-download", "--compact"]
    output = json.loads(_run([*command, "--output", "json", "--file", str(template), str(made)], "checkov"))
    if output["summary"]["parsing_errors"]:
        raise RuntimeError(f"checkov could not read {output['results']['parsing_errors']}")
    counts = {name: {"passed": 0, "failed": 0, "skipped": 0} for name in ("source", "transformed")}
    in_use: set[tuple[str, str]] = set()
    for outcome in ("passed", "failed", "skipped"):
        for check in output["results"][f"{outcome}_checks"]:
            where = "transformed" if check["file_path"].endswith(made.name) else "source"
            counts[where][outcome] += 1
            resource = check["resource"].rpartition(".")[2]
            if outcome == "failed":
                findings.append(f"checkov {check['check_id']} {where} {resource}: {check['check_name']}")
            elif outcome == "skipped" and where == "source":
                in_use.add((resource, check["check_id"]))
    idle = {(name, skip["id"]) for name, skip in _skips(json.loads(made.read_text())["Resources"], "checkov")} - in_use
    findings += [f"checkov {check} {resource}: unused exception" for resource, check in sorted(idle)]
    return counts


def _cloudsplaining(scanners: Path, template: Path, findings: list[str]) -> None:
    stack = synthesised(template)
    excepted = {(name, skip["id"], skip["about"]) for name, skip in _skips(stack, "cloudsplaining")}
    in_use = set()
    output = _run([str(scanners), str(_HERE / "audit_policies.py")], "cloudsplaining", json.dumps(policies(stack)))
    for line in output.splitlines():
        place, issue, detail = line.split(" ", 2)
        skip = {one for one in excepted if one[:2] == (place.partition(".")[0], issue) and one[2] in detail}
        in_use |= skip
        if not skip:
            findings.append(f"cloudsplaining {line}")
    findings += [f"cloudsplaining {issue} {name}: unused exception" for name, issue, _ in sorted(excepted - in_use)]


def _skips(resources: Template, scanner: str) -> list[tuple[str, dict[str, str]]]:
    """The exceptions for a scanner, by resource."""
    return [
        (name, skip)
        for name, body in resources.items()
        # SAM copies a function's metadata to the resources generated from it, where the checks do not apply.
        if body["Type"] != "AWS::Lambda::EventInvokeConfig"
        for skip in body.get("Metadata", {}).get(scanner, {}).get("skip", ())
    ]


def _run(command: list[str], tool: str, standard_input: str = "") -> str:
    """A scanner's output. It exits with a code when it finds something, but it must print."""
    done = subprocess.run(command, input=standard_input, capture_output=True, text=True, check=False)
    if done.returncode and not done.stdout.strip():
        raise RuntimeError(f"{tool} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


def main() -> int:
    """Print findings and counts. Returns 1 if there is a finding, 3 if the scan failed."""
    try:
        found = scan()
    except (LocalAwsFailed, RuntimeError) as error:
        sys.stderr.write(f"{error}\n")
        return 3
    findings = found.pop("findings")
    print(*findings, json.dumps(found), sep="\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
