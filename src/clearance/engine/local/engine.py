"""The local engine as the controller sees it: a socket to the supervisor, which it starts when there is none.

State lies in `home`: `supervisor.sock` (0600), `supervisor.log`, `logs/`, `spool/`, `attempts/`, `checkpoints/`.
After an `EngineLost` event, `adopt` starts a new supervisor; `fileno` is another descriptor from then on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import clearance
from clearance.engine.base import (
    Answer,
    EngineLost,
    Event,
    Finished,
    History,
    Launch,
    Node,
    Ready,
    Scaling,
    Snapshot,
    Started,
    Step,
    Traffic,
)  # fmt: skip
from clearance.engine.local import ipc, processes, spool
from clearance.engine.local.fleet import Fleet
from clearance.engine.local.flows import Flows
from clearance.engine.local.loans import Loans
from clearance.engine.local.nodes import first_devices, nodes_of
from clearance.engine.local.once import Once
from clearance.errors import EngineError, LeaseLost
from clearance.settings import Settings

if TYPE_CHECKING:
    from clearance.engine.local.watch import Watch

_ANSWER = 60.0
_direct_decoder = msgspec.msgpack.Decoder(list[Started | Finished])
_lent_decoder = msgspec.msgpack.Decoder(ipc.Lent)
_DESCRIPTOR = socket.CMSG_SPACE(4)
_SUPERVISOR = "from clearance.engine.local import supervisor; supervisor.main()"  # -m would cost 5 ms of runpy


class LocalEngine:
    """Runs attempts as processes of this machine. See `engine.base.Engine` for the contract.

    Args:
        settings: where home and the blobs are, and which nodes are offered.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = str(settings.home)
        self._nodes = nodes_of(settings)
        self._first_devices = first_devices(settings)
        self._stream: ipc.Stream | None = None
        self._lost = False
        self._fenced: int | None = None
        self._launched = False
        self._child = 0
        self._uncounted = ""
        self._once = Once()
        self._fleet = Fleet(settings.home)
        self._watch: Watch | None = None
        if settings.pools:
            from clearance.engine.local.watch import Watch

            self._watch = Watch(settings, self.nodes, self._first_devices)

    def fileno(self) -> int:
        """A descriptor that is readable when `observe` has something to return.

        Raises:
            EngineError: `adopt` was not called yet.
        """
        self._connected()
        return self._epoll.fileno()

    def _connected(self) -> ipc.Stream:
        if self._stream is None:
            raise EngineError("the local engine is not adopted: call adopt(epoch) first")
        return self._stream

    def adopt(self, epoch: int) -> Snapshot:
        """Takes over the supervisor of this home, or starts one.

        Raises:
            LeaseLost: a controller with a higher epoch was here already.
            EngineError: the supervisor does not start or does not answer.
        """
        processes.require_pidfd()
        self._disconnect()
        os.makedirs(self._home, 0o700, exist_ok=True)
        direct, name = self._listen(epoch)
        flows = Flows(self._home, name)
        lock = os.open(os.path.join(self._home, "engine.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            configure = ipc.Configure(self._settings.blobs, self._settings.network_accounting)
            stream, (answer, *early) = self._adopt([configure, ipc.Adopt(epoch, name)])
            if isinstance(answer, ipc.Adopted):
                self._keep_only(name)
        except BaseException:
            flows.close()
            self._remove(direct, name)
            raise
        finally:
            os.close(lock)
        required = self._settings.network_accounting == "required"
        if not isinstance(answer, ipc.Adopted) or (required and answer.uncounted):
            stream.connection.close()
            flows.close()
            self._remove(direct, name)
            if isinstance(answer, ipc.Fenced):
                raise LeaseLost(f"a controller with epoch {answer.by} leads {self._home}: this one has epoch {epoch}")
            if isinstance(answer, ipc.Adopted):
                raise EngineError(f"network_accounting is required, and cannot be: {answer.uncounted}")
            raise EngineError(f"the supervisor answered {type(answer).__name__} to adopt: see {self._log_file}")
        self._uncounted = answer.uncounted
        self._stream = stream
        self._direct = direct
        self._flows = flows
        self._epoll = select.epoll()
        self._epoll.register(stream.connection.fileno(), select.EPOLLIN)
        self._epoll.register(direct.fileno(), select.EPOLLIN)
        self._epoll.register(flows.fileno(), select.EPOLLIN)
        if self._watch is not None and self._watch.fileno() >= 0:
            self._epoll.register(self._watch.fileno(), select.EPOLLIN)
        self._once = Once()
        self._lost = False
        self._fenced = None
        snapshot = _with(answer.snapshot, early)
        self._loans = Loans(
            name,
            (started.attempt for started in snapshot.running), (event.attempt for event in snapshot.finished),
        )  # fmt: skip
        self._told_directly()  # nothing but the workers that are lent: nobody else knows the socket yet
        return snapshot

    def _adopt(self, words: list[msgspec.Struct]) -> tuple[ipc.Stream, list[Any]]:
        """Says these to the supervisor that runs, or to a new one; returns its answer and what came with it.

        One that is about to end may still take a connection and then end without a word: another is started then,
        which waits for that one's end.
        """
        for connection in (self._connect(), None):
            started = connection is None
            stream = ipc.Stream(connection or self._start(), ipc.Reply)
            stream.put(words)
            try:
                return stream, self._ask(stream, _ANSWER)
            except EngineError:
                ended = stream.ended
                stream.connection.close()
                if started or not ended:
                    raise
        raise AssertionError("a started supervisor answers or raises")

    @property
    def _log_file(self) -> str:
        return os.path.join(self._home, "supervisor.log")

    def _connect(self) -> socket.socket | None:
        """Returns a connection to the supervisor of this home; None when there is none."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            processes.connect_in(self._home, "supervisor.sock", connection)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        return connection

    def _listen(self, epoch: int) -> tuple[socket.socket, str]:
        """Opens the socket at which warm workers tell of successes; returns it and its name in the home.

        The name is new each time, so that what a worker was to tell an earlier controller is not taken for told.
        """
        name = f"direct-{epoch}-{os.urandom(4).hex()}.sock"
        direct = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        direct.setblocking(False)
        directory = os.open(self._home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        mask = os.umask(0o177)
        try:
            direct.bind(f"/proc/self/fd/{directory}/{name}")
        finally:
            os.umask(mask)
            os.close(directory)
        return direct, name

    def _remove(self, direct: socket.socket, name: str) -> None:
        direct.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._home, name))

    def _keep_only(self, name: str) -> None:
        """Removes the sockets of controllers that lead no more."""
        for old in os.listdir(self._home):
            if old.startswith("direct-") and old not in (name, name + ipc.FLOWS):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._home, old))

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        log = os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CLEARANCE_")}
        environment["CLEARANCE_HOME"] = self._home
        for name in ("TRACEPARENT", "TRACESTATE"):  # of whoever happened to start the engine
            environment.pop(name, None)
        root = os.path.dirname(os.path.dirname(os.path.abspath(clearance.__file__)))
        if "site-packages" not in root:
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH", ""))))
        command = [sys.executable, "-P", "-c", _SUPERVISOR, self._home]
        try:
            self._child = os.posix_spawn(
                sys.executable,
                command,
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, log, 1),
                    (os.POSIX_SPAWN_DUP2, log, 2),
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 3),
                ],
                setsid=True,
            )
        finally:
            os.close(log)
            theirs.close()
        return ours

    def _ask(self, stream: ipc.Stream, timeout: float) -> list[Any]:
        """Sends what waits to be sent, and returns the answer with what lies in the same frame.

        What comes behind that frame stays in the socket, for `observe`.
        """
        try:
            stream.flush()
            poll = select.poll()
            poll.register(stream.connection.fileno(), select.POLLIN)
            deadline = time.monotonic() + timeout
            while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                messages = stream.take_frame()
                if messages is None:
                    stream.ended = True
                    raise EngineError(f"the supervisor ended without an answer: see {self._log_file}")
                if messages:
                    return messages
        except OSError as error:
            stream.ended = True
            raise EngineError(f"the supervisor does not answer ({error}): see {self._log_file}") from None
        raise EngineError(f"the supervisor did not answer within {timeout:g} s: see {self._log_file}")

    def define(self, request: str, bundle: str, target: str, parameters: dict[str, Any]) -> None:
        """Builds the graph of `module:name` in a process that holds the bundle's code; returns at once.

        The event `Defined` of this request brings the graph, or what is wrong with it; one that takes over 60
        seconds is an error.

        Args:
            request: names the answer.
            bundle: digest of the source bundle, unpacked at `home/bundles/<hex>`.
            target: `module:name`; the name may be empty, then the module's only DAG is taken.
            parameters: of the DAG, as JSON-compatible data.
        """
        self._say(ipc.Define(request, bundle, target, parameters))

    def prepare(self, bundle: str, preloads: Sequence[tuple[str, ...]]) -> None:
        """Starts the zygotes of a bundle; returns at once."""
        self._say(ipc.Prepare(bundle, tuple(preloads)))

    def launch(self, launches: Sequence[Launch]) -> None:
        """Starts attempts; returns at once, the outcome comes as events.

        Raises:
            EngineError: a key is not safe as a file name, or nodes or devices are not one for each process.
        """
        for launch in launches:
            for key in (launch.attempt, launch.checkpoint or launch.attempt):
                if not spool.is_safe(key):
                    raise EngineError(f"{key!r} cannot name an attempt: use a-z, 0-9, dots and dashes, 200 at most")
            if launch.gang < 1:
                raise EngineError(f"{launch.attempt} asks for a gang of {launch.gang}: at least 1 is possible")
            for what in (launch.nodes, launch.devices):
                if what and len(what) != launch.gang:
                    raise EngineError(f"{launch.attempt} has {what!r} for a gang of {launch.gang}: give one a process")
        launches = [self._placed(launch) for launch in launches]
        stream = self._connected()
        over = self._once.take_over()
        rest = []
        for launch in launches:
            if (sent := self._loans.send(launch)) is not None:
                stream.put([sent])
            else:
                rest.append(launch)
        if rest:
            stream.put([ipc.LaunchAll(tuple(rest), over, self._loans.give_back(rest))])
        self._flush(stream)
        self._launched = True

    def _placed(self, launch: Launch) -> Launch:
        """Returns it with a node for each process, and with devices as this machine counts them."""
        nodes = launch.nodes or (self._nodes[0].name,) * launch.gang
        first = self._first_devices
        devices = tuple(
            tuple(first.get(node, 0) + number for number in numbers)
            for node, numbers in zip(nodes, launch.devices, strict=False)
        )
        return (
            msgspec.structs.replace(launch, nodes=nodes, devices=devices)
            if nodes != launch.nodes or devices
            else launch
        )

    def cancel(self, attempts: Sequence[str], grace: float, outcome: str = "cancelled") -> None:
        """Ends attempts: notice, `grace` seconds, kill; the event says `outcome`."""
        self._connected()
        self._loans.end(attempts)
        self._say(ipc.Cancel(tuple(attempts), grace, outcome))

    def reply(self, attempt: str, answer: History | Answer) -> None:
        """Tells a flow's attempt; what it is too late for is dropped, since it asks again."""
        self._connected()
        self._flows.reply(attempt, answer)

    def steps(self, attempt: str) -> Sequence[Step]:
        """Returns every step that a flow's attempt has put on disk, told or not; kept until `acknowledge`."""
        self._connected()
        return self._flows.steps(attempt)

    def acknowledge(self, attempts: Sequence[str]) -> None:
        """Says that these results are committed: the engine forgets them.

        After a launch it waits for what is said next, so that it costs no message of its own; a launch never waits
        behind it.
        """
        if attempts:
            stream = self._connected()
            self._flows.acknowledge(attempts)
            stream.put([ipc.Acknowledge(tuple(attempts))])
            if not self._launched:
                self._flush(stream)

    def _say(self, message: msgspec.Struct) -> None:
        stream = self._connected()
        stream.put([message])
        self._flush(stream)

    def _flush(self, stream: ipc.Stream) -> None:
        try:
            stream.flush()
        except OSError:
            return  # the supervisor is gone: `observe` says so

    def observe(self) -> list[Event]:
        """Returns what has happened since the last call; never blocks.

        Raises:
            LeaseLost: a controller with a higher epoch took over.
        """
        if self._stream is None or self._lost:
            return []
        self._launched = False
        if self._fenced is None:
            messages = self._told()
            if messages is None:
                self._lost = True
                return [EngineLost(f"the supervisor is gone: see {self._log_file}")]
            events: list[Event] = [*self._fleet.observe()]
            if self._watch is not None:
                events += self._watch.observe()
            for message in messages:
                kind = type(message)
                if kind is Finished:
                    self._loans.ended(message)
                elif kind is ipc.Fenced:
                    self._fenced = message.by
                    break
                elif kind is ipc.Adopted:
                    continue
                events.append(message)
            if events or self._fenced is None:
                return events
        raise LeaseLost(f"a controller with epoch {self._fenced} leads {self._home} now")

    def _told(self) -> list[Any] | None:
        """Returns what the supervisor and the warm workers have said; None when the supervisor is gone."""
        assert self._stream is not None
        messages: list[Any] = []
        gone = False
        for ready, _ in self._epoll.poll(0):
            if ready == self._direct.fileno():
                messages += self._once.from_worker(self._told_directly())
            elif ready == self._flows.fileno():
                messages += self._flows.observe()
            elif self._watch is not None and ready == self._watch.fileno():
                self._watch.written = True
            elif (told := self._stream.take()) is not None:
                messages += self._once.from_supervisor(told)
            else:
                gone = True
        return None if gone and not messages else messages

    def _told_directly(self) -> list[Started | Finished]:
        """Takes what workers tell, and the workers that the supervisor lends."""
        messages: list[Started | Finished] = []
        with contextlib.suppress(BlockingIOError, msgspec.MsgspecError):
            while True:
                data, beside, _, _ = self._direct.recvmsg(2 * ipc.PACKET, _DESCRIPTOR, socket.MSG_CMSG_CLOEXEC)
                if beside:
                    self._loans.add(_lent_decoder.decode(data), *ipc.descriptors_of(beside))
                else:
                    messages += _direct_decoder.decode(data)
        return messages

    def _disconnect(self) -> None:
        if self._stream is not None:
            self._stream.connection.close()
            self._direct.close()
            self._flows.close()
            self._loans.close()
            self._epoll.close()
            self._stream = None

    @property
    def due(self) -> float:
        """When `observe` has something though `fileno` is not readable, seconds since 1970; infinity: never."""
        return min(self._fleet.due, self._watch.due) if self._watch is not None else self._fleet.due

    def nodes(self) -> list[Node]:
        """Returns this machine, or the virtual nodes of the settings on it, and those of pools that are there."""
        return [*self._nodes, *self._fleet.nodes()]

    def starting(self) -> dict[str, int]:
        """Returns how many nodes of pools that were asked for have not been told of, by pool."""
        return self._fleet.starting()

    def scale(self, orders: Sequence[Scaling]) -> None:
        """Starts and ends virtual nodes of pools: names, which take their start-up time to be there."""
        self._fleet.scale(orders)

    def traffic(self) -> list[Traffic]:
        """Returns the network traffic of each tenant, by name. Asks `nft`, which takes some milliseconds.

        Raises:
            EngineError: it is not counted here; the message says why.
        """
        self._connected()
        if self._uncounted:
            raise EngineError(f"network traffic is not counted: {self._uncounted}")
        from clearance.engine.local.accounting import Accounting

        return Accounting(self._home).traffic()

    def close(self, stop: bool) -> None:
        """Leaves the supervisor; with `stop`, ends everything and waits until it is gone."""
        stream = self._stream
        if stream is None:
            return
        try:
            stream.put([ipc.Close(stop)])
            stream.flush()
            if stop:
                while stream.take(0) is not None:
                    pass
        except (OSError, EngineError):
            pass
        self._disconnect()
        if self._child:  # a supervisor that we started is our child; one that goes on is init's when we are gone
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._child, 0 if stop else os.WNOHANG)


def _with(snapshot: Snapshot, early: Sequence[Any]) -> Snapshot:
    """Returns the snapshot with what was reported right after it: it may come in the same read."""
    return Snapshot(
        (*snapshot.running, *(event for event in early if isinstance(event, Started))),
        (*snapshot.ready, *(event for event in early if isinstance(event, Ready))),
        (*snapshot.finished, *(event for event in early if isinstance(event, Finished))),
    )


def last_epoch(home: Path) -> int:
    """Returns the highest epoch that led on this home; 0 for a new one."""
    try:
        return int((home / "epoch").read_text())
    except (OSError, ValueError):
        return 0
