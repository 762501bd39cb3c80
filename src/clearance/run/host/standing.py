"""Standing by and leading without end: what `clearance up` does."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

from clearance.errors import LeaseLost, StoreError
from clearance.run.host.client import Client, Gone, Refusing
from clearance.run.host.embedded import RACES, Leading, opened, try_to_lead
from clearance.run.host.loop import Loop
from clearance.run.host.messages import Answer, Refusal, Reply
from clearance.run.host.orders import Register
from clearance.settings import Settings
from clearance.store.database import Database, Stale

TRY_SECONDS = 1.0


class Registrations:
    """What is to be registered with whoever leads, once.

    Args:
        requests: one a file.
        say: is told in one line what was registered.
    """

    def __init__(self, requests: Sequence[Register], say: Callable[[str], object]) -> None:
        self._requests = list(requests)
        self._say = say
        self.refusal: Refusal | None = None

    def here(self, loop: Loop) -> None:
        """Asks the controller of this process; the answers come while it turns."""
        requests, self._requests = self._requests, []
        for request in requests:
            loop.desk.handle(request, self._take)

    def there(self, address: str) -> None:
        """Asks the controller that leads elsewhere.

        Raises:
            Refusing: a file was refused.
            Gone: it went away.
        """
        while self._requests:
            with Client(address) as client:
                self._take(client.ask(self._requests[0]))
            del self._requests[0]

    def _take(self, reply: Reply) -> None:
        if isinstance(reply, Refusal):
            self.refusal = reply
        elif isinstance(reply, Answer):
            for found in reply.value:
                self._say(registered(found))


def registered(found: dict[str, Any]) -> str:
    """Returns one line on a registered DAG."""
    how = "registered" if found["changed"] else "is known already"
    return f"dag {found['dag']} {how}, version {found['version'][:19]}"


def stand_by(settings: Settings, say: Callable[[str], object], requests: Sequence[Register] = ()) -> None:
    """Leads whenever the lease is free, until SIGINT or SIGTERM.

    Args:
        settings: which home.
        say: is told in one line what happens.
        requests: DAGs to register first, with whoever leads.

    Raises:
        Refusing: one of them was refused.
        StoreError: the database failed; one that went away, or is locked, is tried again.
    """
    stopped = threading.Event()

    def listen() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())

    listen()
    registrations = Registrations(requests, say)
    while not stopped.is_set():
        with opened(settings) as database:
            try:
                _stand_by(settings, database, say, registrations, stopped, listen)
                return
            except StoreError as error:
                if not database.is_away(error):
                    raise
                say(f"the database does not answer, trying again: {error}")
                stopped.wait(TRY_SECONDS)
                listen()


def _stand_by(
    settings: Settings,
    database: Database,
    say: Callable[[str], object],
    registrations: Registrations,
    stopped: threading.Event,
    listen: Callable[[], None],
) -> None:
    told, races = "", 0
    while not stopped.is_set():
        taken = try_to_lead(settings, database)
        if not isinstance(taken, int):
            if told != taken.holder:
                told = taken.holder
                say(f"standing by: process {told.split(':')[1]} leads")
            with contextlib.suppress(Gone):
                registrations.there(taken.address)
            stopped.wait(TRY_SECONDS)
            continue
        leading = Leading(settings, database, taken)
        try:
            with leading as loop:
                loop.handle_signals()
                say(f"leading {settings.home} (epoch {taken}); Ctrl-C stops")
                registrations.here(loop)
                loop.run(lambda: bool(loop.signals) or stopped.is_set() or registrations.refusal is not None)
                leading.keep = leading.controller.busy
            if registrations.refusal is not None:
                raise Refusing(registrations.refusal)
            if leading.keep:
                say("stopped; tasks and services go on: `clearance up` adopts them")
            return
        except LeaseLost as error:
            say(str(error))
        except Stale as error:
            races += 1
            if races == RACES:
                raise
            say(f"another controller was first: {error}")
        listen()
