"""`clearance db migrate|check`: the database's migrations."""

from __future__ import annotations

import click


@click.group()
def db() -> None:
    """The database: bring it up to date, or check it."""


@db.command()
def migrate() -> None:
    """Apply the migrations that are missing."""
    from clearance.run.host.embedded import opened
    from clearance.settings import load
    from clearance.store.database import Database

    settings = load()
    settings.make_home()
    with Database(settings.database, synchronous=settings.sqlite_synchronous) as database:
        applied = database.migrate()
    with opened(settings) as database:
        version = database.version()
    click.echo(f"applied {', '.join(map(str, applied)) or 'nothing'}; the database is at migration {version}")


@db.command()
def check() -> None:
    """Check the database; exit code 4 when it is damaged or does not fit this program."""
    from clearance.settings import load
    from clearance.store.database import Database

    with Database(load().database, read_only=True) as database:
        database.check()
        problems = database.problems()
        version = database.version()
    for problem in problems:
        click.echo(problem)
    if problems:
        raise SystemExit(4)
    click.echo(f"the database is at migration {version} and sound")
