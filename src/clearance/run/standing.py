"""Standing by and leading without end: what `clearance up` does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from clearance.errors import LeaseLost
from clearance.run.embedded import Leading, opened, try_to_lead
from clearance.settings import Settings

TRY_SECONDS = 1.0


def stand_by(settings: Settings, say: Callable[[str], object]) -> None:
    """Leads whenever the lease is free, until SIGINT or SIGTERM.

    Args:
        settings: which home.
        say: is told in one line what happens.
    """
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    told = ""
    with opened(settings) as database:
        while not stopped.is_set():
            taken = try_to_lead(settings, database)
            if not isinstance(taken, int):
                if told != taken.holder:
                    told = taken.holder
                    say(f"standing by: process {told.split(':')[1]} leads")
                stopped.wait(TRY_SECONDS)
                continue
            leading = Leading(settings, database, taken)
            try:
                with leading as loop:
                    loop.handle_signals()
                    say(f"leading {settings.home} (epoch {taken}); Ctrl-C stops")
                    loop.run(lambda: bool(loop.signals) or stopped.is_set())
                    leading.keep = leading.controller.busy
                if leading.keep:
                    say("stopped; tasks and services go on: `clearance up` adopts them")
                return
            except LeaseLost as error:
                say(str(error))
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, lambda *_: stopped.set())
