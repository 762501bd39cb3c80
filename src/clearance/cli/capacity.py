"""The commands of `clearance cluster` that ask, or tell, the scheduler that leads."""

from __future__ import annotations

from typing import Any

import click

from clearance.cli.output import count, duration, json_option, print_json, print_records, print_table, size
from clearance.cli.why import why as why

_SHOWN = 20


@click.command()
@click.argument("file")
@click.option("--dry-run", is_flag=True, help="Say what would change; change nothing.")
@json_option
def apply(file: str, dry_run: bool, as_json: bool) -> None:
    """Let the queues of a FILE (queues.yaml) hold from now on; what runs goes on, and what waits waits in them.

    A queue that is no longer in the file drains, and goes when it is empty.
    """
    from clearance.cluster.config import load
    from clearance.cluster.document import read_file
    from clearance.run.host.orders import ApplyQueues

    load(file)  # problems are told with the file's name
    told = _ask(ApplyQueues(read_file(file), dry_run))
    if as_json:
        print_json(told)
        return
    for line in (*(f"note: {note}" for note in told["notes"]), *told["changes"]):
        click.echo(line)
    click.echo(f"{file}: {count(len(told['changes']), 'change')}{', none made' if dry_run else ''}")


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Say how full the cluster is, what waits longest, and why."""
    told = _look("summary")
    if as_json:
        print_json(told)
        return
    capacity = told["capacity"]
    used = capacity["usedCapacity"]
    rows = [
        (name, _shown(name, used.get(name, 0)), _shown(name, whole), f"{100 * used.get(name, 0) / whole:.0f} %")
        for name, whole in capacity["capacity"].items()
        if whole
    ]
    print_table(["resource", "used", "of", "share"], rows)
    closed = f", {told['closed']} closed" if told["closed"] else ""
    click.echo(f"{count(told['nodes'], 'node')}{closed}; {told['running']} run, {told['waiting']} wait")
    for name, limit in told["limits"].items():
        click.echo(f"{name}: {limit['used']} of {limit['size']} in use")
    for each in told["longest"]:
        click.echo(f"{each['job']} waits in {each['queue']} for {duration(each['waits'])}: {each['reason']}")


@click.command()
@click.argument("queue", default="root")
@json_option
def queues(queue: str, as_json: bool) -> None:
    """Show QUEUE and those below it: what each uses, is guaranteed and may use, who runs and waits."""
    told = _look("queues", queue)
    if as_json:
        print_json(told)
        return
    rows: list[tuple[object, ...]] = []
    _flatten(told, rows)
    print_table(["queue", "state", "used", "guaranteed", "max", "running", "jobs"], rows)


def _flatten(queue: dict[str, Any], rows: list[tuple[object, ...]]) -> None:
    amounts = (queue["allocatedResource"], queue["guaranteedResource"], queue["maxResource"])
    rows.append(
        (queue["queuename"], queue["status"], *map(_amounts, amounts), queue["runningApps"], queue["jobs"])
    )  # fmt: skip
    for child in queue["children"]:
        _flatten(child, rows)


@click.command()
@click.argument("node", default="")
@json_option
def nodes(node: str, as_json: bool) -> None:
    """Show the nodes, or one NODE: what each has, what is used of it, and whether it takes anything new."""
    found = _look("nodes", node)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["nodeID"], "open" if each["schedulable"] else _closed(each),
            each["health"].removeprefix("it is ") or each["condition"], _amounts(each["allocated"]),
            _amounts(each["capacity"]), len(each["allocations"]),
            ", ".join(f"{kind} {value:.3g}" for kind, value in each["signals"].items()),
        )
        for each in found
    ]  # fmt: skip
    print_table(["node", "state", "health", "used", "of", "members", "signals"], rows)
    for kind, reason in _look("unwatched").items():
        click.echo(f"{kind} is not seen: {reason}")


def _closed(node: dict[str, Any]) -> str:
    """Returns why a node takes nothing new, where the column of its health does not say so."""
    return "closed" if node["closed"] == node["health"] else node["closed"] or "closed"


@click.command()
@click.option(
    "--add-nodes", "add", multiple=True, metavar="NODES", help="4xA100, like those of a pool; 2x16cpu, 4x8gpu."
)
@click.option("--remove-node", "remove", multiple=True, metavar="NODE", help="A node that is gone.")
@click.argument("run")
@click.argument("task", default="")
@json_option
def whatif(add: tuple[str, ...], remove: tuple[str, ...], run: str, task: str, as_json: bool) -> None:
    """Say when the TASK of a RUN that waits would start if there were other nodes. Nothing is changed."""
    from clearance.run.host.orders import Suppose

    told = _ask(Suppose(f"{run} {task}".strip(), add, remove))
    if as_json:
        print_json(told)
    elif told["start"] is None:
        click.echo(f"it would not start: {told['explanation']['text']}")
    else:
        import time

        later = told["start"] - time.time()
        click.echo(
            f"it would start {'now' if later < 1 else f'in {duration(later)}'} on {', '.join(told['nodes'][:_SHOWN])}"
        )


@click.command()
@click.option("--apply/--dry-run", "made", default=False, help="Make the moves, or only say which.", show_default=True)
@click.option("--max-moves", type=click.IntRange(1), default=200, show_default=True, help="In all.")
@click.option(
    "--min-gain", type=float, default=1.0, show_default=True, metavar="HOURS", help="Node-hours, less the cost."
)
@json_option
def consolidate(made: bool, max_moves: int, min_gain: float, as_json: bool) -> None:
    """Move work off lightly used nodes, so that these are free.

    What moves gets the eviction notice, saves its work in `context.checkpoint_dir`, and goes on elsewhere.
    """
    from clearance.run.host.orders import Consolidate

    plan = _ask(Consolidate(max_moves, min_gain, dry=not made))
    if as_json:
        print_json(plan)
        return
    print_records(plan["moves"], False, ["job", "source", "target", "cost"])
    freed = ", ".join(plan["freed"][:_SHOWN]) or "no node"
    click.echo(
        f"{'frees' if made else 'would free'} {freed}: gains {plan['gain']:.2f} node-hours, costs {plan['cost']:.2f}"
    )


@click.command()
@click.argument("tenant", default="")
@json_option
def net(tenant: str, as_json: bool) -> None:
    """Show the bytes that each TENANT, which is a queue, has received and sent, inside the cluster and outside.

    They are counted where queues are in force, as root, with nftables; elsewhere the command says why not.
    """
    found = _look("net", tenant)
    if as_json:
        print_json(found)
        return
    kinds = ("inside_in", "inside_out", "outside_in", "outside_out")
    rows = [(each["tenant"], *(size(each[kind]) for kind in kinds)) for each in found]
    print_table(["tenant", "inside: in", "out", "outside: in", "out"], rows)


@click.command()
@click.argument("node")
@click.option("--reason", default="", metavar="TEXT", help="For people.")
def drain(node: str, reason: str) -> None:
    """Let NODE take nothing new, and ask what is on it to leave."""
    told = _cordon(node, True, True, reason)
    click.echo(f"{node} is drained: {count(len(told['leaving']), 'job')} asked to leave")
    for job in told["leaving"][:_SHOWN]:
        click.echo(f"  {job}")


@click.command()
@click.argument("node")
@click.option("--reason", default="", metavar="TEXT", help="For people.")
def cordon(node: str, reason: str) -> None:
    """Let NODE take nothing new; what is on it goes on."""
    told = _cordon(node, True, False, reason)
    click.echo(f"{node} takes nothing new{'' if told['changed'] else ' already'}")


@click.command()
@click.argument("node")
def uncordon(node: str) -> None:
    """Let NODE take work again."""
    told = _cordon(node, False, False, "")
    click.echo(f"{node} takes work{' again' if told['changed'] else ' already'}")


def _cordon(node: str, on: bool, drained: bool, reason: str) -> Any:
    from clearance.run.host.orders import Cordon

    return _ask(Cordon(node, on, drained, reason))


def _look(what: str, name: str = "") -> Any:
    from clearance.run.host.orders import LookAtCluster

    return _ask(LookAtCluster(what, name))


def _ask(order: Any) -> Any:
    from clearance.run.host.embedded import ask
    from clearance.run.host.messages import Answer
    from clearance.settings import load

    reply = ask(load(), order)
    assert isinstance(reply, Answer)
    return reply.value


def _amounts(amounts: dict[str, float]) -> str:
    return " ".join(f"{name}={_shown(name, amount)}" for name, amount in amounts.items()) or "-"


def _shown(name: str, amount: float) -> str:
    if name == "memory":
        return f"{amount / 2**30:.3g}Gi"
    return f"{amount / 1000 if name == 'vcore' else amount:g}"
