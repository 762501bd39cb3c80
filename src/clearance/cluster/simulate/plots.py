"""Pictures of a report, as PNG (`clearance[plot]`): what the cluster did over time, and who waited."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from clearance.cluster.simulate.report import Report
from clearance.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DAY, _HOUR = 86_400.0, 3_600.0
_BLUE, _GREY, _RED = "#1d4ed8", "#94a3b8", "#b91c1c"


def draw(report: Report) -> dict[str, bytes]:
    """Returns PNGs by name: `utilisation`, `waiting`, `fragmentation` and `nodes`.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    return {name: _png(plot, report) for name, plot in PLOTS.items()}


def _png(plot: Callable[[Report, Axes], None], report: Report) -> bytes:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtra("matplotlib", "plot") from error
    figure = Figure(figsize=(9, 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e2e8f0")
    axes.set_axisbelow(True)
    plot(report, axes)
    into = io.BytesIO()
    figure.savefig(into, format="png", metadata={"Software": None})
    return into.getvalue()


def _days(report: Report) -> list[float]:
    return [at / _DAY for at in report.samples.at]


def _utilisation(report: Report, axes: Axes) -> None:
    """Used by capacity over time, and how many jobs wait on a second scale."""
    days = _days(report)
    axes.plot(
        days, [100 * share for share in report.samples.utilisation], color=_BLUE, linewidth=1.2, drawstyle="steps-post"
    )
    axes.set(xlabel="days", ylim=(0, 102), title="Utilisation, and jobs that wait")
    axes.set_ylabel("used, % of capacity", color=_BLUE)
    other = axes.twinx()
    other.fill_between(days, report.samples.waiting, color=_GREY, alpha=0.45, step="post", linewidth=0)
    other.set_ylabel("jobs that wait", color="#475569")
    other.set_ylim(bottom=0)
    other.spines[["top"]].set_visible(False)
    axes.set_zorder(other.get_zorder() + 1)
    axes.patch.set_visible(False)


def _waiting(report: Report, axes: Axes) -> None:
    """Mean and 90th percentile of the wait, by size of the gang."""
    sizes = list(report.wait_by_size)
    places = range(len(sizes))
    for shift, name, colour in ((-0.2, "mean", _BLUE), (0.2, "p90", _GREY)):
        hours = [getattr(summary, name) / _HOUR for summary in report.wait_by_size.values()]
        bars = axes.bar([place + shift for place in places], hours, 0.38, label=name, color=colour)
        axes.bar_label(bars, fmt="%.3g", fontsize=8, padding=2)
    axes.set_xticks(list(places), [_range(size, summary.count) for size, summary in report.wait_by_size.items()])
    axes.set(xlabel="members of the gang (jobs)", ylabel="wait, hours", title="Waiting by size of the gang")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, 2 * max(axes.get_ylim()[1], 1))
    if sizes:
        axes.legend(frameon=False)


def _range(size: int, jobs: int) -> str:
    """Returns `5-8 (120)` for a power of two."""
    least = size // 2 + 1
    return f"{size if least >= size else f'{least}-{size}'}\n({jobs})"


def _fragmentation(report: Report, axes: Axes) -> None:
    axes.plot(
        _days(report),
        [100 * share for share in report.samples.fragmentation],
        color=_RED,
        linewidth=1.2,
        drawstyle="steps-post",
    )
    axes.set(
        xlabel="days", ylabel="% of capacity", ylim=(0, 102),
        title="Fragmentation: free, but on nodes that hold something",
    )  # fmt: skip


def _nodes(report: Report, axes: Axes) -> None:
    days = _days(report)
    axes.plot(days, report.samples.nodes, color=_GREY, linewidth=1.2, label="there", drawstyle="steps-post")
    axes.plot(days, report.samples.busy, color=_BLUE, linewidth=1.2, label="hold something", drawstyle="steps-post")
    axes.set(xlabel="days", ylabel="nodes", title="Nodes")
    axes.set_ylim(0, max(report.samples.nodes, default=1) * 1.2 + 0.1)
    axes.legend(frameon=False, loc="upper right", ncols=2)


PLOTS: Mapping[str, Callable[[Report, Axes], None]] = {
    "utilisation": _utilisation, "waiting": _waiting, "fragmentation": _fragmentation, "nodes": _nodes,
}  # fmt: skip
