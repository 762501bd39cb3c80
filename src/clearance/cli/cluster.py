"""`clearance cluster`: the scheduler; here whether a file of queues is right, and what would become of a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clearance.cli import capacity, job
from clearance.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from clearance.cluster.simulate import Trace


@click.group()
def cluster() -> None:
    """The scheduler of the cluster."""


for _command in (
    capacity.apply, capacity.status, capacity.queues, capacity.nodes, capacity.why, capacity.whatif,
    capacity.consolidate, capacity.drain, capacity.cordon, capacity.uncordon, capacity.net, job.submit,
):  # fmt: skip
    cluster.add_command(_command)


@cluster.command()
@click.argument("file")
@click.option("--against", metavar="FILE", help="Another queues.yaml: print what would change.")
@json_option
def validate(file: str, against: str | None, as_json: bool) -> None:
    """Check a queues.yaml, and print every problem with its line."""
    from clearance.cluster import config

    found = config.load(file)
    changed = config.changes(config.load(against), found) if against else ()
    queues = sum(len(partition.queues) for partition in found.partitions)
    if as_json:
        print_json({"queues": queues, "notes": list(found.notes), "changes": [str(change) for change in changed]})
        return
    click.echo(f"{file}: {queues} queues, nothing wrong")
    for line in (*(f"note: {note}" for note in found.notes), *(str(change) for change in changed)):
        click.echo(line)


@cluster.command()
@click.argument("trace")
@click.option("--queues", metavar="FILE", help="queues.yaml; without it there is the one queue root.default.")
@click.option(
    "--policy", metavar="NAME", help="How nodes are chosen: binpacking, fair or fgd.  [default: of the queues]"
)
@click.option(
    "--backfill", metavar="KIND", help="What goes on behind who waits: none, fifo, easy, sjbf, conservative.",
    default="none", show_default=True,
)  # fmt: skip
@click.option("--nodes", metavar="NODES", help="A file, or counted: 40x8gpu, 2x16cpu.  [default: those of the trace]")
@click.option(
    "--estimates", metavar="KIND", help="What is known of runtimes: given, none, exact, learnt, wrong:0.2-5.",
    default="given", show_default=True,
)  # fmt: skip
@click.option(
    "--whole-nodes", metavar="GPUS", type=click.IntRange(1), help="Gang jobs get whole nodes of so many GPUs."
)
@click.option("--pools", metavar="FILE", help="pools.yaml: nodes come and go with the work, and have prices.")
@click.option(
    "--health", "faults", metavar="FILE", help="What goes wrong with nodes, and when: one JSON object a line."
)
@click.option("--against-fifo", is_flag=True, help="Simulate plain FIFO too, and say who is later than there.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of whatever is random.")
@click.option("--report", "folder", metavar="FOLDER", help="Write report.json, the plots and a page that shows them.")
@json_option
def simulate(
    trace: str, queues: str | None, policy: str | None, backfill: str, nodes: str | None, estimates: str,
    whole_nodes: int | None, pools: str | None, faults: str | None, against_fifo: bool, seed: int, folder: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Run TRACE to its end, by the scheduler itself, and say how long jobs waited.

    TRACE is a file of openb pods, of gang jobs, of the Standard Workload Format, or of our own JSON lines.
    """
    from clearance.cluster import config
    from clearance.cluster.condition import HealthPolicy
    from clearance.cluster.poolfile import PoolFile, load_pools
    from clearance.cluster.simulate import read_faults, read_nodes, read_trace
    from clearance.cluster.simulate import simulate as run
    from clearance.cluster.simulate.page import figures, write_folder

    file = load_pools(pools) if pools else PoolFile(None, None)
    wrong = read_faults(faults) if faults else ()
    health = (file.health or HealthPolicy()) if faults else file.health
    partitions = config.load(queues) if queues else config.default()
    found = read_trace(trace, whole_nodes or 0)
    there = read_nodes(nodes) if nodes else found.nodes
    report = run(
        found, partitions, there, policy=policy, backfill=None if backfill == "none" else backfill,
        estimates=estimates, seed=seed, autoscale=file.autoscale, health=health, faults=wrong,
    )  # fmt: skip
    more = _left_out(found)
    later = None
    if against_fifo:
        fifo = run(found, config.default(), there, policy=policy, backfill="fifo", estimates="none", seed=seed)
        later = report.later_than(fifo)
        more["later than under plain FIFO"] = (
            f"{later:.1%} of the jobs; its mean wait: {fifo.wait.mean / 3600:.2f} hours"
        )
    if folder:
        write_folder(report, folder, f"{trace} simulated", more)
    if as_json:
        print_json(report.plain() | ({} if later is None else {"later_than_fifo": later}))
    else:
        print_table(["figure", "value"], list(figures(report, more).items()))


def _left_out(trace: Trace) -> dict[str, str]:
    """Returns what of a trace cannot be simulated, as one figure."""
    reasons = ", ".join(f"{count:,}: {reason}" for reason, count in trace.left_out.items())
    return {"left out of the trace": reasons} if reasons else {}
