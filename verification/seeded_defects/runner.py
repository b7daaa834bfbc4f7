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
import multiprocessing
import os
import queue
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from verification.checkout import ROOT, changed, copy_checkout

PATCHES = Path(__file__).with_name("patches")
_TIMEOUT_SECONDS = 600
_JOBS = 2
_OURS = ("chronos_ec2", "agent", "functions", "verification", "benchmarks", "tools", "tests", "src")
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "aws_lambda_powertools", "boto3", "botocore.stub", "chronos", "hypothesis", "matplotlib.pyplot", "moto",
        "pandas", "pyarrow.dataset", "pyarrow.parquet", "pydantic", "pytest", "rich.console", "scipy.stats",
        "statsforecast", "torch", "transformers", "typer", "yaml",
    ]
)  # fmt: skip
"""Importing these takes longer than most tests."""


@dataclass(frozen=True, slots=True)
class Defect:
    """A patch and its header."""

    path: Path
    title: str
    source: str
    tests: tuple[str, ...]

    def changes(self, tree: Path) -> tuple[Path, str]:
        """A file of a tree, and its text with the defect. Raises RuntimeError if a hunk fits no place, or several."""
        file, hunks = parse(self.path.read_text())
        path = tree / file
        text = path.read_text() if path.exists() else ""
        for old, new in hunks:
            if (places := text.count(old)) != 1:
                raise RuntimeError(f"{file}: a hunk fits {'several places' if places else 'no place'}:\n{old}")
            text = text.replace(old, new)
        return path, text

    def problems(self) -> list[str]:
        """Why the patch does not fit the checkout, or which of its tests is missing."""
        found = [f"no {test}" for test in self.tests if test.endswith(".py") and not (ROOT / test).exists()]
        try:
            self.changes(ROOT)
        except RuntimeError as error:
            found.append(str(error))
        return [f"{self.path.name}: {problem}" for problem in found]


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
    """The file that a patch changes, and of each of its hunks the lines before and after."""
    head, *hunks = (part.splitlines() for part in patch.split("\n@@ "))
    file = next(line.removeprefix("--- a/") for line in head if line.startswith("--- a/"))
    return file, [(_text(hunk, " -"), _text(hunk, " +")) for _, *hunk in hunks]


def _text(hunk: list[str], signs: str) -> str:
    """The lines with these signs; an empty one is meant to be a space."""
    return "".join(f"{line[1:]}\n" for line in hunk if (line or " ")[0] in signs)


def defects() -> list[Defect]:
    """All defects, by number."""
    return [load(path) for path in sorted(PATCHES.glob("*.patch"))]


def check(some: Sequence[Defect]) -> list[str]:
    """The problems of all patches."""
    return [problem for defect in some for problem in defect.problems()]


def run_defects(some: Sequence[Defect]) -> Iterator[Result]:
    """Seed each defect in a copy of the checkout and run its tests.

    Raises:
        RuntimeError: a patch does not apply, or the tests fail without a defect, so that a failure would prove nothing.
    """
    if found := check(some):
        raise RuntimeError("\n".join(found))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(_JOBS) as pool:
        trees: queue.Queue[Path] = queue.Queue()
        for number in range(_JOBS):
            trees.put(copy_checkout(Path(folder) / str(number), *_OURS))

        def run(tests: tuple[str, ...], defect: Defect | None = None) -> tuple[int, str]:
            tree = trees.get()
            try:
                with changed(*defect.changes(tree)) if defect else nullcontext():
                    return _pytest(tree, tests)
            finally:
                trees.put(tree)

        selections = sorted({defect.tests for defect in some})
        for tests, (code, output) in zip(selections, pool.map(run, selections), strict=True):
            if code != 0:
                raise RuntimeError(f"{' '.join(tests)} fails without a defect:\n{output}")
        for defect, outcome in zip(some, pool.map(lambda one: run(one.tests, one), some), strict=True):
            yield _result(defect, *outcome)


def _result(defect: Defect, code: int, output: str) -> Result:
    failed = [line.removeprefix("FAILED ") for line in output.splitlines() if line.startswith("FAILED ")]
    # pytest ends with 1 when tests ran and failed; a test file that cannot be imported catches nothing.
    caught = code == 1 and bool(failed)
    return Result(defect, caught, failed[0].split(" - ")[0] if caught else f"pytest ended with {code}")


def _pytest(tree: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """Exit code and output of pytest, in a fork of a process that has imported third-party packages only."""
    output = tree / "build" / "pytest.txt"
    output.parent.mkdir(exist_ok=True)
    output.write_text("")
    process = _FORKS.Process(target=_run_tests, args=(tree, tests, output))
    process.start()
    process.join(_TIMEOUT_SECONDS)
    late = process.is_alive()
    with suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)  # whatever the tests have left behind, too
    process.join()
    if late:
        return -1, f"still running after {_TIMEOUT_SECONDS} s"
    return process.exitcode or 0, output.read_text(errors="replace")


def _run_tests(tree: Path, tests: tuple[str, ...], output: Path) -> None:
    """Run pytest on a tree, whose packages take precedence over those installed; the whole life of a fork."""
    os.setsid()
    multiprocessing.set_start_method(None, force=True)  # the fork server's own
    for name in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
        del sys.modules[name]
    path = [str(tree / "src"), str(tree)]
    sys.path[:0] = path
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1"}
    os.chdir(tree)
    import pytest  # noqa: PLC0415 - what the fork server has imported

    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "-m", "not golden and not thorough"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # plugins are imported already
        code = pytest.main([*options, *tests])
        sys.stdout.flush()
    os._exit(code)


def main() -> int:
    """Print the outcome for each defect; returns 1 if one is not caught or does not apply."""
    parser = argparse.ArgumentParser(prog="python -m verification.seeded_defects.runner")
    parser.add_argument("--check", action="store_true", help="only test that each patch applies")
    parser.add_argument("numbers", nargs="*", help="all defects by default")
    options = parser.parse_args()
    some = [one for one in defects() if not options.numbers or one.path.name[:3] in options.numbers]
    if options.check:
        found = check(some)
        print("\n".join(found) or f"{len(some)} patches apply")
        return 1 if found else 0
    caught = 0
    for result in run_defects(some):
        print(f"{'caught' if result.caught else 'MISSED'}  {result.defect.path.stem}: {result.by}", flush=True)
        caught += result.caught
    print(f"{caught} of {len(some)} caught")
    return 0 if caught == len(some) else 1


if __name__ == "__main__":
    sys.exit(main())
