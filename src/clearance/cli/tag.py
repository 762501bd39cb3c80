"""`clearance runs tag RUN name=value`: what a run is found by later; and the options that say tags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from clearance.cli.output import json_option, print_json
from clearance.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


@click.command()
@click.argument("run")
@click.argument("tags", nargs=-1, metavar="NAME=VALUE…")
@click.option("--remove", multiple=True, metavar="NAME", help="Take a tag away; may be repeated.")
@json_option
def tag(run: str, tags: tuple[str, ...], remove: tuple[str, ...], as_json: bool) -> None:
    """Set tags of RUN, and print those that it has then."""
    from clearance.cli.runs import reading
    from clearance.run.host.embedded import ask
    from clearance.run.host.messages import Answer, SetTags
    from clearance.run.tags import parse_tags
    from clearance.settings import load

    wanted = parse_tags(tags)
    if not wanted and not remove:
        raise UsageError("say a tag: name=value, or --remove name")
    with reading():  # there is a database: nothing is made for a run that cannot be there
        pass
    reply = ask(load(), SetTags(run, wanted, list(remove)))
    assert isinstance(reply, Answer)
    if as_json:
        print_json(reply.value)
    else:
        click.echo(f"{run}  {told(reply.value) or 'no tags'}")


def tag_option(function: F) -> F:
    """Adds `--tag name=value`, which may be repeated; the command receives `tags` as texts."""
    return click.option(
        "--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Set a tag of the run; may be repeated."
    )(function)


def wanted_tags(pairs: Sequence[str]) -> dict[str, str | None]:
    """Returns the tags that runs must have, from `name=value` or `name`, which is one of any value."""
    from clearance.run.tags import parse_tags

    named: dict[str, str | None] = {pair: None for pair in pairs if "=" not in pair}
    return named | parse_tags([pair for pair in pairs if "=" in pair])


def told(tags: dict[str, str]) -> str:
    """Returns tags in one line."""
    return " ".join(f"{name}={value}" for name, value in tags.items())
