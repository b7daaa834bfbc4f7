"""Draw every screen into docs/img, and write build/operator.json: `make screens`.

The pictures are of a real session on an embedded AWS. Those that no document shows, and all in 120 columns, are in
build/screens.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chronos_ec2.local.lifecycle import local_aws
from tools.error_list import ROOT
from tools.screens.browser import NoBrowser, console_errors, overflows, picture
from tools.screens.drill_table import with_table
from tools.screens.measured import commands, help_ms, said_by_errors, worst_case_held
from tools.screens.session import Session, program
from tools.screens.terminal import WIDTHS, draw, widest

IMAGES, BUILD = ROOT / "docs" / "img", ROOT / "build"
LOOKED_AT = Path(__file__).with_name("looked_at.json")
"""When somebody last looked at the pictures of each screen, light and dark."""
WITH_DRILL = (ROOT / "README.md", ROOT / "docs" / "guides" / "drill.md")
"""The documents with the table of a drill."""
REPORTS = {"train": 960, "forecast": 1100, "evaluate": 1100}
"""Those that are drawn, and how much of each: as many pixels as end between two of its parts."""


def main() -> None:
    """Run the session on an embedded AWS of its own."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--faults", default="", help="what the drill harms, all if not given")
    parser.add_argument("--looked-at", action="store_true", help="note that somebody has looked at all screens today")
    options = parser.parse_args()
    if options.looked_at:
        note_looks()
        return
    started = help_ms(program())  # while nothing else runs
    with tempfile.TemporaryDirectory() as folder, local_aws(Path(folder) / "aws", say=print) as aws:
        session = Session(aws.environ(), Path(folder) / "work", options.faults)
        session.run()
        document = {
            "commands": commands(),
            "screens": _draw(session),
            "errors": said_by_errors(),
            "drill": [
                {name: row[name] for name in ("fault", "seconds", "guaranteed")} | {"ended": row["kept"]}
                for row in session.drill["rows"]
            ],
            "report": _reports(session.folder),
            "plan": {"worst_case_held": worst_case_held(session.costs())},
            "help_ms": started,
        }
    if not options.faults:
        for path in WITH_DRILL:
            path.write_text(with_table(path.read_text(), session.drill["rows"]))
    (BUILD / "operator.json").write_text(json.dumps(document, indent=1) + "\n")
    print(f"{len(session.screens)} screens in {IMAGES.relative_to(ROOT)}, figures in build/operator.json")


def note_looks() -> None:
    """Write today's date for each screen of build/operator.json, there and for the next run."""
    path, today = BUILD / "operator.json", datetime.now(UTC).date().isoformat()
    found = json.loads(path.read_text())
    for screen in found["screens"].values():
        screen["looked_at"] = today
    path.write_text(json.dumps(found, indent=1) + "\n")
    LOOKED_AT.write_text(json.dumps(dict.fromkeys(sorted(found["screens"]), today), indent=1) + "\n")


def _draw(session: Session) -> dict[str, Any]:
    others = BUILD / "screens"
    others.mkdir(parents=True, exist_ok=True)
    documents = "".join(path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))
    for name, shown in session.screens.items():
        for each, output in shown:
            if each.columns == WIDTHS[0] and f"img/{name}-light.svg" in documents:
                draw(each, output, IMAGES, name)
            draw(each, output, others, f"{name}-{each.columns}")
    looked_at = json.loads(LOOKED_AT.read_text())
    return {
        name: {
            "columns": [each.columns for each, _ in shown],
            "widest": [widest(output) for _, output in shown],
            "looked_at": looked_at.get(name),
        }
        for name, shown in session.screens.items()
    }


def _reports(folder: Path) -> dict[str, Any]:
    """Draw the reports for the guides, and look at that of the training as a browser does."""
    page = folder / "train.html"
    found: dict[str, Any] = {"bytes": page.stat().st_size, "console_errors": None, "overflow_400px": None}
    try:
        for name, height in REPORTS.items():
            for theme, dark in (("light", False), ("dark", True)):
                picture(folder / f"{name}.html", IMAGES / f"report-{name}-{theme}.png", dark=dark, height=height)
        return found | {"console_errors": console_errors(page), "overflow_400px": overflows(page)}
    except NoBrowser as missing:
        print(f"the reports are not drawn: {missing}")
        return found


if __name__ == "__main__":
    main()
