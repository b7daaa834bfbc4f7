"""What cloudsplaining finds in IAM policies: {name: document} as JSON in, one finding a line out.

It runs in the scanners' own environment and imports nothing of this project.
"""

from __future__ import annotations

import json
import sys

from cloudsplaining.scan.policy_document import PolicyDocument

RISKS = {
    "CREDENTIALS_EXPOSURE": "credentials_exposure",
    "DATA_EXFILTRATION": "allows_data_exfiltration_actions",
    "INFRASTRUCTURE_MODIFICATION": "infrastructure_modification",
    "PERMISSIONS_MANAGEMENT": "permissions_management_without_constraints",
    "PRIVILEGE_ESCALATION": "allows_privilege_escalation",
    "SERVICE_WILDCARD": "service_wildcard",
}
"""cloudsplaining's own names of what a statement allows without a constraint, and where its answer is."""


def main() -> None:
    """Read the documents from standard input."""
    for name, document in json.load(sys.stdin).items():
        policy = PolicyDocument(document)
        for risk, attribute in RISKS.items():
            for found in getattr(policy, attribute):
                detail = found if isinstance(found, str) else f"{found['type']}: {', '.join(found['actions'])}"
                sys.stdout.write(f"{name} {risk} {detail}\n")


if __name__ == "__main__":
    main()
