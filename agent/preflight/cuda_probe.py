"""Prints what torch can do with the GPUs as JSON: `python -m agent.preflight.cuda_probe`.

A separate process, so that the agent needs neither torch nor a CUDA context, and a driver that hangs can be abandoned.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main() -> int:
    """Print one JSON object."""
    # Imported here because the agent imports `supports` from this module.
    import torch  # noqa: PLC0415

    report: dict[str, Any] = {"torch": torch.__version__, "built_for": torch.version.cuda, "devices": []}
    if torch.cuda.is_available():
        report["architectures"] = torch.cuda.get_arch_list()
        for index in range(torch.cuda.device_count()):
            capability = torch.cuda.get_device_capability(index)
            # A listed device may still fail to run a kernel.
            product = torch.ones(64, 64, device=f"cuda:{index}") @ torch.ones(64, 64, device=f"cuda:{index}")
            works = float(product.sum()) == 64.0**3
            name = torch.cuda.get_device_name(index)
            report["devices"].append({"name": name, "capability": list(capability), "works": works})
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


def supports(architectures: list[str], capability: tuple[int, int]) -> bool:
    """Whether a build for these architectures runs on a device.

    Binaries (sm) run within their major version, PTX (compute) runs on any later version. Source: CUDA C++ Programming
    Guide, "Binary Compatibility" and "PTX Compatibility".
    """
    major, minor = capability
    for name in architectures:
        kind, _, digits = name.partition("_")
        number = "".join(digit for digit in digits if digit.isdigit())
        if not number:
            continue
        built = (int(number[:-1] or 0), int(number[-1]))
        if kind == "sm" and built[0] == major and built[1] <= minor:
            return True
        if kind == "compute" and built <= (major, minor):
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
