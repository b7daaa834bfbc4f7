"""`python -m tools.retraining`: draws docs/img/retraining.svg, what a schedule does from new data to forecasts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from tools.architecture import COLOURS

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "img" / "retraining.svg"

_WIDTH, _HEIGHT = 900, 318
_MARGIN, _BOX, _GAP = 22, 122, 25
_TOP, _TALL = 62, 74
_BRANCH, _LOW = 172, 44
_STRIP, _THICK = 254, 14
_LINE = "#57606a"
_CURRENT = "#4ac26b"


@dataclass(frozen=True)
class Step:
    """A box of the flow: its title, its lines, and what happens if it says no; whether a GPU is on meanwhile."""

    title: str
    lines: tuple[str, str]
    style: str
    otherwise: tuple[str, str] | None = None
    gpu: bool = False


STEPS = (
    Step("data arrive", ("upload data: files,", "then _SUCCESS"), "entry"),
    Step("launcher", ("changed? lane free?", "money left?"), "service", ("nothing starts;", "told: busy, spent")),
    Step("training", ("on the new data,", "within its price cap"), "agent", gpu=True),
    Step("registry", ("better than the", "champion?"), "domain", ("the champion stays,", "message: kept")),
    Step("forecast", ("with the champion", "of this moment"), "agent", gpu=True),
    Step("forecasts/", ("in the bucket,", "by the morning"), "entry"),
)
ARROWS = ("", "yes", "", "promoted", "")
"""What is written above the arrow after each step."""


def as_svg() -> str:
    """The picture."""
    return "\n".join([*_head(), *_steps(), *_arrows(), *_strip(), *_foot(), "</svg>", ""])


def _left(index: int) -> float:
    return _MARGIN + index * (_BOX + _GAP)


def _head() -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        'role="img" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">'
    )
    yield "<title>What a schedule does, from new data to forecasts</title>"
    yield (
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0.6 8 4 0 7.4z" fill="{_LINE}"/></marker></defs>'
    )
    yield _rect(0.5, 0.5, _WIDTH - 1, _HEIGHT - 1, "#ffffff", "#d0d7de", 12)
    words = "A night with a schedule: each step is started by the end of the one before"
    yield _text(_MARGIN, 34, words, 'font-size="14" font-weight="600" fill="#1f2328"')


def _steps() -> Iterator[str]:
    for index, step in enumerate(STEPS):
        x, middle = _left(index), _left(index) + _BOX / 2
        yield _rect(x, _TOP, _BOX, _TALL, *COLOURS[step.style], 6)
        yield _text(
            middle, _TOP + 24, step.title, 'text-anchor="middle" font-size="14" font-weight="600" fill="#1f2328"'
        )
        for number, line in enumerate(step.lines):
            yield _text(middle, _TOP + 44 + 15 * number, line, f'text-anchor="middle" font-size="11" fill="{_LINE}"')
        if step.otherwise:
            yield _arrow(f"M{middle:g} {_TOP + _TALL} V{_BRANCH}")
            yield _text(middle + 7, _BRANCH - 13, "no", f'font-size="11" font-style="italic" fill="{_LINE}"')
            yield _rect(x, _BRANCH, _BOX, _LOW, "#f6f8fa", "#d0d7de", 6)
            for number, line in enumerate(step.otherwise):
                style = f'text-anchor="middle" font-size="11" fill="{_LINE}"'
                yield _text(middle, _BRANCH + 18 + 15 * number, line, style)


def _arrows() -> Iterator[str]:
    y = _TOP + _TALL / 2
    for index, words in enumerate(ARROWS):
        start = _left(index) + _BOX
        yield _arrow(f"M{start:g} {y:g} H{start + _GAP:g}")
        if words:
            style = f'text-anchor="middle" font-size="11" font-style="italic" fill="{_LINE}"'
            yield _text(start + _GAP / 2, _TOP - 7, words, style)
    kept, forecast = _left(3) + _BOX, _left(4) + _BOX / 2
    yield _arrow(f"M{kept:g} {_BRANCH + _LOW / 2:g} H{forecast:g} V{_TOP + _TALL}")
    start = _left(0) + _BOX / 2
    yield _text(start, _TOP + _TALL + 20, "or a time comes:", f'text-anchor="middle" font-size="11" fill="{_LINE}"')
    yield _text(start, _TOP + _TALL + 35, "--cron, --rate", f'text-anchor="middle" font-size="11" fill="{_LINE}"')


def _strip() -> Iterator[str]:
    """When a GPU is there, and paid for."""
    y = _STRIP + _THICK / 2
    yield f'<path d="M{_left(0):g} {y:g} H{_left(len(STEPS) - 1) + _BOX:g}" stroke="#d0d7de" stroke-width="2"/>'
    yield _text(_left(0), _STRIP - 8, "GPU", 'font-size="12" font-weight="600" fill="#1f2328"')
    for index, step in enumerate(STEPS):
        x = _left(index)
        if step.gpu:
            yield _rect(x, _STRIP, _BOX, _THICK, _CURRENT, _CURRENT, 4)
            for edge, words in ((x, "on"), (x + _BOX, "gone")):
                style = f'text-anchor="middle" font-size="11" fill="{_LINE}"'
                yield _text(edge, _STRIP + _THICK + 15, words, style)


def _foot() -> Iterator[str]:
    words = "A trigger that is delivered twice starts one run. Drawn by tools/retraining.py."
    yield _text(_WIDTH / 2, _HEIGHT - 12, words, f'text-anchor="middle" font-size="11" fill="{_LINE}"')


def _arrow(way: str) -> str:
    return f'<path d="{way}" fill="none" stroke="{_LINE}" stroke-width="1.3" marker-end="url(#head)"/>'


def _rect(x: float, y: float, width: float, height: float, fill: str, stroke: str, radius: int) -> str:
    size = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return f'<rect {size} rx="{radius}" fill="{fill}" stroke="{stroke}"/>'


def _text(x: float, y: float, words: str, style: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(words)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(as_svg())
