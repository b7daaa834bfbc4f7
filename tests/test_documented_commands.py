"""Every command that a document or a message names passes through its real parser. None is executed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer

from chronos_ec2.cli.app import app
from chronos_ec2.local.sam_cli import sam
from chronos_ec2.settings import parse_limits

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"), ROOT / "template.yaml",
     ROOT / "samconfig.toml", *ROOT.glob("src/chronos_ec2/**/*.py")]
)  # fmt: skip
_FENCED = re.compile(r"^ *```(?:sh|bash|console)?\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_PREFIXES = ("chronos-ec2 ", "sam ", "make ", "python -m ")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_NOT_A_COMMAND = ("chronos-ec2 …",)


def commands(text: str, *, code: bool) -> set[str]:
    """The commands in a document, one by one; in code, `{…}` stands for a value."""
    fenced = [] if code else _FENCED.findall(text)
    lines = [line for block in fenced for line in block.replace("\\\n", " ").splitlines()]
    # A command in a text may go on in the next line.
    flowing = _FENCED.sub("", text) if not code else re.sub(r'"\s*\n\s*f?"', "", text)
    lines += _INLINE.findall(re.sub(r"(?<=\S)\n(?=\S)", " ", flowing) if not code else flowing)
    found = set()
    for line in lines:
        for part in re.split(r"\s+(?:&&|\|\||;)\s+", line):
            command = part.partition(" # ")[0].strip().removeprefix("$ ").removeprefix(".venv/bin/")
            if code:
                command = _PLACEHOLDER.sub("{}", command)
            if command.startswith(_PREFIXES) and command not in _NOT_A_COMMAND and " {}" not in command[:15]:
                found.add(command)
    return found


@cache
def documented(prefix: str) -> list[str]:
    found: set[str] = set()
    for path in DOCUMENTS:
        found |= commands(path.read_text(), code=path.suffix == ".py")
    return sorted(command for command in found if command.startswith(prefix))


@cache
def our_command() -> Any:
    return typer.main.get_command(app)


def parse(arguments: list[str]) -> None:
    """Take arguments as the command does, up to the point where it would run."""
    # Typer does this while it parses, in the home of whoever runs the tests.
    assert "--install-completion" not in arguments
    command = our_command()
    context = command.make_context("chronos-ec2", arguments)
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("command", documented("chronos-ec2 "))
def test_our_commands(command: str) -> None:
    """What a message fills in is a run id or a name; after a command's name alone its help would follow."""
    words = shlex.split(command.replace("{}", "20260131T120000Z-1a2b3c"))[1:]
    for arguments in (words, [word for word in words if word not in command]):
        with suppress(typer.TyperException, typer.Exit, IndexError):
            parse(arguments)
            return
    with pytest.raises(typer.Exit):
        parse([*words[:2], "--help"])
    assert len(words) <= 2, f"{command} is not a command"
    assert not any(word.startswith("-") for word in words), f"{command} is not a command"


@pytest.mark.parametrize("command", ["chronos-ec2 lunch", "chronos-ec2 launch --max-hour 3"])
def test_a_command_that_does_not_exist_is_seen(command: str) -> None:
    with pytest.raises(typer.TyperException):
        parse(shlex.split(command)[1:])


SAM = """
import json, shlex, sys
from samcli.cli.main import cli
from samcli.cli.context import Context
found = []
for line in json.load(sys.stdin):
    context = cli.make_context("sam", shlex.split(line)[1:])
    name, command, rest = cli.resolve_command(context, [*context.protected_args, *context.args])
    with context.scope():
        parsed = command.make_context(name, rest, parent=context)
    found.append(parsed.params.get("parameter_overrides") or {})
print(json.dumps(found))
"""


def sam_parses(lines: list[str]) -> list[dict[str, str]]:
    """The parameter overrides of each command, as sam's own parser reads them."""
    program = sam()
    python = program.with_name("python")
    done = subprocess.run(
        [python, "-c", SAM], input=json.dumps(lines), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return list(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.thorough
def test_sams_commands() -> None:
    """Thorough, like the other test that needs sam: installing it takes longer than the test."""
    found = [line for line in documented("sam ") if not line.startswith(("sam local", "sam {}", "sam …"))]
    lines = [line.replace("…", "Environment=dev") for line in found]
    assert len(lines) > 3
    # Where samconfig.toml names the stack, the parser alone does not know it.
    named = [f"{line} --stack-name any" if line.startswith("sam deploy") else line for line in lines]
    named.append("""sam deploy --stack-name any --parameter-overrides 'LimitOverrides={"progress":1800}'""")
    *parsed, taken_away = sam_parses(named)
    for line, overrides in zip(lines, parsed, strict=True):
        if "LimitOverrides" in line:
            assert parse_limits(overrides["LimitOverrides"]).progress.total_seconds() in (300, 1800)
    assert taken_away["LimitOverrides"] != '{"progress":1800}', "sam takes the quotes away"


@pytest.mark.parametrize("command", documented("make "))
def test_targets(command: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", documented("python -m "))
def test_modules(command: str) -> None:
    module = shlex.split(command)[2]
    assert find_spec(module) is not None, module
