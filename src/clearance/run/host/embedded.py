"""Running without a daemon: whoever comes first leads, whoever comes later follows, and anybody can take over.

`clearance run` takes the lease and leads until its run has ended; if the lease is held it submits to the holder and
follows. When a leader goes away, a follower takes the lease and goes on. What must outlive the run (a service, the run
of somebody else) is handed to a background controller, which ends itself when nothing is wanted any more.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import clearance
from clearance.engine.local.engine import LocalEngine, last_epoch
from clearance.errors import ClearanceError, EngineError, LeaseLost, UsageError
from clearance.run import rows
from clearance.run.capacity.cluster import counting
from clearance.run.controller import Controller
from clearance.run.host import lease
from clearance.run.host.client import Client, Gone, Refusing, address
from clearance.run.host.loop import Loop
from clearance.run.host.messages import Accepted, Ended, Follow, Refusal, Reply, Request, StopService, Told
from clearance.run.telemetry.journal import Journal
from clearance.settings import Settings
from clearance.store.database import LEASE, Database, Stale
from clearance.store.outbox import Event
from clearance.types.principal import local_principal

Show = Callable[[str, list[Event]], None]
RACES = 5  # how often one turn may be lost to another that believes it leads


class Interrupted(ClearanceError):
    """A person pressed Ctrl-C twice: tasks go on, and the run can be resumed."""

    exit_code = 1


class Leading:
    """The lease, the engine and the controller of this process, for as long as the `with` block lasts.

    Args:
        settings: which home.
        database: open for writing, migrated.
        epoch: of the lease that was taken.
    """

    def __init__(self, settings: Settings, database: Database, epoch: int) -> None:
        self._settings = settings
        self._database = database
        self._epoch = epoch
        self.keep = False

    def __enter__(self) -> Loop:
        gc.set_threshold(50_000, 20, 100)  # many small objects that live for one turn, and few cycles
        self._engine = LocalEngine(counting(self._settings, self._database))
        self._loop: Loop | None = None
        try:
            self.controller = Controller(self._settings, self._database, self._engine, self._epoch)
            self.controller.recover()
            self._journal = Journal(self._settings.home, self._epoch)
            self.controller.listeners.append(self._journal.take)
            self._journal.write("info", "leading", runs=len(self.controller.runs))
            self._loop = Loop(self.controller, address(self._settings.home), local_principal())
        except BaseException as error:
            self._engine.close(stop=False)
            if isinstance(error, UsageError):  # a setting is wrong: whoever has a better one need not wait
                self._database.abandon()
                self._database.write("lease_release", LEASE, self._epoch)
            raise
        return self._loop

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._database.abandon()
        if self._loop is not None:
            self._loop.close(send=kind is None)
        stop = kind is None and not self.keep and not self.controller.busy
        if kind is None:
            with suppress(LeaseLost):
                self.controller.ledger.seal()
        self._engine.close(stop=stop)
        if error is None:
            self._journal.write("info", "stopped", keeps=self.keep)
        else:
            self._journal.write("error", "stopped", error=f"{type(error).__name__}: {error}")
        if (kind is None or not issubclass(kind, LeaseLost)) and not self._database.lost:
            self._database.write("lease_release", LEASE, self._epoch)


class _Progress:
    """Follows one run through the replies of whoever leads."""

    def __init__(self, request: Request, show: Show) -> None:
        self.request = request
        self.run = request.run if isinstance(request, Follow) else ""
        self.state = ""
        self.refusal: Refusal | None = None
        self._after = request.after if isinstance(request, Follow) else 0
        self.changed = True
        self._show = show

    def take(self, reply: Reply) -> Request | None:
        """Takes a reply; returns what to ask next."""
        match reply:
            case Accepted():
                self.run = reply.run
                self.changed = reply.changed
                self._after = reply.after
                self.request = Follow(reply.run, self._after)
                self._show(reply.run, [])
                return self.request
            case Told():
                if reply.events:
                    self._after = reply.events[-1].seq
                    self._show(self.run, reply.events)
            case Ended():
                self.state = reply.state
            case Refusal():
                self.refusal = reply
        return None

    def resumed(self) -> Request:
        """Returns what to ask of whoever leads now."""
        if isinstance(self.request, Follow):
            self.request = Follow(self.run, self._after)
        return self.request

    @property
    def over(self) -> bool:
        """True when there is nothing more to follow."""
        return bool(self.state) or self.refusal is not None


class End(NamedTuple):
    """How a followed run ended: its id, its state, and whether the request changed anything."""

    run: str
    state: str
    changed: bool


def run_to_end(settings: Settings, request: Request, show: Show) -> End:
    """Runs or follows until the run has ended.

    Args:
        settings: which home, and how many workers.
        request: `Submit` for a new run; `Resume`, `Clear` or `Follow` for one that exists.
        show: is told the events of the run as they come, and the run id with none of them at first.

    Raises:
        Refusing: the request was refused.
        ClearanceError: whatever makes it impossible.
    """
    progress = _Progress(request, show)
    races = 0
    with opened(settings) as database:
        while not progress.over:
            taken = try_to_lead(settings, database)
            request = progress.resumed()
            try:
                if isinstance(taken, int):
                    _lead(settings, database, taken, request, progress)
                else:
                    _follow(taken, request, progress)
            except LeaseLost:
                continue
            except Stale:
                races += 1
                if races == RACES:
                    raise
            except Gone:
                time.sleep(0.05)
    if progress.refusal is not None:
        raise Refusing(progress.refusal)
    return End(progress.run, progress.state, progress.changed)


def try_to_lead(settings: Settings, database: Database) -> int | lease.Held:
    """Takes the lease if it is free; returns its epoch, or who holds it."""
    return lease.take(database, str(address(settings.home)), time.time(), last_epoch(settings.home))


def opened(settings: Settings) -> Database:
    """Opens the database for writing and brings it up to date."""
    settings.make_home()
    database = Database(settings.database, synchronous=settings.sqlite_synchronous)
    try:
        database.migrate()
    except BaseException:
        database.close()
        raise
    return database


def _lead(settings: Settings, database: Database, epoch: int, request: Request, progress: _Progress) -> None:
    leading = Leading(settings, database, epoch)
    interrupts = 0
    with leading as loop:
        loop.handle_signals()

        def send(reply: Reply) -> None:
            following = progress.take(reply)
            if following is not None:
                loop.desk.handle(following, send)

        def done() -> bool:
            nonlocal interrupts
            if len(loop.signals) > interrupts:
                interrupts = len(loop.signals)
                if interrupts > 1 or not progress.run:
                    raise Interrupted(f"interrupted: go on with `clearance resume {progress.run}`")
                leading.controller.cancel(progress.run)
            return progress.over and not leading.controller.deliveries.finishing()

        loop.desk.handle(request, send)
        loop.run(done)
        leading.keep = leading.controller.busy
    if leading.keep or leading.controller.deliveries.pending:
        start_background(settings)


def _follow(held: lease.Held, request: Request, progress: _Progress) -> None:
    with Client(held.address) as client:
        client.send(request)
        for reply in client.replies():
            following = progress.take(reply)
            if following is not None:
                client.send(following)
            if progress.over:
                return


def start_background(settings: Settings) -> None:
    """Starts a controller in the background that leads while something is wanted."""
    import subprocess

    environment = dict(os.environ) | settings.environment()
    root = str(Path(clearance.__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH", ""))))
    log = os.open(settings.home / "controller.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        subprocess.Popen(
            [sys.executable, "-m", "clearance.run.host.background"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True,
            cwd=settings.home, env=environment,
        )  # fmt: skip
    finally:
        os.close(log)


def ask(settings: Settings, request: Request) -> Reply:
    """Sends a request to whoever leads; leads for a moment when nobody does.

    Raises:
        Refusing: the request was refused.
    """
    with opened(settings) as database:
        while True:
            taken = try_to_lead(settings, database)
            if isinstance(taken, int):
                return _ask_here(settings, database, taken, request)
            try:
                with Client(taken.address) as client:
                    return client.ask(request)
            except Gone:
                time.sleep(0.05)


def _ask_here(settings: Settings, database: Database, epoch: int, request: Request) -> Reply:
    replies: list[Reply] = []
    leading = Leading(settings, database, epoch)
    with leading as loop:
        loop.desk.handle(request, replies.append)
        loop.run(lambda: bool(replies))
        leading.keep = leading.controller.busy
    if leading.keep or leading.controller.deliveries.pending:
        start_background(settings)
    reply = replies[0]
    if isinstance(reply, Refusal):
        raise Refusing(reply)
    return reply


def stop_service(settings: Settings, name: str) -> None:
    """Stops a service, and returns when its process has ended.

    Raises:
        Refusing: no service of this name runs.
    """
    ask(settings, StopService(name))
    with opened(settings) as database:
        deadline = time.monotonic() + settings.grace + 30
        while {row.name: row.state for row in rows.services(database)}[name] not in ("stopped", "failed"):
            if time.monotonic() > deadline:
                raise EngineError(f"service {name!r} has not stopped: see `clearance services list`")
            time.sleep(0.05)
