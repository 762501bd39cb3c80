"""A report as a folder: `report.json`, the pictures, and one page that shows them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

import msgspec

from clearance.cluster.simulate.plots import draw
from clearance.cluster.simulate.report import Report, Summary
from clearance.errors import UsageError

_HOUR = 3600.0
_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#0f172a}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.15rem 1.2rem .15rem 0;text-align:left}"
    "td+td{font-variant-numeric:tabular-nums}img{max-width:100%;height:auto}code{word-break:break-all}"
)


def figures(report: Report, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the figures of a report as people read them, by what they are.

    Args:
        report: of a simulation.
        more: figures that it does not hold itself, such as a comparison.
    """
    promises = report.promises
    late = f", by {promises.worst / _HOUR:.2f} hours at most" if promises.broken else ""
    found = {
        "jobs": f"{report.submitted:,} submitted, {report.finished:,} finished",
        "rejected, never started": f"{report.rejected:,}, {report.unstarted:,}",
        "completion time, hours": _hours(report.jct),
        "wait, hours": _hours(report.wait),
        "bounded slowdown": f"{report.slowdown:.2f} mean",
        **{f"utilisation, {name}": f"{share:.1%}" for name, share in report.utilisation.items()},
        "fragmentation": f"{report.fragmentation:.1%} of capacity is free on nodes that hold something",
        "fairness of the queues": f"{report.fairness:.3f} (Jain's index of their slowdown)",
        "members moved": f"{report.moves:,}",
        "work lost": f"{report.lost_hours:,.2f} member-hours since the last checkpoints",
        **({"nodes": nodes} if (nodes := _nodes(report)) else {}),
        "node-hours": f"{report.node_hours:,.0f}, of them {report.busy_node_hours:,.0f} busy",
        **{f"node-hours, {pool}": f"{hours:,.0f}" for pool, hours in report.pool_hours.items() if pool},
        **({"cost of the nodes": f"{report.cost:,.2f}"} if any(report.pool_hours) else {}),
        "promises": f"{promises.made:,} made, {promises.broken:,} broken{late}",
    }  # fmt: skip
    events = f"{report.events:,} in {report.cpu_seconds:.1f} CPU s: {report.events_per_s:,.0f} a second"
    return found | dict(more or {}) | {"events": events, "digest of the decisions": report.digest}


def _nodes(report: Report) -> str:
    if not any((report.failed_nodes, report.drained, report.cordoned, report.faults_missed)):
        return ""
    missed = f"; {report.faults_missed:,} faults of nodes that were not there" if report.faults_missed else ""
    return f"{report.failed_nodes:,} failed, {report.drained:,} drained, {report.cordoned:,} cordoned{missed}"


def _hours(times: Summary) -> str:
    named = {"mean": times.mean, "median": times.p50, "p99": times.p99, "longest": times.max}
    return ", ".join(f"{seconds / _HOUR:.2f} {name}" for name, seconds in named.items())


def write_folder(report: Report, folder: str | Path, title: str, more: Mapping[str, str] | None = None) -> None:
    """Writes a report into a folder, which is made where it is not there.

    Args:
        report: of a simulation.
        folder: what stands in it under the same names is replaced.
        title: of the page.
        more: see `figures`.

    Raises:
        MissingExtra: matplotlib is not installed.
        UsageError: the folder cannot be written.
    """
    pictures = draw(report)
    into = Path(folder)
    files = {f"{name}.png": picture for name, picture in pictures.items()}
    files["report.json"] = msgspec.json.format(msgspec.json.encode(report.plain()), indent=2) + b"\n"
    files["index.html"] = _page(title, figures(report, more), list(pictures)).encode()
    try:
        into.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (into / name).write_bytes(data)
    except OSError as error:
        raise UsageError(f"the report cannot be written to {into}: {error.strerror}: name another folder") from None


def _page(title: str, rows: Mapping[str, str], pictures: list[str]) -> str:
    cells = "\n".join(f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>" for key, value in rows.items())
    images = "\n".join(f'<p><img src="{name}.png" alt="{name}"></p>' for name in pictures)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n<table>\n{cells}\n</table>\n{images}\n"
        '<p>All of it as data: <a href="report.json">report.json</a></p></body></html>\n'
    )
