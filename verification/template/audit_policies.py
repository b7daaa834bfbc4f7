"""Audits IAM policies with cloudsplaining: reads {name: document} as JSON, prints a line for each finding.

Runs in the scanners' own environment, so it imports nothing of this project.
"""

from __future__ import annotations

import json
import sys

from cloudsplaining.scan.policy_document import PolicyDocument

# cloudsplaining's names for risks, and the attributes that list them.
RISKS = {
    "CREDENTIALS_EXPOSURE": "credentials_exposure",
    "DATA_EXFILTRATION": "allows_data_exfiltration_actions",
    "INFRASTRUCTURE_MODIFICATION": "infrastructure_modification",
    "PERMISSIONS_MANAGEMENT": "permissions_management_without_constraints",
    "PRIVILEGE_ESCALATION": "allows_privilege_escalation",
    "SERVICE_WILDCARD": "service_wildcard",
}

for name, document in json.load(sys.stdin).items():
    policy = PolicyDocument(document)
    for risk, attribute in RISKS.items():
        for found in getattr(policy, attribute):
            detail = found if isinstance(found, str) else f"{found['type']}: {', '.join(found['actions'])}"
            print(name, risk, detail)
