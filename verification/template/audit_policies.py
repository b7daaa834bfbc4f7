"""What parliament says of policies: {name: document} as JSON in, one finding a line out.

It runs in the scanners' own environment and imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # parliament's own, of a library that it still uses
    import parliament


def main() -> None:
    """Read the documents from standard input."""
    for name, document in json.load(sys.stdin).items():
        for found in parliament.analyze_policy_string(json.dumps(document)).findings:
            finding = parliament.enhance_finding(found)
            detail = " ".join(str(finding.detail).split())
            sys.stdout.write(f"{name} {finding.issue} {finding.severity}: {finding.title}: {detail}\n")


if __name__ == "__main__":
    main()
