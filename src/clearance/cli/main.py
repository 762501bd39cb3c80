"""The entry point: finds the command, and turns every error into one line and an exit code.

Exit codes: 0 success; 1 a run failed; 2 wrong usage or a wrong graph; 3 refused by a desk; 4 infrastructure;
130 interrupted. `clearance --help` imports no command: names and help lines stand in the table below.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

import clearance
from clearance.errors import ClearanceError, UsageError, nearest

INTERRUPTED = 130
YOUNG = (50_000, 20, 100)  # imports make many objects that stay, and few cycles

# section → command → (module under `clearance.cli`, help line)
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Run": {
        "run": ("run", "Run a DAG and follow it to its end."),
        "up": ("up", "Lead in the foreground: run what is submitted, answer the API."),
        "retry": ("control", "Run the failed tasks of a run again, and follow it."),
        "resume": ("control", "Go on with a run that was interrupted, cancelled or failed."),
        "flow": ("flow", "See the steps of a flow, or go on from one of them."),
        "clear": ("clear", "Do tasks of a run again that have ended, and what depends on them."),
        "mark": ("clear", "Let a task count as success or failed."),
        "cancel": ("control", "Cancel a run that goes on."),
        "backfill": ("backfill", "Run the intervals of a DAG in the past."),
        "approve": ("decide", "Say yes to a task that asks for a decision."),
        "reject": ("decide", "Say no to a task that asks for a decision."),
    },
    "Look": {
        "runs": ("runs", "List runs, show and draw one, or tag one."),
        "search": ("search", "Find runs by parameter, tag, state and time."),
        "logs": ("logs", "Print the logs of a run or task."),
        "why": ("why", "Say why a task was granted, held or denied clearance."),
        "services": ("services", "List services, stop one, or print its logs."),
        "artifact": ("artifact", "Show, verify and fetch what a task returned."),
        "notify": ("notify", "See what was told to webhooks, mail and the like, and test them."),
        "asset": ("asset", "See what started which run, tell of an event, or replay recorded ones."),
    },
    "Write": {
        "init": ("init", "Make an example project."),
        "dag": ("dag", "Check, list, draw and register DAGs."),
        "schedule": ("schedule", "See when DAGs fire by themselves."),
    },
    "Trust": {
        "trust": ("trust", "Keys, certificates, signatures and attestations."),
        "user": ("user", "Users and their API keys."),
        "policy": ("policy", "What may be used and served, by what is attested of it."),
        "audit": ("audit", "What was decided and signed, and that nobody changed it."),
    },
    "Manage": {
        "cache": ("cache", "See why a task was or was not taken from the cache, and clean up."),
        "cluster": ("cluster", "Queues, nodes and jobs of the scheduler."),
        "pool": ("pool", "Make limits that tasks share by name, and list them."),
        "db": ("db", "Bring the database up to date, or check it."),
        "doctor": ("doctor", "Check this installation."),
        "completion": ("completion", "Print the completion script of a shell."),
    },
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in COMMANDS.values():
            if cmd_name in section:
                return _load(section[cmd_name][0], cmd_name)
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            raise click.UsageError(f"no such command {args[0]!r}{nearest(args[0], known)}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=text)
            for section in COMMANDS.values()
            for name, (_, text) in section.items()
            if name.startswith(incomplete)
        ]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(10), text) for name, (_, text) in section.items()])


def _load(module: str, name: str) -> click.Command:
    full = f"clearance.cli.{module}"
    try:
        found: Any = getattr(importlib.import_module(full), name)
    except ModuleNotFoundError as error:
        if error.name != full:
            raise
        raise UsageError(f"this build of Clearance has no command {name!r}") from None
    assert isinstance(found, click.Command)
    return found


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 run failed, 2 wrong usage or graph, 3 refused, 4 infrastructure, 130 interrupted.",
)
@click.version_option(clearance.__version__, message="clearance %(version)s")
def cli() -> None:
    """Clearance, the control tower for machine-learning work.

    Begin with `clearance init`, then `clearance run pipeline.py`.
    """


def invoke(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; nothing but a programming error in here is raised."""
    try:
        code = cli.main(
            args=None if arguments is None else list(arguments), prog_name="clearance", standalone_mode=False
        )
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0 if not error.ctx or error.ctx.parent is None else 2
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and error.ctx is not None:
            click.echo(error.ctx.get_usage(), err=True)
        click.echo(f"error: {error.format_message()}", err=True)
        return 2
    except ClearanceError as error:
        if _debug():
            raise
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if _debug():
            raise
        text = str(error).strip().partition("\n")[0]
        click.echo(
            f"error: unexpected {type(error).__name__}{': ' + text if text else ''}\n"
            "This is a fault in Clearance: please report it with what CLEARANCE_DEBUG=1 prints.",
            err=True,
        )
        return ClearanceError.exit_code


def _debug() -> bool:
    return os.environ.get("CLEARANCE_DEBUG", "") not in ("", "0")


def main() -> None:
    """The `clearance` command."""
    gc.set_threshold(*YOUNG)
    sys.exit(invoke())


if __name__ == "__main__":
    main()
