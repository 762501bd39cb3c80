"""A DAG as a picture: SVG by ourselves, PNG through matplotlib (`clearance[plot]`).

With a `Course` it is the picture of a run: each box has the colour and the word of its state, and its seconds.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from clearance.cli.layout import MARGIN, Box, Layout, arrange
from clearance.cli.output import duration
from clearance.errors import MissingExtra
from clearance.graph.model import Graph, Node, Value
from clearance.graph.predicate import sources, text

# state → (edge and word, fill); pairs that differ in lightness too
COLOURS: dict[str, tuple[str, str]] = {
    "": ("#475569", "#f8fafc"),
    "success": ("#15803d", "#dcfce7"),
    "running": ("#1d4ed8", "#dbeafe"),
    "failed": ("#b91c1c", "#fee2e2"),
    "upstream_failed": ("#9a3412", "#ffedd5"),
    "up_for_retry": ("#a16207", "#fef9c3"),
    "awaiting_clearance": ("#6d28d9", "#ede9fe"),
    "queued": ("#0e7490", "#cffafe"),
    "deferred": ("#7e22ce", "#f3e8ff"),
    "preempted": ("#a21caf", "#fae8ff"),
    "skipped": ("#64748b", "#f1f5f9"),
    "cancelled": ("#44403c", "#e7e5e4"),
}
_FONT = "ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
_LETTER = 7.6
_SMALL_LETTER = 6.2
_HEIGHT = 46.0
_LONGEST = 36
_CAPTION = 26.0
_MOST_PIXELS = 30_000  # a side; matplotlib's limit is 2**16


@dataclass(frozen=True)
class Course:
    """What became of a graph in a run.

    Attributes:
        states: task state by node id.
        seconds: by node id, from its first start to its end.
        instances: how many instances a mapped node had, by node id.
        caption: one line above the picture.
    """

    states: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    instances: Mapping[str, int] = field(default_factory=dict)
    caption: str = ""


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _copies(node: Node, course: Course) -> str:
    """Returns ` ×3` for a mapped node whose lists are known, ` ×n` where only the run will know."""
    if not node.mapped:
        return ""
    if node.id in course.instances:
        return f" ×{course.instances[node.id]}"
    for binding in node.mapped.values():
        items = binding.value if isinstance(binding, Value) else getattr(binding, "items", None)
        if items is not None:
            return f" ×{len(items)}"
    return " ×n"


def _lines(node: Node, course: Course) -> tuple[str, str]:
    title = _short(node.id) + _copies(node, course)
    parts = [course.states[node.id].replace("_", " ")] if course.states.get(node.id) else []
    if node.id in course.seconds:
        taken = course.seconds[node.id]
        parts.append(f"{taken * 1000:.0f} ms" if taken < 1 else duration(taken))
    if not parts and node.returns:
        parts.append("→ " + _short(node.returns.replace("clearance.types.references.", "")))
    if node.on and not node.of:
        parts.append(f"on {node.on} of the run")
    if node.setup:
        parts.append(f"takes down {_short(node.setup)}")
    if node.gang > 1:
        parts.append(f"gang of {node.gang}")
    return title, " · ".join(parts)


def _place(graph: Graph, course: Course) -> Layout:
    sizes = {}
    for node in graph.nodes:
        title, below = _lines(node, course)
        sizes[node.id] = (max(len(title) * _LETTER, len(below) * _SMALL_LETTER, 60.0) + 28, _HEIGHT)
    return arrange(layers(graph), sizes)


def layers(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Returns what stands left of each node: its upstreams, and the mapped group of which it is a first task."""
    found = {}
    for node in graph.nodes:
        before = dict.fromkeys((*node.upstream, *aside(node, graph)))
        if node.group and not any(name.startswith(f"{node.group}.") for name in before):
            before[node.group] = None
        found[node.id] = tuple(before)
    return found


def aside(node: Node, graph: Graph) -> dict[str, str]:
    """Returns what a node waits for without counting it, and what the arrow says: a condition, or what it handles.

    What a flow may call stands behind the flow.
    """
    found = dict.fromkeys(node.waits, "")
    if node.step:
        found[graph.nodes[0].id] = ""
    if node.of:
        found[node.of] = f"on {node.on}"
    for condition in node.conditions:
        for name in sources((condition,)):
            said = _short(text(condition))
            found[name] = f"{found[name]}, {said}" if found.get(name) else said
    return found


def svg(graph: Graph, course: Course | None = None) -> str:
    """Returns the DAG as an SVG document.

    Args:
        graph: what to draw.
        course: what became of it, for the picture of a run.
    """
    course = course or Course()
    layout = _place(graph, course)
    top = _CAPTION if course.caption else 0.0
    width, height = max(layout.width, _caption_width(course)), layout.height + top
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{_FONT}" role="img">',
        f"<title>{escape(graph.dag)}</title>",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path d="M0 0.5 L8 4 L0 7.5 z" fill="#94a3b8"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="10" fill="#ffffff"/>',
    ]
    if course.caption:
        out.append(f'<text x="{MARGIN:.0f}" y="24" font-size="12" fill="#475569">{escape(course.caption)}</text>')
        out.append(f'<g transform="translate(0 {top:.0f})">')
    said = {(name, node.id): label for node in graph.nodes for name, label in aside(node, graph).items()}
    for ends, points in layout.arrows.items():
        dashed = ' stroke-dasharray="5 4"' if ends in said else ""
        out.append(
            f'<path d="{_curve(points)}" fill="none" stroke="#94a3b8" stroke-width="1.4"{dashed} '
            'marker-end="url(#arrow)"/>'
        )
    out += [_label_svg(label, layout.boxes[end]) for (_, end), label in said.items() if label]
    for node in graph.nodes:
        out += _box_svg(node, layout.boxes[node.id], course)
    out += ["</g>"] if course.caption else []
    out.append("</svg>")
    return "\n".join(out) + "\n"


def _caption_width(course: Course) -> float:
    return len(course.caption) * _SMALL_LETTER + 2 * MARGIN if course.caption else 0.0


def _box_svg(node: Node, box: Box, course: Course) -> list[str]:
    dark, light = COLOURS.get(course.states.get(node.id, ""), COLOURS[""])
    title, below = _lines(node, course)
    shape = f'width="{box.width:.1f}" height="{box.height:.1f}" rx="8" fill="{light}" stroke="{dark}"'
    out = [f"<g><title>{escape(node.function or node.id)}</title>"]
    if node.mapped or node.group:
        out.append(f'<rect x="{box.x + 4:.1f}" y="{box.y + 4:.1f}" {shape} stroke-width="1"/>')
    out.append(f'<rect x="{box.x:.1f}" y="{box.y:.1f}" {shape} stroke-width="1.4"/>')
    x = box.x + 14
    baseline = box.y + (20 if below else 27)
    out.append(
        f'<text x="{x:.1f}" y="{baseline:.1f}" font-size="13" font-weight="600" fill="#0f172a">{escape(title)}</text>'
    )
    if below:
        out.append(f'<text x="{x:.1f}" y="{box.y + 36:.1f}" font-size="11" fill="{dark}">{escape(below)}</text>')
    out.append("</g>")
    return out


def _label_svg(label: str, box: Box) -> str:
    """Returns the words of an arrow, above the box where it ends."""
    return (
        f'<text x="{box.x:.1f}" y="{box.y - 4:.1f}" font-size="9.5" font-style="italic" fill="#475569">'
        f"{escape(label)}</text>"
    )


def _curve(points: tuple[tuple[float, float], ...]) -> str:
    """Returns a path that leaves and enters every column level."""
    (x, y), *rest = points
    path = [f"M{x:.1f} {y:.1f}"]
    for end_x, end_y in rest:
        if abs(end_y - y) < 0.05:
            path.append(f"L{end_x:.1f} {end_y:.1f}")
        else:
            half = (x + end_x) / 2
            path.append(f"C{half:.1f} {y:.1f} {half:.1f} {end_y:.1f} {end_x:.1f} {end_y:.1f}")
        x, y = end_x, end_y
    return " ".join(path)


def png(graph: Graph, file: Path, course: Course | None = None, dots_per_inch: int = 160) -> None:
    """Writes the DAG as a PNG file; arguments as for `svg`.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
        from matplotlib.path import Path as Curve
    except ModuleNotFoundError:
        raise MissingExtra("matplotlib", "plot") from None
    course = course or Course()
    layout = _place(graph, course)
    top = _CAPTION if course.caption else 0.0
    width, height = max(layout.width, _caption_width(course)), layout.height + top
    dots_per_inch = max(1, min(dots_per_inch, int(_MOST_PIXELS * 72 / max(width, height))))
    figure = Figure(figsize=(width / 72, height / 72), dpi=dots_per_inch)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(layout.height, -top)
    axes.axis("off")
    axes.text(MARGIN, 20 - top, course.caption, fontsize=8.5, color="#475569", va="center")
    said = {(name, node.id): label for node in graph.nodes for name, label in aside(node, graph).items()}
    for ends, points in layout.arrows.items():
        corners, codes = [points[0]], [Curve.MOVETO]
        for (x, y), (end_x, end_y) in itertools.pairwise(points):
            half = (x + end_x) / 2
            corners += [(half, y), (half, end_y), (end_x, end_y)]
            codes += [Curve.CURVE4] * 3
        axes.add_patch(
            FancyArrowPatch(
                path=Curve(corners, codes),
                arrowstyle="-|>",
                mutation_scale=9,
                color="#94a3b8",
                linewidth=1.2,
                linestyle="--" if ends in said else "-",
            )
        )
    for (_, end), label in said.items():
        axes.text(layout.boxes[end].x, layout.boxes[end].y - 7, label, fontsize=6.8, style="italic", color="#475569")
    for node in graph.nodes:
        box = layout.boxes[node.id]
        dark, light = COLOURS.get(course.states.get(node.id, ""), COLOURS[""])
        title, below = _lines(node, course)
        for shift in (4, 0) if node.mapped or node.group else (0,):
            axes.add_patch(
                FancyBboxPatch(
                    (box.x + shift, box.y + shift),
                    box.width,
                    box.height,
                    boxstyle="round,pad=0,rounding_size=8",
                    facecolor=light,
                    edgecolor=dark,
                    linewidth=1.2,
                )
            )
        axes.text(box.x + 14, box.y + (15 if below else 23), title, fontsize=9.5, weight="bold", va="center")
        axes.text(box.x + 14, box.y + 32, below, fontsize=8, color=dark, va="center")
    figure.savefig(file, format="png", facecolor="white")
