"""Seeded defects: `python -m verification.seeded_defects.runner [--check] [NUMBER...]`.

Each patch in `patches/` puts one known defect into a copy of the checkout; the tests that its header names must fail.
The defects are those of the reference system, omitted rules of the run protocol, bugs that this project once had, and
mistakes that a maintainer may make, in every room. A header has three lines:

    Defect: what goes wrong
    Source: L, S, D, U and a number: a line of the reference's list (leaks, safety, data, usability); the rule; the room
    Tests: pytest's arguments

Tests marked `golden` and `thorough` do not run: a defect is caught by an assertion of `make test`, not by a file that
somebody writes again to make a test pass.

`--check` only tests that each patch applies, to one place. `git apply PATCH` seeds a defect by hand.
"""

from __future__ import annotations

import argparse
import os
import queue
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from verification.checkout import ROOT, copy_checkout

PATCHES = Path(__file__).with_name("patches")
_TIMEOUT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Defect:
    """A patch and its header."""

    path: Path
    title: str
    source: str
    tests: tuple[str, ...]

    def apply(self, tree: Path, *options: str) -> str:
        """Run `git apply` in a tree; its complaint, empty if it succeeds."""
        command = ["git", "apply", "-C0", *options, str(self.path)]
        environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(tree.parent)}
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        return done.stderr if done.returncode else ""

    def problems(self, tree: Path) -> list[str]:
        """Why the patch does not apply to a tree, applies to more than one place of it, or names a missing test."""
        found = [self.apply(tree, "--check")]
        file, hunks = parse(self.path.read_text())
        text = (tree / file).read_text() if (tree / file).exists() else ""
        ambiguous = [hunk for hunk in hunks if 1 not in map(text.count, hunk)]
        found += [f"fits no or several places of {file}:\n{hunk}" for hunk, _ in ambiguous]
        found += [f"no {test}" for test in self.tests if test.endswith(".py") and not (tree / test).exists()]
        return [f"{self.path.name}: {problem}" for problem in found if problem]


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome for one defect. `by` is the first test that failed, or how pytest ended."""

    defect: Defect
    caught: bool
    by: str


def load(path: Path) -> Defect:
    """A patch with its header. Raises KeyError if the header lacks a line."""
    header = dict(line.split(": ", 1) for line in path.read_text().partition("\n--- ")[0].splitlines())
    return Defect(path, header["Defect"], header["Source"], tuple(shlex.split(header["Tests"])))


def parse(patch: str) -> tuple[str, list[tuple[str, str]]]:
    """The file that a patch changes; of each hunk the removed lines with context, which may be old, and without."""
    head, *hunks = (part.splitlines() for part in patch.split("\n@@ "))
    file = next(line.removeprefix("--- a/") for line in head if line.startswith("--- a/"))
    return file, [(_lines(hunk, " -"), _lines(hunk, "-")) for hunk in hunks]


def _lines(hunk: list[str], kinds: str) -> str:
    return "".join(f"{line[1:]}\n" for line in hunk[1:] if line[:1] in kinds)


def defects() -> list[Defect]:
    """All defects, by number."""
    return [load(path) for path in sorted(PATCHES.glob("*.patch"))]


def check(some: Sequence[Defect], tree: Path = ROOT) -> list[str]:
    """The problems of all patches with a tree."""
    return [problem for defect in some for problem in defect.problems(tree)]


def run_defects(
    some: Sequence[Defect], jobs: int = 2, report: Callable[[Result], None] = lambda _: None
) -> list[Result]:
    """Seed each defect in a copy of the checkout and run its tests; `report` gets each result in order.

    Raises:
        RuntimeError: a patch does not apply, or the tests fail without a defect, so that a failure would prove nothing.
    """
    if found := check(some):
        raise RuntimeError("\n".join(found))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        trees: queue.Queue[Path] = queue.Queue()
        for number in range(jobs):
            trees.put(copy_checkout(Path(folder) / str(number)))

        def run(tests: tuple[str, ...], defect: Defect | None = None) -> tuple[int, str]:
            tree = trees.get()
            try:
                if defect:
                    defect.apply(tree)
                return _pytest(tree, tests)
            finally:
                if defect:
                    defect.apply(tree, "--reverse")
                trees.put(tree)

        selections = sorted({defect.tests for defect in some})
        for tests, (code, output) in zip(selections, pool.map(run, selections), strict=True):
            if code != 0:
                raise RuntimeError(f"{' '.join(tests)} fails without a defect:\n{output}")
        results = []
        for defect, outcome in zip(some, pool.map(lambda one: run(one.tests, one), some), strict=True):
            results.append(_result(defect, *outcome))
            report(results[-1])
    return results


def _result(defect: Defect, code: int, output: str) -> Result:
    failed = [line.removeprefix("FAILED ") for line in output.splitlines() if line.startswith("FAILED ")]
    # pytest ends with 1 when tests ran and failed; a test file that cannot be imported catches nothing.
    caught = code == 1 and bool(failed)
    return Result(defect, caught, failed[0].split(" - ")[0] if caught else f"pytest ended with {code}")


def _pytest(tree: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """Exit code and output; the tree's packages take precedence over those installed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    command += ["-m", "not golden and not thorough", *tests]
    path = os.pathsep.join((str(tree / "src"), str(tree)))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return -1, f"still running after {_TIMEOUT_SECONDS} s"
    return done.returncode, done.stdout + done.stderr


def main() -> int:
    """Print the outcome for each defect; returns 1 if one is not caught or does not apply."""
    parser = argparse.ArgumentParser(prog="python -m verification.seeded_defects.runner")
    parser.add_argument("--check", action="store_true", help="only test that each patch applies")
    parser.add_argument("numbers", nargs="*", help="all defects by default")
    options = parser.parse_args()
    some = [one for one in defects() if not options.numbers or one.path.name[:3] in options.numbers]
    if options.check:
        print("\n".join(check(some)) or f"{len(some)} patches apply")
        return 1 if check(some) else 0
    results = run_defects(some, report=_print)
    caught = sum(result.caught for result in results)
    print(f"{caught} of {len(results)} caught")
    return 0 if caught == len(results) else 1


def _print(result: Result) -> None:
    print(f"{'caught' if result.caught else 'MISSED'}  {result.defect.path.stem}: {result.by}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
