"""Writes the references: `python -m tools.references` writes docs/cli.md and the end of docs/configuration.md.

They say what the help of the command and the schema of a configuration say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from chronos_ec2.cli.app import SUMMARIES, app, load
from chronos_ec2.cli.exit_codes import MEANINGS
from chronos_ec2.job_config.jobs import JOBS

DOCS = Path(__file__).resolve().parents[1] / "docs"
CLI, CONFIGURATION = DOCS / "cli.md", DOCS / "configuration.md"
KEYS = "## Every key\n"
_WRITTEN = "Written by `python -m tools.references`"
_NAME = "chronos-ec2"
_LEAST: Mapping[str, dict[str, Any]] = {"evaluate": {"models": ["champion"]}}
"""What a configuration of a job needs beside data and length."""


def cli() -> str:
    """The reference of the command: every command with its arguments and options, and the exit codes."""
    root: Any = typer.main.get_command(app)
    context = typer.Context(root, info_name=_NAME)
    lines = [
        "# The command", "", root.help, "", f"{_WRITTEN} from the help of each command.", "",
        *_parameters(root, context),
        "| Exit code | |", "|---|---|", *(f"| {code:d} | {_cell(text)} |" for code, text in MEANINGS.items()), "",
    ]  # fmt: skip
    for name in SUMMARIES:
        lines += _command(load(name), context, name, 2)
    return "\n".join(lines)


def _command(command: Any, parent: typer.Context, name: str, level: int) -> Iterator[str]:
    context = typer.Context(command, info_name=name, parent=parent)
    inner = getattr(command, "commands", {})
    arguments = " ".join(command.collect_usage_pieces(context))
    yield from (f"{'#' * level} {context.command_path.removeprefix(_NAME).strip()}", "")
    yield from ("```text", f"{context.command_path} {arguments}", "```", "")
    yield from (_text(command.help or SUMMARIES[name]), "")
    yield from _parameters(command, context)
    for each, below in inner.items():
        yield from _command(below, context, each, level + 1)


def _parameters(command: Any, context: typer.Context) -> Iterator[str]:
    """A table of arguments and options, the help's words for each."""
    rows = [row for one in command.params if one.name != "help" and (row := one.get_help_record(context))]
    if rows:
        yield from ("| Argument or option | |", "|---|---|")
        yield from (f"| `{_cell(name)}` | {_cell(text).replace('<', '&lt;')} |" for name, text in rows)
        yield ""


def keys() -> str:
    """The section with every key of a configuration."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for job, schema in JOBS.items():
        document = schema.model_json_schema()
        least = {"job": job, "data": {"path": "a"}, "prediction_length": 1} | _LEAST.get(job, {})
        defaults = schema.model_validate(least).model_dump(mode="json")
        for key, node, required in _keys(document, document, ()):
            default = "required" if required else _default(node, defaults, key)
            found.setdefault(key, {})[job] = (_type(node), default)
    lines = [KEYS, f"{_WRITTEN} from the schema; the tables above say what each key means.", ""]
    lines += ["| Key | Job | Type | Default |", "|---|---|---|---|"]
    for key, jobs in found.items():
        for form in dict.fromkeys(jobs.values()):
            of = [job for job, other in jobs.items() if other == form]
            named = "all" if len(of) == len(JOBS) else ", ".join(of)
            lines.append(f"| `{key}` | {named} | {_cell(form[0])} | {_cell(form[1])} |")
    return "\n".join(lines) + "\n"


def with_keys(document: str) -> str:
    """A document with its last section, the keys, written anew."""
    return document.partition(KEYS)[0].rstrip() + "\n\n" + keys()


def _keys(
    node: Mapping[str, Any], root: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    for name, inner in node.get("properties", {}).items():
        section = _section(inner, root)
        if section:
            yield from _keys(section, root, (*path, name))
        else:
            yield ".".join((*path, name)), inner, name in node.get("required", ())


def _section(node: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a key that is a section of its own refers to."""
    for option in (node, *node.get("anyOf", ())):
        if "$ref" in option:
            found: Mapping[str, Any] = root["$defs"][option["$ref"].rpartition("/")[2]]
            return found if "properties" in found else None
    return None


def _type(node: Mapping[str, Any]) -> str:
    match node:
        case {"const": value}:
            return f"`{value}`"
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"anyOf": options}:
            return " or ".join(dict.fromkeys(_type(option) for option in options if option.get("type") != "null"))
        case {"type": "array", "items": items}:
            return f"list of {_type(items)}"
        case {"type": "object"}:
            return "mapping"
        case {"type": kind}:
            return " ".join([{"string": "text", "boolean": "true, false"}.get(kind, kind), *_limits(node)])
    return "any"


def _limits(node: Mapping[str, Any]) -> Iterator[str]:
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    yield from (f"{word} {node[name]:g}" for name, word in words.items() if name in node)


def _default(node: Mapping[str, Any], defaults: Mapping[str, Any], key: str) -> str:
    """The default in the schema, or what a section without the key has."""
    default: Any = defaults
    for part in key.split("."):
        default = default.get(part) if isinstance(default, Mapping) else None
    default = node.get("default") if default is None else default
    return "" if default is None else f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _text(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


if __name__ == "__main__":
    CLI.write_text(cli())
    CONFIGURATION.write_text(with_keys(CONFIGURATION.read_text()))
    print(CLI, CONFIGURATION, sep="\n")
