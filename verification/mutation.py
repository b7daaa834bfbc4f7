"""Mutation testing of the domain: `python -m verification.mutation [FILE...]`.

Mutants are made by mutmut's operators and two more: a negated condition, and a literal without one of its elements.
mutmut's own runner skips decorated classes, properties and module-level code, which leaves 2,203 of the domain's 3,751
mutants: none in most dataclasses, bounds, thresholds and tables. So each mutant runs here, in a fork of a process that
has imported third-party packages only. It costs one import of the domain and the tests up to the first failure.

Not mutated: docstrings, annotations, type variables and aliases, `__all__`, which is for type checkers alone;
decorators, which tests/domain/test_values.py checks; text inside f-strings; the arguments of `isinstance` and `len`, as
in mutmut. Other strings get one of mutmut's three changes.
Every survivor must be listed with a reason in mutation-equivalents.toml.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import hypothesis
import libcst as cst
import libcst.matchers as m
import pytest
from mutmut.mutation.mutators import mutation_operators, operator_string

from verification.checkout import ROOT, changed, copy_checkout

SOURCES = (
    *sorted((ROOT / "src/chronos_ec2/domain").rglob("*.py")),
    ROOT / "src/chronos_ec2/job_config/frequency.py",
)
TESTS = ("tests/domain", "tests/job_config/test_frequency.py")
DECISIONS = "tests/domain/test_decisions.py"
"""Runs first for a module that has no test file of its own name."""
EQUIVALENTS = Path(__file__).with_name("mutation-equivalents.toml")
REPORT = ROOT / "build" / "mutation.json"
TARGET = 0.90
CPU_SECONDS, SECONDS = 60, 600
"""The limits for one mutant."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module's changed source. `change` names the spot without line numbers, which shift."""

    path: Path
    change: str
    source: str


@dataclass(frozen=True, slots=True)
class MutationResult:
    """The outcome of a run. Mutants that exceed the time limit count as killed."""

    killed: int
    total: int
    timed_out: int
    survivors: list[str]
    seconds: float

    @property
    def score(self) -> float:
        """The share of mutants that were killed."""
        return self.killed / self.total if self.total else 0.0


def main() -> int:
    """Run all mutants, or those of the given files. Returns 1 on a low score or an unlisted survivor."""
    files = [Path(name).resolve() for name in sys.argv[1:]]
    result = run(files or SOURCES)
    print(f"{result.killed} of {result.total} mutants killed, {result.score:.1%}, in {result.seconds:.0f} s")
    if not files:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(json.dumps(asdict(result) | {"score": round(result.score, 4)}, indent=1) + "\n")
    found = problems(result, equivalents(), complete=not files)
    print("\n".join(found))
    return 1 if found else 0


def run(files: Sequence[Path]) -> MutationResult:
    """Run the mutants of `files` one after another.

    Raises:
        RuntimeError: the tests fail on unchanged code, so a result would prove nothing.
    """
    started, codes, survivors = time.monotonic(), [], []
    with tempfile.TemporaryDirectory(prefix="mutation-") as directory:
        tests = _Tests(copy_checkout(Path(directory), "src", "tests", "agent"))
        for path in files:
            for mutant in mutants_of(path):
                codes.append(tests.run(mutant))
                if codes[-1] == 0:
                    survivors.append(mutant.change)
                    print(f"survived: {mutant.change}", flush=True)
            if tests.run(Mutant(path, "unchanged", path.read_text())):
                raise RuntimeError(f"{path.name} fails its tests unchanged")
    timed_out = sum(code < 0 for code in codes)
    seconds = round(time.monotonic() - started, 1)
    return MutationResult(len(codes) - len(survivors), len(codes), timed_out, survivors, seconds)


def equivalents() -> dict[str, str]:
    """The accepted survivors, each with its reason."""
    groups = tomllib.loads(EQUIVALENTS.read_text())["equivalent"]
    return {change: group["reason"] for group in groups for change in group["mutants"]}


def problems(result: MutationResult, listed: Iterable[str], *, complete: bool = True) -> list[str]:
    """Unlisted survivors; after a complete run also listed mutants that were killed, and a score below TARGET."""
    found = [f"survived, not listed: {change}" for change in result.survivors if change not in listed]
    if complete:
        found += [f"listed, but killed: {change}" for change in listed if change not in result.survivors]
        found += [f"score {result.score:.1%} is below {TARGET:.0%}"] if result.score < TARGET else []
    return found


# --- making mutants


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Every distinct mutant of a source file that compiles to something else than the original."""
    source = path.read_text()
    module = cst.MetadataWrapper(cst.parse_module(source)).module
    seen = {source}
    for scope, old, new in _spots(module):
        mutated = module.deep_replace(old, new)
        if isinstance(mutated, cst.Module) and mutated.code not in seen:
            seen.add(mutated.code)
            yield Mutant(path, f"{path.name} {scope}: {_difference(source, mutated.code)}", mutated.code)


_TYPE = m.Name() | m.BinaryOperation() | m.Subscript()
_UNION = m.BinaryOperation(operator=m.BitOr(), left=_TYPE, right=_TYPE)
_FOR_TYPES = m.Assign(value=_UNION | m.Subscript(value=m.Name("Literal")) | m.Call(func=m.Name("TypeVar")))
_EXPORTS = m.Assign(targets=[m.AssignTarget(m.Name("__all__"))])
_UNTOUCHED = m.Call(func=m.Name("isinstance") | m.Name("len")) | m.SimpleStatementLine(body=[_FOR_TYPES | _EXPORTS])


def _spots(node: cst.CSTNode, scope: tuple[str, ...] = ()) -> Iterator[tuple[str, cst.CSTNode, cst.CSTNode]]:
    """(enclosing function or class, node, replacement) of each change within a node."""
    if isinstance(node, (cst.Annotation, cst.Decorator)) or m.matches(node, _UNTOUCHED):
        return
    if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
        scope = (*scope, node.name.value)
    for new in _replacements(node):
        yield ".".join(scope) or "module", node, new
    for child in node.children:
        yield from _spots(child, scope)


def _replacements(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    for kind, operator in mutation_operators:
        if isinstance(node, kind):
            others = list(operator(node))
            yield from others[:1] if operator is operator_string else others
    if isinstance(node, (cst.If, cst.IfExp, cst.CompIf)):
        test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test))
    if isinstance(node, (cst.Tuple, cst.List, cst.Set, cst.Dict)) and len(node.elements) > 1:
        for index in range(len(node.elements)):
            yield node.with_changes(elements=[*node.elements[:index], *node.elements[index + 1 :]])


def _difference(before: str, after: str) -> str:
    was, now = before.splitlines(), after.splitlines()
    while was and now and was[0] == now[0]:
        del was[0], now[0]
    while was and now and was[-1] == now[-1]:
        del was[-1], now[-1]
    return " -> ".join(" ".join(filter(None, (line.strip() for line in lines))) for lines in (was, now))


# --- running the tests on one


class _Tests:
    """Runs the tests in forks of this process on a copy of the checkout, the quickest first."""

    def __init__(self, copy: Path) -> None:
        if "chronos_ec2" in sys.modules:
            raise RuntimeError("mutation needs a process that has not imported chronos_ec2")
        self._copy = copy
        sys.dont_write_bytecode = True
        sys.path[:0] = [str(copy / "src"), str(copy)]
        hypothesis.settings.register_profile(
            "mutation", max_examples=25, derandomize=True, database=None, deadline=None
        )
        hypothesis.settings.load_profile("mutation")
        self.durations: dict[str, float] = {}
        self._measure()

    def run(self, mutant: Mutant) -> int:
        """0 if the mutant survives, a negative number if it exceeds a time limit."""
        path = self._copy / mutant.path.relative_to(ROOT)
        try:
            compile(mutant.source, str(path), "exec")
        except SyntaxError:
            return 1
        own = "tests" / mutant.path.relative_to(ROOT / "src/chronos_ec2").with_name(f"test_{path.name}")
        first = str(own) if (self._copy / own).exists() else DECISIONS
        with changed(path, mutant.source):
            if (pid := os.fork()) == 0:
                os._exit(self._pytest(first) or self._pytest(*TESTS))
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code < 0 and -code not in {signal.SIGALRM, signal.SIGPROF}:
            raise RuntimeError(f"the tests were ended by signal {-code}: {mutant.change}")
        return code

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Sort the tests, the quickest first."""
        items.sort(key=lambda item: self.durations.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up how long each test takes."""
        self.durations[report.nodeid] = self.durations.get(report.nodeid, 0.0) + report.duration

    def _measure(self) -> None:
        """Time the tests on unchanged code, and import here the third-party packages that they import."""
        results = self._copy / "build" / "measured.json"
        results.parent.mkdir(exist_ok=True)
        if (pid := os.fork()) == 0:
            code = self._pytest(*TESTS)
            results.write_text(json.dumps([self.durations, sorted(sys.modules)]))
            os._exit(code)
        if os.waitpid(pid, 0)[1] != 0:
            raise RuntimeError(f"the tests fail without a mutation: python -m pytest --noconftest {' '.join(TESTS)}")
        self.durations, modules = json.loads(results.read_text())
        ours = {path.name for folder in (self._copy, self._copy / "src") for path in folder.iterdir()}
        for name in modules:
            if name.partition(".")[0] not in ours | {"__main__", "__mp_main__"}:
                with suppress(ImportError):
                    importlib.import_module(name)

    def _pytest(self, *tests: str) -> int:
        signal.alarm(SECONDS)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        gc.disable()
        os.chdir(self._copy)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        # Not the conftest of all tests, which imports AWS. pyproject.toml's options need plugins that are not loaded.
        options = ["-x", "-q", "--tb=no", "--noconftest", "--assert=plain", "-p", "no:cacheprovider", "-o", "addopts="]
        options += ["-W", "ignore::pytest.PytestConfigWarning", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        return int(pytest.main([*tests, *options], plugins=[self]))


if __name__ == "__main__":
    sys.exit(main())
