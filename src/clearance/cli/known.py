"""`clearance dag register|unregister|pause|unpause`: DAGs that run by themselves while no file is being run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clearance.cli.output import json_option, print_json, print_records
from clearance.cli.target import parameter_option, parse_parameters, parse_target
from clearance.errors import UsageError

if TYPE_CHECKING:
    from clearance.run.host.orders import Register
    from clearance.settings import Settings


@click.command()
@click.argument("target", metavar="FILE[:DAG]")
@parameter_option
@json_option
def register(target: str, parameters: tuple[str, ...], as_json: bool) -> None:
    """Make the DAG of a FILE known, or every one: it runs by its schedule and by assets while a controller leads.

    Changed code makes a new version; runs that go on keep theirs.
    """
    from clearance.run.host.embedded import ask
    from clearance.run.host.messages import Answer
    from clearance.run.host.standing import registered
    from clearance.settings import load

    settings = load()
    reply = ask(settings, registration(settings, target, parse_parameters(parameters)))
    assert isinstance(reply, Answer)
    if as_json:
        print_json(reply.value)
        return
    for found in reply.value:
        click.echo(registered(found))


@click.command()
@click.argument("name", metavar="DAG")
def unregister(name: str) -> None:
    """Know DAG no more: nothing starts it by itself. Its runs stay."""
    from clearance.run.host.embedded import ask
    from clearance.run.host.orders import Unregister
    from clearance.settings import load

    ask(load(), Unregister(name))
    click.echo(f"dag {name} is not known any more")


@click.command()
@click.argument("name", metavar="DAG")
def pause(name: str) -> None:
    """Start no run of DAG by itself until `unpause`; events of assets wait."""
    _set(name, True)


@click.command()
@click.argument("name", metavar="DAG")
def unpause(name: str) -> None:
    """Let DAG run by itself again."""
    _set(name, False)


def _set(name: str, paused: bool) -> None:
    from clearance.run.host.embedded import ask
    from clearance.run.host.messages import Answer
    from clearance.run.host.orders import PauseDag
    from clearance.settings import load

    reply = ask(load(), PauseDag(name, paused))
    assert isinstance(reply, Answer)
    word = "paused" if paused else "not paused"
    click.echo(f"dag {name} is {word}{'' if reply.value else ' already'}")


def list_known(as_json: bool) -> None:
    """Prints the known DAGs."""
    from clearance.cli.runs import reading
    from clearance.run.look.automation import known_dags

    with reading() as database:
        found = known_dags(database)
    print_records(found, as_json, ["dag", "schedule", "next", "paused", "source"])


def registration(settings: Settings, target: str, parameters: dict[str, str] | None = None) -> Register:
    """Returns the request that registers the DAG, or every DAG, of a file; its bundle lies in the home.

    Raises:
        UsageError: parameters for several DAGs.
    """
    from clearance.graph.bundle import make_bundle, unpack
    from clearance.run.host.orders import Register
    from clearance.types.digest import hex_of

    file, name = parse_target(target)
    if parameters and not name:
        raise UsageError(f"-p belongs to one DAG: say which, for example {file}:DAG")
    bundle = make_bundle(file)
    settings.make_home()
    unpack(bundle.data, settings.home / "bundles" / hex_of(bundle.digest), bundle.digest)
    return Register(bundle.digest, f"{bundle.module}:{name or '*'}", dict(parameters or {}), str(Path(file).absolute()))
