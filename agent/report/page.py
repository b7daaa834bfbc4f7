"""A page of sections, and its HTML: one file without scripts, which loads nothing and shows any text as text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from chronos_ec2.domain.parsing.names import printable
from chronos_ec2.services.report import POLICY

Rows = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture. `svg` goes into the page as it is; `title` and `caption` are text."""

    title: str
    svg: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headers. `strong` is the number of the row to point out."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    strong: int | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A bar on a time line that is 100 wide, in the colour of its `kind`."""

    name: str
    text: str
    left: float
    width: float
    kind: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page. `facts` are names with values, `code` keeps its lines; a folded one opens on a click."""

    title: str
    text: tuple[str, ...] = ()
    facts: Rows = ()
    spans: tuple[Span, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    code: str = ""
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report. `kind` is `good`, `bad`, `ended` or empty, and chooses the colour of the sentence."""

    title: str
    kind: str
    sentence: str
    notes: tuple[str, ...]
    facts: Rows
    sections: tuple[Section, ...]
    foot: str


def render(page: Page) -> bytes:
    """The page as HTML in UTF-8."""
    return (POLICY + _template().render(page=page)).encode(errors="replace")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("agent.report", ""), autoescape=True, undefined=StrictUndefined, finalize=_as_text,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html.jinja")


def _as_text(value: object) -> object:
    """Text without characters that change how others are shown; what is HTML already as it is."""
    if isinstance(value, Markup):
        return value
    return "\n".join(map(printable, str(value).split("\n")))
