"""Mutation testing of the domain: `python -m verification.mutation` changes one spot of it at a time and runs its tests.

The changes are those of mutmut, applied by a runner of our own: mutmut itself leaves out decorated classes, properties
and everything at module level, which here would be every dataclass, the promised bounds, the thresholds and all tables.
Two operators are added that mutmut lacks: a condition is negated, an element of a literal is dropped.

Each mutant runs in a fork of a process that has imported the test tools but nothing of ours, so it costs the import of
the domain and the tests up to the first that fails. The tests are tests/domain, hypothesis derandomized, and without
the conftest of all rooms, which imports AWS.

Not mutated, because no behaviour depends on it or because it would only flatter the score:
  * docstrings, annotations and type aliases: they are for readers and for mypy;
  * decorators (`frozen`, `slots`): one test over all values of the domain says what holds for them;
  * the text inside f-strings; plain strings are mutated, messages too, but in one way: mutmut's other two, all in
    upper and all in lower case, would count every word thrice;
  * the arguments of `isinstance` and `len`, as mutmut does: nearly every such change is a TypeError.

Every survivor has to stand in mutation-survivors.toml with the reason why no test kills it.
"""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import Enum, auto
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import hypothesis
import hypothesis.strategies
import libcst as cst
import libcst.matchers as m
import pytest
from mutmut.mutation.mutators import mutation_operators, operator_string

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "chronos_ec2.domain"
SOURCES = ROOT / "src" / "chronos_ec2" / "domain"
TESTS = ROOT / "tests" / "domain"
EVENTS = ROOT / "events"
SURVIVORS = Path(__file__).with_name("mutation-survivors.toml")
REPORT = ROOT / "build" / "mutation.json"

TARGET = 0.90
SECONDS_PER_MUTANT = 60
NEAREST = dict.fromkeys(("policy", "held", "lost", "strays", "dying", "decision"), "test_decisions.py")
"""The file of tests most likely to kill, where it does not bear the name of the module."""
EXAMPLES = 25


@dataclass(frozen=True, slots=True)
class Change:
    """What a mutant changes: the lines before and after, with the name of the function or class they stand in.

    There is no line number in it, so that a listed survivor stays the same when code above it moves.
    """

    file: str
    name: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.file} {self.name}\n  - {self.was}\n  + {self.now}"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change and the source of the module that it makes."""

    change: Change
    source: str


class Fate(Enum):
    """What became of one mutant."""

    KILLED = auto()
    SURVIVED = auto()
    TIMED_OUT = auto()


@dataclass(frozen=True, slots=True)
class MutationResult:
    """What became of all mutants. Those that ran for too long are among the killed."""

    killed: int
    total: int
    survivors: tuple[Change, ...]
    seconds: float
    timed_out: int = 0

    @property
    def score(self) -> float:
        """The share of mutants that a test killed."""
        return self.killed / self.total if self.total else 0.0

    def to_json(self) -> dict[str, Any]:
        """The figures and the survivors, for the report of all evidence."""
        return {
            "killed": self.killed,
            "total": self.total,
            "score": round(self.score, 4),
            "timed_out": self.timed_out,
            "seconds": round(self.seconds, 1),
            "survivors": [asdict(change) for change in self.survivors],
        }


def main() -> int:
    """Run all mutants, or those of the files named, and write the report; 0 if the score and the list hold."""
    named = sys.argv[1:]
    result = run(
        [SOURCES / f"{name.removesuffix('.py')}.py" for name in named] or None,
        on_survivor=lambda change: _say(f"survives: {change}"),
    )
    _say(f"{result.killed} of {result.total} mutants killed, {result.score:.1%}, in {result.seconds:.0f} s")
    if not named:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(json.dumps(result.to_json(), indent=1) + "\n")
    complaints = judge(result, listed_survivors(), complete=not named)
    for complaint in complaints:
        _say(complaint)
    return 1 if complaints else 0


def run(files: Sequence[Path] | None = None, on_survivor: Callable[[Change], None] = lambda _: None) -> MutationResult:
    """Run the mutants of `files`, by default all of the domain, one after the other."""
    started = time.monotonic()
    fates: Counter[Fate] = Counter()
    survivors = []
    with tempfile.TemporaryDirectory(prefix="mutation-") as directory:
        room = _furnish(Path(directory))
        durations = _durations_of_sound_tests(room)
        for path in files or sorted(SOURCES.glob("*.py")):
            _require_survival_unchanged(room, path, durations)
            for mutant in mutants_of(room / path.relative_to(ROOT)):
                fate = _fate(room, mutant, durations)
                fates[fate] += 1
                if fate is Fate.SURVIVED:
                    survivors.append(mutant.change)
                    on_survivor(mutant.change)
            _require_survival_unchanged(room, path, durations)
    killed = fates[Fate.KILLED] + fates[Fate.TIMED_OUT]
    return MutationResult(
        killed, fates.total(), tuple(survivors), time.monotonic() - started, timed_out=fates[Fate.TIMED_OUT]
    )


def listed_survivors() -> dict[Change, str]:
    """The survivors that are accepted, each with its reason."""
    entries = tomllib.loads(SURVIVORS.read_text()).get("survivor", [])
    return {Change(entry["file"], entry["name"], entry["was"], entry["now"]): entry["reason"] for entry in entries}


def judge(result: MutationResult, listed: dict[Change, str], *, complete: bool = True) -> list[str]:
    """What is wrong with a result: too low a score, a survivor without a reason, a reason without a survivor."""
    complaints = [f"survives and is not listed: {change}" for change in result.survivors if change not in listed]
    if complete:
        stale = [change for change in listed if change not in result.survivors]
        complaints += [f"listed, but does not survive: {change}" for change in stale]
        if result.score < TARGET:
            complaints.append(f"score {result.score:.1%} is below {TARGET:.0%}")
    return complaints


# --- mutants ---------------------------------------------------------------------------------------------------


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Every mutant of a source file, each source but once."""
    source = path.read_text()
    wrapper = cst.MetadataWrapper(cst.parse_module(source))
    spots = _Spots()
    wrapper.module.visit(spots)
    seen = {source}
    for name, old, new in spots.found:
        changed = wrapper.module.deep_replace(old, new)
        if not isinstance(changed, cst.Module) or changed.code in seen:
            continue
        seen.add(changed.code)
        yield Mutant(_change(path.name, name, source, changed.code), changed.code)


class _Spots(cst.CSTVisitor):
    """Collects where a module can be changed, and how."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, cst.CSTNode, cst.CSTNode]] = []
        self._scope: list[str] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, (cst.Annotation, cst.Decorator)) or m.matches(node, _UNTOUCHED):
            return False
        if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
            self._scope.append(node.name.value)
        name = ".".join(self._scope) or "module"
        self.found += [(name, node, new) for new in _replacements(node)]
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, (cst.FunctionDef, cst.ClassDef)):
            self._scope.pop()


_NAMES_JOINED = m.BinaryOperation(operator=m.BitOr(), left=m.Name() | m.BinaryOperation(), right=m.Name())
_UNTOUCHED = m.Call(func=m.Name("isinstance") | m.Name("len")) | m.SimpleStatementLine(
    body=[m.Assign(value=_NAMES_JOINED | m.Subscript(value=m.Name("Literal")))]
)


def _replacements(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    for kind, operator in mutation_operators:
        if isinstance(node, kind):
            changed: Iterable[cst.CSTNode] = operator(node)
            yield from list(changed)[:1] if operator is operator_string else changed
    yield from _negated_condition(node)
    yield from _dropped_element(node)


def _negated_condition(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    if isinstance(node, (cst.If, cst.IfExp, cst.CompIf)):
        test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test))


def _dropped_element(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    if isinstance(node, (cst.Tuple, cst.List, cst.Set, cst.Dict)) and len(node.elements) > 1:
        for index in range(len(node.elements)):
            yield node.with_changes(elements=[*node.elements[:index], *node.elements[index + 1 :]])


def _change(file: str, name: str, before: str, after: str) -> Change:
    was, now = before.splitlines(), after.splitlines()
    while was and now and was[0] == now[0]:
        del was[0], now[0]
    while was and now and was[-1] == now[-1]:
        del was[-1], now[-1]
    return Change(file, name, _joined(was), _joined(now))


def _joined(lines: Iterable[str]) -> str:
    return " ".join(filter(None, (line.strip() for line in lines)))


# --- running one mutant ----------------------------------------------------------------------------------------


def _furnish(room: Path) -> Path:
    """A copy of what the mutants run, so that nobody who works on the sources meanwhile kills one.

    Everything that a fork needs is imported in this process, but nothing that could be mutated.
    """
    ours = [name for name in sys.modules if name.split(".")[0] == PACKAGE.split(".", maxsplit=1)[0]]
    if ours:
        raise RuntimeError(f"the mutants need a process of their own: {ours[0]} is imported already")
    hypothesis.settings.register_profile(
        "mutation", max_examples=EXAMPLES, derandomize=True, database=None, deadline=None
    )
    hypothesis.settings.load_profile("mutation")
    for part in (SOURCES, TESTS, EVENTS):
        shutil.copytree(part, room / part.relative_to(ROOT), ignore=shutil.ignore_patterns("__pycache__"))
    for file in (SOURCES.parent / "__init__.py", TESTS.parent / "__init__.py", TESTS.parent / "builders.py"):
        shutil.copy(file, room / file.relative_to(ROOT))
    shutil.copy(ROOT / "pyproject.toml", room)
    sys.path[:0] = [str(room / "src"), str(room)]
    return room


def _durations_of_sound_tests(room: Path) -> dict[str, float]:
    """Run the tests on the domain as it is. They must pass; how long each takes decides their order."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        timed = _Timed()
        code = _pytest(room, timed)
        with os.fdopen(writer, "w") as pipe:
            json.dump(timed.durations, pipe)
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    if os.waitpid(pid, 0)[1] != 0:
        raise RuntimeError("the tests fail without any mutation: python -m pytest --noconftest tests/domain")
    durations: dict[str, float] = json.loads(answer)
    return durations


def _require_survival_unchanged(room: Path, path: Path, durations: dict[str, float]) -> None:
    """A module that is loaded as a mutant is, but has no change, must pass: else every figure is worth nothing."""
    source = (room / path.relative_to(ROOT)).read_text()
    unchanged = Mutant(Change(path.name, "module", "", ""), source)
    if _fate(room, unchanged, durations) is not Fate.SURVIVED:
        raise RuntimeError(f"{path.name} fails the tests even unchanged, when it is loaded as its mutants are")


def _fate(room: Path, mutant: Mutant, durations: dict[str, float]) -> Fate:
    """Run the tests on a mutant. No test is allowed to take it for ever."""
    path = room / SOURCES.relative_to(ROOT) / mutant.change.file
    try:
        code = compile(mutant.source, str(path), "exec")
    except SyntaxError:
        return Fate.KILLED
    pid = os.fork()
    if pid == 0:
        signal.alarm(SECONDS_PER_MUTANT)
        sys.meta_path.insert(0, _Mutated(path, code))
        own = f"tests/domain/{NEAREST.get(path.stem, f'test_{path.stem}.py')}"
        os._exit(_pytest(room, _QuickestFirst(durations), own if (room / own).exists() else None))
    code_of_exit = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code_of_exit == -signal.SIGALRM:
        return Fate.TIMED_OUT
    if code_of_exit < 0:
        raise RuntimeError(f"the tests of a mutant were ended by signal {-code_of_exit}: {mutant.change}")
    return Fate.KILLED if code_of_exit else Fate.SURVIVED


def _pytest(room: Path, plugin: object, nearest: str | None = None) -> int:
    """Run the tests of the `nearest` file, if one is named, and if they pass those of all files."""
    gc.disable()
    os.chdir(room)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    arguments = ["-x", "-q", "--tb=no", "--noconftest", "--assert=plain", "-p", "no:cacheprovider"]
    # The project's pytest options name plugins that are not loaded here.
    arguments += ["-o", "addopts=", "-W", "ignore::pytest.PytestConfigWarning"]
    arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    first = int(pytest.main([nearest, *arguments], plugins=[plugin])) if nearest else 0
    return first or int(pytest.main(["tests/domain", *arguments], plugins=[plugin]))


class _Timed:
    """Notes how long each test takes."""

    def __init__(self) -> None:
        self.durations: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.durations[report.nodeid] = self.durations.get(report.nodeid, 0.0) + report.duration


class _QuickestFirst:
    """Runs the quickest tests first."""

    def __init__(self, durations: dict[str, float]) -> None:
        self._durations = durations

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self._durations.get(item.nodeid, 0.0))


class _Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module, and loads the mutant in its place."""

    def __init__(self, path: Path, code: CodeType) -> None:
        self._name = f"{PACKAGE}.{path.stem}"
        self._path, self._code = path, code

    def find_spec(self, fullname: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=str(self._path))
        spec.has_location = True
        return spec

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)  # noqa: S102 - a mutant is code that we made


def _say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
