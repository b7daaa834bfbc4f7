"""Do what README says, line by line, in a fresh clone: `make newcomer`.

The first lines that README shows install, deploy to an embedded AWS and train; the block `First steps` goes on from
there with a file of one's own. Both are taken from README, and a shell runs them as they are.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FIRST_STEPS = re.compile(r"^### First steps\n.*?^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
OWN = "sales.csv"
"""The file that README's reader brings."""
_STOPS_AT_AN_ERROR = "set -euo pipefail\ntrap 'chronos-ec2 local down > /dev/null' EXIT\n"


def first_steps(readme: str) -> list[str]:
    """The lines of README's first steps. Raises ValueError if it has none."""
    found = _FIRST_STEPS.search(readme)
    if found is None:
        raise ValueError("README has no block of first steps")
    return found[1].splitlines()


def write_own_file(path: Path, stores: int = 6, days: int = 300) -> None:
    """A CSV file such as somebody may have: daily sales of some stores, with a weekly season."""
    rows = (
        f"store-{store},{date(2025, 1, 1) + timedelta(days=day)},{50 + 10 * store + 12 * (day % 7) + day * 5 % 11}"
        for store in range(stores)
        for day in range(days)
    )
    path.write_text("\n".join(["item_id,timestamp,target", *rows]) + "\n")


def follow(lines: list[str], checkout: Path) -> None:
    """Run the lines in a shell, in a checkout. Raises CalledProcessError at the first that fails."""
    subprocess.run(["bash", "-c", _STOPS_AT_AN_ERROR + "set -x\n" + "\n".join(lines)], cwd=checkout, check=True)


def missing(checkout: Path) -> str:
    """What the first steps should have left in a checkout and have not; empty if all is there."""
    if not (checkout / "ahead" / "forecasts" / "manifest.json").is_file():
        return "no forecast was downloaded"
    reports = [path.read_text() for path in checkout.glob("2*/report.html")]
    return "" if len(reports) == 1 and "Succeeded." in reports[0] else "no report says that the training has succeeded"


def main() -> None:
    """Clone the checkout, and follow README there."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "chronos-ec2"
        subprocess.run(["git", "clone", "--quiet", ROOT.as_uri(), str(clone)], check=True)
        write_own_file(clone / OWN)
        follow(first_steps((clone / "README.md").read_text()), clone)
        if problem := missing(clone):
            sys.exit(problem)
    print(f"README's first steps: done in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
