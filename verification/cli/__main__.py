"""Runs every command in every situation; writes build/cli.json. Exits with 1 if anything is not as it has to be.

With `--quick` it runs every command in the most telling situations alone, and writes nothing.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from verification.checkout import ROOT, commit
from verification.cli.campaign import WORKERS, share, summary

REPORT = ROOT / "build" / "cli.json"


def main() -> int:
    """Write the report and print what is wrong."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the most telling situations of each command alone")
    quick = parser.parse_args().quick
    start = time.monotonic()
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        trials = [trial for part in pool.map(partial(share, quick=quick), range(WORKERS)) for trial in part]
    found = summary(trials)
    report = {"commit": commit(), "seconds": round(time.monotonic() - start, 1), **found}
    if not quick:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({name: value for name, value in report.items() if name != "failures"}))
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
