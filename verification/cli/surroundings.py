"""What may be wrong on the machine: variables, files, terminals, pipes and signals."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from verification.cli.answers import LEFT, MEND, NO_SUCCESS, OK, Answer, Exits, Fault
from verification.cli.situations import COMMANDS, Command, Situation, wrong
from verification.cli.world import ACTIVE, FAILED, TRAINED

INTERRUPTED, NO_READER = frozenset({130}), frozenset({0, 141})


def variables() -> Iterator[Situation]:
    """Settings of AWS clients that cannot work."""
    no_keys: dict[str, str | None] = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    profile = no_keys | {"AWS_CONFIG_FILE": "aws-config", "AWS_PROFILE": "mine"}
    proxy: dict[str, str | None] = {
        "AWS_ENDPOINT_URL": "http://192.0.2.1",
        "http_proxy": "http://127.0.0.1:9",
        "no_proxy": "",
    }
    certificates: dict[str, str | None] = {"AWS_ENDPOINT_URL": "https://127.0.0.1:9", "AWS_CA_BUNDLE": "none.pem"}
    settings: dict[str, tuple[dict[str, str | None], Exits]] = {
        "no credentials": (no_keys, MEND),
        "no secret": ({"AWS_SECRET_ACCESS_KEY": None}, MEND),
        "no region": ({"AWS_DEFAULT_REGION": None}, MEND),
        "a region with a space": ({"AWS_DEFAULT_REGION": "us east 1"}, MEND),
        "AWS_REGION with a space": ({"AWS_REGION": "us east 1"}, MEND),
        "a region with an escape": ({"AWS_REGION": "us-east-1\x1b[2J"}, MEND),
        "an unknown profile": ({"AWS_PROFILE": "nobody"}, MEND),
        "a profile with a strange name": ({"AWS_PROFILE": "é [x]\n"}, MEND),
        "an endpoint without a scheme": ({"AWS_ENDPOINT_URL": "localhost:4566"}, MEND),
        "an endpoint that is no URL": ({"AWS_ENDPOINT_URL": "http://[::1"}, MEND),
        "an endpoint's name that does not exist": ({"AWS_ENDPOINT_URL": "http://no.such.host.invalid:1"}, NO_SUCCESS),
        "an endpoint where nobody listens": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, NO_SUCCESS),
        "a proxy where nobody listens": (proxy, NO_SUCCESS),
        "a file of certificates that is missing": (certificates, NO_SUCCESS),
        "a broken configuration file": (profile | {"AWS_CONFIG_FILE": "broken-config"}, MEND),
        "a configuration file that is not text": (profile | {"AWS_CONFIG_FILE": "binary-config"}, MEND),
        "a configuration file that is a folder": (profile | {"AWS_CONFIG_FILE": "sales"}, MEND),
        "a credential_process that fails": (profile | {"AWS_PROFILE": "failing"}, MEND),
        "a credential_process that does not exist": (profile | {"AWS_PROFILE": "missing"}, MEND),
        "a credential_process that prints no JSON": (profile | {"AWS_PROFILE": "chatty"}, MEND),
        "a role without a source": (profile | {"AWS_PROFILE": "role"}, MEND),
        "a role with MFA and no answer": (profile | {"AWS_PROFILE": "mfa"}, MEND),
        "an SSO session that is expired": (profile | {"AWS_PROFILE": "sso"}, MEND),
        "a retry mode that does not exist": ({"AWS_RETRY_MODE": "never"}, NO_SUCCESS | OK | LEFT),
        "a number of attempts that is none": ({"AWS_MAX_ATTEMPTS": "many"}, NO_SUCCESS | OK | LEFT),
        "an environment with capitals": ({"ENVIRONMENT": "Dev"}, MEND),
        "another bucket": ({"BUCKET": "somewhere-else"}, MEND),
    }
    lines = ("verify --json", "runs", "launch --trainer probe --json", "upload config train.yaml")
    for (name, (changes, exits)), line in product(settings.items(), lines):
        yield Command(line, exits, changes=bool(exits & OK)).situation(name, variables=changes)
    launch = ("launch", "--trainer", "probe", "--json")
    yield Situation("launch: INSTANCE_TYPE is a comma", launch, MEND, variables={"INSTANCE_TYPE": ","})


_NO_FILES = ("fifo.yaml", "huge.yaml", "zero.yaml", "pointer.yaml")
_TAKE_A_FILE = (
    "data check good.csv --config", "upload data good.csv x --config", "schedule create nightly --rate 1d --config",
    "schedule create nightly --rate 1d --config train.yaml --then", "local invoke Sweep",
)  # fmt: skip


def files() -> Iterator[Situation]:
    """Files that cannot be what they are given for."""
    for name in (
        "forecast-many.yaml", "evaluate-none.yaml", "no-job.yaml", "job-list.yaml", "levels.yaml", "keys.yaml",
        "bomb.yaml", "tag.yaml", "date.yaml", "none.yaml", "sales", "not-yaml.yaml", "a-list.yaml", "empty.yaml",
        "nul.yaml", "unknown-key.yaml",
        "wrong-type.yaml", "no-data.yaml", "outside.yaml", "own-trainer.yaml", "infinite.yaml", "deep.yaml",
        "latin-1.yaml", "loop.yaml", "a-file/train.yaml", "parquet_loader_config.yaml", "x" * 300 + ".yaml", "é.yaml",
        os.fsdecode(b"none-\xe9.yaml"), *_NO_FILES,
    ):  # fmt: skip
        yield wrong("launch", "--config", name, "--json")
        if name not in ("outside.yaml", "own-trainer.yaml"):
            yield wrong("upload", "config", name, "--json")
        if name != "no-data.yaml":  # --data names what it lacks
            yield wrong("forecast", "--config", name, "--data", "sales", "--horizon", "6", "--json")
            yield wrong("evaluate", "--config", name, "--data", "sales", "--horizon", "6", "--json")
    for name, line in product(_NO_FILES, _TAKE_A_FILE):
        yield wrong(*line.split(), name)
    yield wrong("launch", "--config", "no-such-data.yaml")
    yield from _tables()
    # Nothing can run in a folder that cannot exist, so there is nothing to end.
    yield Situation("local down: no such folder", ("local", "down", "--state", "a-file/below"), OK)
    for name in ("nowhere", "none", "empty", "a-file", "loop.yaml", os.fsdecode(b"caf\xe9"), "a-file/below"):
        yield wrong("upload", "data", name, "name", "--json")
    latin = os.fsdecode(b"caf\xe9.yaml")
    yield Situation("launch: a file name that is not UTF-8", ("launch", "--config", latin), OK, renews=True)
    yield Situation("upload: a file name that is not UTF-8", ("upload", "config", latin), NO_SUCCESS | OK, renews=True)


def _tables() -> Iterator[Situation]:
    """Data sets that a laptop can see through. What an encoding or an id makes of a file is refused or shown safely."""
    forecast = ("forecast", "--horizon", "6", "--model", "champion", "--json", "--data")
    for name in ("good.csv", "windows.csv", "semicolons.csv", "utf-16.csv"):
        yield Situation(f"data check: {name}", ("data", "check", name, "--json"), OK)
        yield Situation(f"data show: {name}", ("data", "show", name), OK)
    for name in ("control.csv", "long-id.csv", "gaps.csv", "ragged.csv", "quote.csv", "nul.csv"):
        for json in ((), ("--json",)):
            line = ("data", "check", name, *json)
            yield Situation(" ".join(line), line, OK | MEND, reports=True)
        yield Situation(f"forecast: {name}", (*forecast, f"./{name}"), OK | MEND, renews=True)
    for name in (
        "latin-1.csv", "long-header.csv", "header.csv", "empty.csv", "words.csv", "damaged.parquet",
        "damaged.feather", "pointer.parquet", "pointer.csv", "fifo.csv", "zero.csv", "empty", "none", "a-file",
        "loop.yaml", "nowhere",
    ):  # fmt: skip
        yield Situation(f"data check {name}", ("data", "check", name, "--json"), MEND, reports=True)
        yield Situation(f"data check {name}, in words", ("data", "check", name), MEND, reports=True)
        yield wrong(*forecast, f"./{name}")
        yield wrong("upload", "data", name, "x", "--config", "train.yaml", "--json")
    for option in ("--item-id", "--timestamp", "--target", "--known", "--past"):
        for action in ("check", "show"):
            line = ("data", action, "good.csv", option, "none")
            yield Situation(" ".join(line), line, MEND, reports=True)
            yield Situation(f"{' '.join(line)}, as JSON", (*line, "--json"), MEND, reports=True)
    for action in ("check", "show"):
        line = ("data", action, "training-data/sales/")
        yield Situation(f"data {action}: a data set of the bucket without Parquet", line, MEND, reports=True)


_FORCED = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLORTERM": "truecolor"}
_TERMINALS: dict[str, dict[str, Any]] = {
    "NO_COLOR": {"variables": {"NO_COLOR": "1"}},
    "TERM=dumb": {"variables": {"TERM": "dumb"}},
    "NO_COLOR and FORCE_COLOR": {"variables": {"NO_COLOR": "1", "FORCE_COLOR": "1"}},
    "20 columns": {"variables": {"COLUMNS": "20"}},
    "FORCE_COLOR": {"variables": _FORCED, "colours": True},
    "ASCII": {"encoding": "ascii"},
    "Latin-1": {"encoding": "latin-1"},
}


def terminals() -> Iterator[Situation]:
    """Streams that show little."""
    for command in COMMANDS:
        plain = replace(command, line=command.line.replace(" --json", ""))
        for name, others in _TERMINALS.items():
            yield plain.situation(name, **others)
            if name == "FORCE_COLOR" and plain != command:
                yield command.situation(name, variables=_FORCED)
    for answer in ("", "n\n", "maybe\n"):
        yield Situation(f"teardown: is told {answer!r}", ("teardown", "--json"), MEND, stdin=answer)


_INTERRUPTED = (
    "forecast --data sales --horizon 6 --model champion --json", "evaluate --data sales --horizon 6 --models champion",
    f"results {TRAINED} --to results", f"report {FAILED} --json", f"kill {ACTIVE}", f"hold {ACTIVE}",
    f"release {ACTIVE}", "drill --yes --json", f"models promote {TRAINED} --yes", "models list --json",
    "upload data sales sales", "runs list --json", f"runs compare {FAILED} {TRAINED}", "teardown --yes", "doctor",
)  # fmt: skip
_INTERRUPT = 'timeout --foreground --preserve-status -s INT 3 "$@"'
_SLOW = Fault("s3", Answer("no answer yet", delay=30))
_MFA = {
    "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_CONFIG_FILE": "aws-config", "AWS_PROFILE": "mfa",
}  # fmt: skip
_ASCII = {"PYTHONIOENCODING": "ascii"}
_C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
_PROCESSES: tuple[tuple[str, str, Exits, str, dict[str, Any]], ...] = (
    *(("Ctrl-C", line, INTERRUPTED, _INTERRUPT, {"fault": _SLOW}) for line in _INTERRUPTED),
    ("nobody reads", "runs", NO_READER, '"$@" | true', {}),
    ("head reads a line", f"logs {FAILED} --log agent", NO_READER, '"$@" | head -1', {}),
    ("JSON is read by nobody", "runs --json", NO_READER, '"$@" | true', {}),
    ("standard output is closed", "runs --json", OK, '"$@" >&-', {}),
    ("standard error is closed", "verify --json", LEFT, '"$@" 2>&-', {}),
    ("standard input is closed", "runs", OK, '"$@" <&-', {}),
    ("all streams are closed", "runs", OK, '"$@" <&- >&- 2>&-', {}),
    ("standard input is closed", "teardown", MEND, '"$@" <&-', {}),
    ("the disk is full", "runs", MEND, '"$@" >/dev/full', {}),
    ("the disk is full", "runs --json", MEND, '"$@" >/dev/full', {}),
    ("PYTHONIOENCODING=ascii", f"monitor {FAILED}", LEFT, '"$@"', {"variables": _ASCII}),
    ("PYTHONIOENCODING=ascii", f"logs {FAILED} --log agent", OK, '"$@"', {"variables": _ASCII}),
    ("LC_ALL=C", f"monitor {FAILED}", LEFT, '"$@"', {"variables": _C_LOCALE}),
    ("LC_ALL=C", f"logs {FAILED} --log agent", OK, '"$@"', {"variables": _C_LOCALE}),
    ("Ctrl-C", f"monitor {ACTIVE}", INTERRUPTED, _INTERRUPT, {}),
    ("Ctrl-C", f"logs {ACTIVE} -f", INTERRUPTED, _INTERRUPT, {}),
    ("Ctrl-C", "cleanup --wait 60", INTERRUPTED, _INTERRUPT, {}),
    ("Ctrl-C", "verify --json", INTERRUPTED, _INTERRUPT, {"fault": _SLOW}),
    ("Ctrl-C", "launch --trainer probe --json", INTERRUPTED, _INTERRUPT, {"fault": _SLOW}),
    ("Ctrl-C", "launch --trainer probe --allow-cpu --yes --watch", INTERRUPTED, _INTERRUPT, {}),
    ("a browser", f"report {FAILED} --open --to report.html", OK, '"$@"', {"variables": {"BROWSER": "true"}}),
    ("MFA and no terminal", "runs", MEND, '"$@" <&-', {"variables": _MFA}),
    ("nothing is wrong", "runs --json", OK, '"$@"', {}),
    ("nothing is wrong", "--help", OK, '"$@"', {}),
)


def processes() -> Iterator[Situation]:
    """What only a process of its own shows: closed streams, pipes without a reader, signals, the bare interpreter."""
    for name, line, exits, shell, others in _PROCESSES:
        yield Command(line, exits).situation(f"{name}, as a process", shell=shell, **others)
