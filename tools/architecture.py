"""`python -m tools.architecture`: draws docs/img/architecture.svg, the packages and their imports.

The arrows are the imports that grimp finds in the code. An arrow that follows from others is left out, so that the
layers show. The nodes are placed by hand; a package without a place is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "img" / "architecture.svg"

Edge = tuple[str, str]

_WIDTH, _HEIGHT = 900, 714
_ROWS = (20, 118, 198, 278, 358, 438, 518, 598)
_AGENT_ROWS = (118, 238, 358, 478, 598)
"""The upper edges of the rows of nodes."""
_BOX_HEIGHT = 46
_CURVE = 34
"""The height of the curve above a node: the space between two rows."""
_PORT_GAP = 16
"""The least distance between two arrows at the same edge of a node."""
_NARROW = 100
"""A node below this width has its name in smaller letters."""
_SIDE = 40
"""A node that is this near to the agent's card gets its arrow from the side."""


@dataclass(frozen=True)
class Node:
    """A package at its place. `caption` is its second line."""

    x: float
    right: float
    y: float
    style: str
    caption: str = ""
    height: float = _BOX_HEIGHT

    @property
    def bottom(self) -> float:
        """The y of the lower edge."""
        return self.y + self.height

    @property
    def centre(self) -> float:
        """The x of the middle."""
        return (self.x + self.right) / 2


CARDS = {
    "chronos_ec2": Node(16, 456, 92, "", height=580),
    "agent": Node(472, 884, 92, "", height=580),
}
NODES = {
    "functions": Node(180, 300, _ROWS[0], "entry", "Lambda handlers"),
    "verification": Node(
        318, 884, _ROWS[0], "proof", "simulation, crash points, model, fuzzing, seeded defects, faults"
    ),
    "chronos_ec2.cli": Node(30, 116, _ROWS[1], "entry", "the command"),
    "chronos_ec2.local": Node(30, 200, _ROWS[2], "entry", "embedded AWS"),
    "chronos_ec2.bootstrap": Node(30, 276, _ROWS[3], "root", "puts adapters into services"),
    "chronos_ec2.testing": Node(318, 442, _ROWS[3], "proof", "ports in memory"),
    "chronos_ec2.services": Node(30, 210, _ROWS[4], "service", "launch, publish, watchdog, …"),
    "chronos_ec2.aws": Node(226, 308, _ROWS[4], "adapter", "boto3"),
    "chronos_ec2.worker": Node(336, 442, _ROWS[4], "service", "run protocol"),
    "chronos_ec2.job_config": Node(30, 130, _ROWS[5], "service", "schema, defaults"),
    "chronos_ec2.user_data": Node(138, 222, _ROWS[5], "service", "boot script"),
    "chronos_ec2.bundled": Node(230, 314, _ROWS[5], "service", "prices, types"),
    "chronos_ec2.run_store": Node(336, 442, _ROWS[5], "service", "records in S3"),
    "chronos_ec2.ports": Node(254, 442, _ROWS[6], "domain", "protocols for what AWS does"),
    "chronos_ec2.domain": Node(30, 442, _ROWS[7], "domain", "values and rules, standard library only"),
    "agent.lifecycle": Node(486, 795, _AGENT_ROWS[0], "agent", "the phases of a run, in order"),
    "agent.trainer": Node(804, 870, _AGENT_ROWS[0], "trainer", "process"),
    "agent.boot": Node(486, 566, _AGENT_ROWS[1], "agent", "instance"),
    "agent.results": Node(571, 712, _AGENT_ROWS[1], "agent", "upload, report"),
    "agent.chronos": Node(804, 870, _AGENT_ROWS[1], "trainer", "torch"),
    "agent.checkpoint": Node(486, 566, _AGENT_ROWS[2], "agent"),
    "agent.logs": Node(571, 629, _AGENT_ROWS[2], "agent"),
    "agent.preflight": Node(634, 712, _AGENT_ROWS[2], "agent"),
    "agent.supervise": Node(717, 795, _AGENT_ROWS[2], "agent"),
    "agent.data": Node(486, 566, _AGENT_ROWS[3], "agent", "Parquet"),
    "agent.host": Node(634, 712, _AGENT_ROWS[3], "agent", "kernel, GPU"),
    "agent.protocol": Node(486, 870, _AGENT_ROWS[4], "agent", "files and messages between agent and trainer"),
}
PLACES = NODES | CARDS
LEFT_OUT = {"chronos_ec2.settings", "chronos_ec2.observability", "agent.background", "agent.errors", "agent.plots"}
"""Small modules that many packages import."""
PART_OF = {
    "chronos_ec2.client": "chronos_ec2.cli",
    "chronos_ec2.input_files": "chronos_ec2.job_config",
    "chronos_ec2.model_registry": "chronos_ec2.run_store",
    "chronos_ec2.model_hub": "chronos_ec2.aws",
    "agent.report": "agent.results",
    "agent.__main__": "agent.lifecycle",
    "agent.run_context": "agent.lifecycle",
    "agent.run_report": "agent.lifecycle",
    "agent.data_sync": "agent.lifecycle",
}
COLOURS = {
    "entry": ("#ddf4ff", "#54aeff"),
    "root": ("#eaeef2", "#8c959f"),
    "service": ("#dafbe1", "#4ac26b"),
    "adapter": ("#fff1e5", "#fb8f44"),
    "domain": ("#fff8c5", "#d4a72c"),
    "proof": ("#fbefff", "#c297ff"),
    "agent": ("#e3f7f3", "#4fb3a4"),
    "trainer": ("#ffebe9", "#ff8182"),
}


def imports() -> dict[str, set[str]]:
    """What each package imports. `agent` stands for its subpackages in imports from and to other packages."""
    graph = grimp.build_graph("chronos_ec2", "agent", "functions", "verification", cache_dir=None)
    found: dict[str, set[str]] = {}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            source, target = _package(module), _package(imported)
            if source.startswith("agent.") != target.startswith("agent."):
                source, target = (
                    name.partition(".")[0] if name.startswith("agent.") else name for name in (source, target)
                )
            if source != target and not {source, target} & LEFT_OUT:
                found.setdefault(source, set()).add(target)
    if missing := {*found, *(name for names in found.values() for name in names)} - PLACES.keys():
        raise ValueError(f"no place in the picture for {', '.join(sorted(missing))}")
    return found


def _package(module: str) -> str:
    parts = module.split(".")
    name = ".".join(parts[:2] if parts[0] in CARDS else parts[:1])
    return PART_OF.get(name, name)


def reduced(found: Mapping[str, set[str]]) -> list[Edge]:
    """Leave out each arrow that follows from others (transitive reduction)."""

    def reaches(start: str, goal: str) -> bool:
        waiting, seen = [name for name in found.get(start, ()) if name != goal], set[str]()
        while waiting:
            if (name := waiting.pop()) == goal:
                return True
            if name not in seen:
                seen.add(name)
                waiting += found.get(name, ())
        return False

    return [
        (source, target) for source in sorted(found) for target in sorted(found[source]) if not reaches(source, target)
    ]


def lines(edges: Sequence[Edge]) -> Iterator[str]:
    """The arrows as SVG paths: down from the lower edge of the source, then in a curve to the top of the target."""
    starts = _ports([(edge, PLACES[edge[0]], PLACES[edge[1]]) for edge in edges])
    ends = _ports([(edge, PLACES[edge[1]], PLACES[edge[0]]) for edge in edges])
    for edge in edges:
        source, target = PLACES[edge[0]], PLACES[edge[1]]
        x, to_x, above = starts[edge], ends[edge], max(target.y - _CURVE, source.bottom)
        if edge[0] not in CARDS:
            bend = f"{x:g} {target.y - 8:g} {to_x:g} {above + 4:g}"
            way = f"M{x:g} {source.bottom:g} V{above:g} C{bend} {to_x:g} {target.y:g}"
        elif source.x - target.right < _SIDE:
            way = f"M{source.x:g} {target.y + target.height / 2:g} H{target.right:g}"
        else:
            turn = target.y - _BOX_HEIGHT / 3
            way = f"M{source.x:g} {turn:g} H{to_x + 12:g} Q{to_x:g} {turn:g} {to_x:g} {target.y:g}"
        yield f'<path d="{way}" fill="none" stroke="#57606a" stroke-width="1.3" marker-end="url(#head)"/>'


def _ports(wanted: Sequence[tuple[Edge, Node, Node]]) -> dict[Edge, float]:
    """The x of each arrow at its node: as near to the other node as possible, and apart from other arrows."""
    sides: dict[Node, list[tuple[float, Edge]]] = {}
    for edge, node, other in wanted:
        low, high = max(node.x, other.x), min(node.right, other.right)
        x = (low + high) / 2 if low < high else min(max(other.centre, node.x + _PORT_GAP), node.right - _PORT_GAP)
        sides.setdefault(node, []).append((x, edge))
    found: dict[Edge, float] = {}
    for node, ports in sides.items():
        last = node.x
        for index, (x, edge) in enumerate(sorted(ports)):
            room = node.right - _PORT_GAP * (len(ports) - index)
            last = found[edge] = max(min(x, room), last + _PORT_GAP)
    return found


def as_svg() -> str:
    """The picture."""
    return "\n".join([*_head(), *_boxes(), *lines(reduced(imports())), *_legend(), "</svg>", ""])


def _head() -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        'role="img" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">'
    )
    yield "<title>The packages of chronos-ec2 and their imports</title>"
    yield (
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0.6 8 4 0 7.4z" fill="#57606a"/></marker></defs>'
    )
    yield f'<rect x="0.5" y="0.5" width="{_WIDTH - 1}" height="{_HEIGHT - 1}" rx="12" fill="#ffffff" stroke="#d0d7de"/>'


def _boxes() -> Iterator[str]:
    for name, card in CARDS.items():
        yield _rect(card, "#fbfcfd", "#d0d7de", 10)
        yield _text(
            card.right - 14, card.bottom - 9, name, 'text-anchor="end" font-size="13" font-weight="600" fill="#57606a"'
        )
    for name, node in NODES.items():
        yield _rect(node, *COLOURS[node.style], 6)
        middle = node.y + node.height / 2
        size = 12 if node.right - node.x < _NARROW else 13
        style = f'text-anchor="middle" font-size="{size}" font-weight="600" fill="#1f2328"'
        yield _text(node.centre, middle - 3 if node.caption else middle + 4.5, name.rpartition(".")[2], style)
        if node.caption:
            yield _text(node.centre, middle + 13, node.caption, 'text-anchor="middle" font-size="11" fill="#57606a"')


def _rect(node: Node, fill: str, stroke: str, radius: int) -> str:
    size = f'x="{node.x:g}" y="{node.y:g}" width="{node.right - node.x:g}" height="{node.height:g}"'
    return f'<rect {size} rx="{radius}" fill="{fill}" stroke="{stroke}"/>'


def _text(x: float, y: float, words: str, style: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(words)}</text>'


def _legend() -> Iterator[str]:
    words = "An arrow is an import. Arrows that follow from others are left out. Drawn by tools/architecture.py."
    yield _text(_WIDTH / 2, _HEIGHT - 15, words, 'text-anchor="middle" font-size="11" fill="#57606a"')


if __name__ == "__main__":
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(as_svg())
