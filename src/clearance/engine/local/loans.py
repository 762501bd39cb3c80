"""The warm workers that are lent to this controller: it sends them attempts itself, without a detour by the supervisor.

Rules:

1. A worker takes one attempt at a time: it is free again when the end of the last one was told here.
2. Only what is surely new goes to it directly: an attempt that was launched before, or of which an older one runs,
   is for the supervisor to judge.
3. One that is being ended, or cannot be sent to, is lent no more; the supervisor makes or lends another.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterable

from clearance.engine.base import Finished, Launch
from clearance.engine.local import ipc, slate
from clearance.engine.local.running import epoch_of, is_warm

_REMEMBERED = 4096  # ends
_Code = tuple[str, tuple[str, ...]]  # bundle and preload


class Loan:
    """One worker: `code` is what it holds, `number` that of the loan."""

    __slots__ = ("code", "connection", "name", "number")

    def __init__(self, lent: ipc.Lent, descriptor: int) -> None:
        self.name = lent.worker
        self.number = lent.loan
        self.code: _Code = (lent.bundle, lent.preload)
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=descriptor)


class Loans:
    """See the module. One for each adoption.

    Args:
        direct: name of the socket at which workers tell.
        running: attempts that run already.
        over: attempts that are over already.
    """

    def __init__(self, direct: str, running: Iterable[str], over: Iterable[str]) -> None:
        self._direct = direct
        self._free: dict[_Code, list[Loan]] = {}
        self._busy: dict[str, Loan] = {}
        self._running: dict[str, str] = {epoch_of(key)[0]: key for key in running}
        self._over: dict[str, None] = dict.fromkeys(over)
        self._ending: dict[str, None] = {}

    def add(self, lent: ipc.Lent, descriptor: int) -> None:
        """Takes a worker that the supervisor lends."""
        loan = Loan(lent, descriptor)
        self._replace(loan.name)
        if lent.attempt in self._ending:
            loan.connection.close()
            return
        if lent.attempt and lent.attempt not in self._over:
            self._busy[lent.attempt] = loan
            return
        self._prune()
        self._free.setdefault(loan.code, []).append(loan)

    def send(self, launch: Launch) -> ipc.Sent | None:
        """Sends an attempt to a worker that is free.

        Returns:
            What the supervisor is told of it; None when the supervisor must launch it.
        """
        key = launch.attempt
        prefix, _ = epoch_of(key)
        fresh = key not in self._over and prefix not in self._running
        self._running[prefix] = key
        if not fresh or not is_warm(launch):
            return None
        free = self._free.get((launch.bundle, launch.preload))
        while free:
            loan = free.pop()
            body = ipc.encode([ipc.Run(launch, self._direct, loan.number)])
            if len(body) > slate.LIMIT:
                free.append(loan)
                return None
            try:
                loan.connection.send(body, socket.MSG_NOSIGNAL)
            except OSError:
                loan.connection.close()
                continue
            self._busy[key] = loan
            return ipc.Sent(launch, loan.name, loan.number)
        return None

    def give_back(self, launches: Iterable[Launch]) -> tuple[str, ...]:
        """Returns the names of free workers that the supervisor takes back for what it launches itself."""
        names = []
        for launch in launches:
            if is_warm(launch) and (free := self._free.get((launch.bundle, launch.preload))):
                loan = free.pop()
                loan.connection.close()
                names.append(loan.name)
        return tuple(names)

    def end(self, attempts: Iterable[str]) -> None:
        """These are being ended: the notice must find nothing else in their workers, which get nothing more."""
        for attempt in attempts:
            self._ending[attempt] = None
            if (loan := self._busy.pop(attempt, None)) is not None:
                loan.connection.close()

    def ended(self, event: Finished) -> None:
        """An attempt is over: its worker is free, unless it was being ended."""
        key = event.attempt
        prefix, _ = epoch_of(key)
        if self._running.get(prefix) == key:
            del self._running[prefix]
        self._over[key] = None
        for remembered in (self._over, self._ending):
            if len(remembered) > _REMEMBERED:
                del remembered[next(iter(remembered))]
        loan = self._busy.pop(key, None)
        if loan is None:
            return
        if event.outcome in ("success", "failure"):
            self._free.setdefault(loan.code, []).append(loan)
        else:
            loan.connection.close()

    def close(self) -> None:
        """Lends nothing any more."""
        for loan in (*self._busy.values(), *(loan for free in self._free.values() for loan in free)):
            loan.connection.close()
        self._busy.clear()
        self._free.clear()

    def _replace(self, name: str) -> None:
        """A worker is lent anew: the loan before counts no more."""
        for free in self._free.values():
            for loan in [loan for loan in free if loan.name == name]:
                free.remove(loan)
                loan.connection.close()
        for key in [key for key, loan in self._busy.items() if loan.name == name]:
            self._busy.pop(key).connection.close()

    def _prune(self) -> None:
        """Drops free workers that are gone."""
        poll = select.poll()
        known = {loan.connection.fileno(): loan for free in self._free.values() for loan in free}
        for descriptor in known:
            poll.register(descriptor, 0)
        for descriptor, _ in poll.poll(0) if known else ():
            loan = known[descriptor]
            self._free[loan.code].remove(loan)
            loan.connection.close()
