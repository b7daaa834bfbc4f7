"""Draw every screen into docs/img, and write build/operator.json: `make screens`.

The pictures are of a real session on an embedded AWS. Those in 120 columns, which no document shows, and the report's
are in build/screens.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from chronos_ec2.local.lifecycle import local_aws
from tools.error_list import ROOT
from tools.screens.browser import NoBrowser, console_errors, picture, width_on_a_phone
from tools.screens.measured import commands, help_ms, plans, said_by_errors
from tools.screens.session import Session
from tools.screens.terminal import draw

IMAGES, BUILD = ROOT / "docs" / "img", ROOT / "build"
_DOCUMENTED = 80


def main() -> None:
    """Run the session on an embedded AWS of its own."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--state", type=Path, help="an embedded AWS to use, or where to start one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state = options.state or Path(folder) / "aws"
        with local_aws(state, say=print) as aws:
            session = Session(aws.environ(), Path(folder) / "work")
            session.folder.mkdir()
            session.run()
        screens = _draw(session)
        report = _look_at_report(session.folder / "report.html")
    document = {
        "commands": commands(),
        "screens": screens,
        "errors": said_by_errors(),
        "drill": [
            {name: row[name] for name in ("fault", "seconds", "guaranteed")} | {"ended": row["kept"]}
            for row in session.results["drill"]["rows"]
        ],
        "report": report,
        "plan": {"worst_case_held": plans(session.results["planned"], session.results["runs"])},
        "help_ms": help_ms(session.program),
    }
    (BUILD / "operator.json").write_text(json.dumps(document, indent=1) + "\n")
    print(f"{len(screens)} screens in {IMAGES.relative_to(ROOT)}, figures in build/operator.json")


def _draw(session: Session) -> dict[str, Any]:
    wide = BUILD / "screens"
    wide.mkdir(parents=True, exist_ok=True)
    for name, shown in session.screens.items():
        for each, output in shown:
            draw(each, output, IMAGES if each.columns == _DOCUMENTED else wide, name)
    return {name: {"columns": [each.columns for each, _ in shown]} for name, shown in session.screens.items()}


def _look_at_report(page: Path) -> dict[str, Any]:
    kept = BUILD / "screens" / "report.html"
    shutil.copy(page, kept)
    found: dict[str, Any] = {"bytes": page.stat().st_size}
    try:
        for name, dark in (("report-light.png", False), ("report-dark.png", True)):
            picture(kept, BUILD / "screens" / name, dark=dark)
        return found | {"console_errors": console_errors(kept), "overflow_400px": width_on_a_phone(kept) > 400}
    except NoBrowser as missing:
        print(missing)
        return found


if __name__ == "__main__":
    main()
