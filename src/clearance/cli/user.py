"""`clearance user add|list|revoke|add-key|revoke-key`: who may ask, and with which keys."""

from __future__ import annotations

from typing import Any

import click

from clearance.cli.output import json_option, print_json, print_records


@click.group()
def user() -> None:
    """Users of this installation and their API keys."""


@user.command()
@click.argument("name")
@click.option("--group", "groups", multiple=True, help="A group that it belongs to; may be repeated.")
@click.option("--role", "roles", multiple=True, help="admin, operator, viewer or signer; may be repeated.")
def add(name: str, groups: tuple[str, ...], roles: tuple[str, ...]) -> None:
    """Let there be a user NAME, or say its groups and roles anew.

    One that was revoked is back; its old keys are not.
    """
    from clearance.run.host.credentials import AddUser

    tell(AddUser(name, groups, roles))
    click.echo(f"user {name}: groups {', '.join(groups) or 'none'}; roles {', '.join(roles) or 'none'}")


@user.command("list")
@click.option("--keys", is_flag=True, help="List API keys instead.")
@json_option
def list_users(keys: bool, as_json: bool) -> None:
    """List the users, or their API keys; of a key nothing is kept but its hash."""
    import msgspec

    from clearance.cli.runs import reading, when

    with reading() as database:
        rows = database.rows("api_keys" if keys else "accounts")
    if keys:
        names = ["id", "user", "label", "created", "expires", "revoked"]
        found = [dict(zip(names, row, strict=True)) for row in rows]
    else:
        names = ["name", "groups", "roles", "created", "revoked", "keys"]
        found = [dict(zip(names, row, strict=True)) for row in rows]
        for each in found:
            each["groups"], each["roles"] = (msgspec.json.decode(each[name]) for name in ("groups", "roles"))
    if not as_json:
        for each in found:
            for name, value in each.items():
                if name in ("created", "expires", "revoked") and value is not None:
                    each[name] = when(value)
                elif isinstance(value, list):
                    each[name] = ", ".join(value)
    print_records(found, as_json, names)


@user.command()
@click.argument("name")
def revoke(name: str) -> None:
    """Accept nothing of user NAME any more, whatever key, token or certificate is shown."""
    from clearance.run.host.credentials import RevokeUser

    changed = tell(RevokeUser(name))
    click.echo(f"user {name} is revoked{'' if changed else ' already'}")


@user.command("add-key")
@click.argument("name")
@click.option("--label", default="", help="What for.")
@click.option("--days", default=90.0, type=click.FloatRange(0), show_default=True, help="How long; 0 without end.")
@json_option
def add_key(name: str, label: str, days: float, as_json: bool) -> None:
    """Make an API key for user NAME, which is shown this once."""
    from clearance.run.host.credentials import AddApiKey

    told: dict[str, Any] = tell(AddApiKey(name, label, days))
    if as_json:
        print_json(told)
    else:
        click.echo(told["key"])
        click.echo(f"key {told['id']} of {name}: keep it, it is shown this once", err=True)


@user.command("revoke-key")
@click.argument("id")
def revoke_key(id: str) -> None:
    """Accept the API key ID no more."""
    from clearance.run.host.credentials import RevokeApiKey

    changed = tell(RevokeApiKey(id))
    click.echo(f"key {id} is revoked{'' if changed else ' already'}")


def tell(order: Any) -> Any:
    """Tells an order to whoever leads, and returns the answer."""
    from clearance.run.host.embedded import ask
    from clearance.run.host.messages import Answer
    from clearance.settings import load

    reply = ask(load(), order)
    assert isinstance(reply, Answer)
    return reply.value
