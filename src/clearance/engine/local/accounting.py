"""Network accounting, the part that acts: cgroups, the `nft` command, and what is remembered between two starts.

    BASE = OWN / clearance_HOME     OWN is the supervisor's own cgroup, so that its limits hold for attempts too
    BASE / TENANT / gang-ATTEMPT    the processes of an attempt; a warm worker is in BASE / TENANT
    HOME / network.json             `State`
    MADE / clearance_HOME           the path of a home that counts, and its cgroups, a line each

Rules:

1. A process joins before it runs the task's code, and so do all that it starts. A socket counts for the cgroup in
   which it was opened. Who joins a tenant that is not counted yet has it counted first.
2. Counters live in the kernel: an attempt that ends, or a supervisor that dies, loses none. The next supervisor finds
   the table and goes on with it. One that ends in order writes down the totals, takes table and cgroups away, and the
   next one begins at these.
3. It is on only where it was seen to count: a datagram is sent to ourselves and must be found in the counters.
4. `network.json` is changed under `network.lock`, by a rename.
5. What a supervisor that was killed has left is taken away by the next one of any home: `MADE` says what there is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator

import msgspec

from clearance.engine.base import Launch, Traffic
from clearance.engine.local import network
from clearance.errors import EngineError

ROOT = "/sys/fs/cgroup"  # nft takes the path of a cgroup from here
MADE = "/run"
_LIMIT = 30.0  # seconds in which nft must have answered
_PROBE = "tprobe"


class State(msgspec.Struct):
    """What is remembered.

    Attributes:
        bases: our cgroups: the one in force last, before it those of earlier supervisors that could not be removed.
        tenants: names by id.
        joined: ids of those that are counted now.
        totals: bytes by id and kind, as they were when counting ended.
    """

    bases: list[str] = []
    tenants: dict[str, str] = {}
    joined: list[str] = []
    totals: dict[str, dict[str, int]] = {}


class Accounting:
    """Counts the bytes of each tenant.

    Args:
        home: `CLEARANCE_HOME`; exists.
        base: the cgroup in force; empty where none is known.
    """

    def __init__(self, home: str, base: str = "") -> None:
        self._home = home
        self._table = network.table_of(home)
        self.base = base

    @staticmethod
    def unavailable() -> str:
        """Returns why this machine cannot count, with the mend; nothing when it seems that it can."""
        if os.geteuid() != 0:
            return "it needs root, which may use nftables and cgroups: start the engine as root"
        if not _command():
            return "it needs the command nft: install nftables 1.0 or newer (`apt-get install nftables`)"
        own, _ = own_cgroup()
        if not own:
            return f"it needs cgroup v2 below {ROOT}, and none is mounted there"
        if '"' in own:
            return f"nft cannot name a cgroup with a quotation mark, such as our own, {own}"
        if not os.access(own, os.W_OK):
            return f"it makes a cgroup in our own, {own}, which is read-only: run where that can be written"
        return ""

    def open(self) -> None:
        """Begins to count, or goes on with what an earlier supervisor began.

        Raises:
            EngineError: it cannot; then nothing is left behind.
        """
        if reason := self.unavailable():
            raise EngineError(reason)
        sweep(self._home)
        own, depth = own_cgroup()
        self.base = f"{own}/{self._table}"
        with self._locked() as state:
            known = bool(state.bases) and self._counters() is not None
            state.bases = [*(base for base in state.bases if base != self.base and not _remove(base)), self.base]
            state.joined = []
            text = network.rules(self._table, depth + 2)
            self._write(state)
            try:
                self._say_made(state)
                os.makedirs(self.base, exist_ok=True)
                self._probe(text if known else text + network.counters(self._table, state.totals))
            except (OSError, EngineError) as error:
                self._take_away(state)
                self.base = ""
                raise EngineError(f"network traffic cannot be counted: {error}") from None

    def join(self, launch: Launch, gang: bool) -> None:
        """Has this process counted for the launch's tenant, or for nobody.

        Args:
            launch: what it is about to run.
            gang: it runs nothing else, so it gets a cgroup that ends with the attempt.

        Raises:
            EngineError: it cannot.
        """
        try:
            directory = self.base
            if launch.tenant:
                id = network.id_of(launch.tenant)
                if id not in self._read().joined:
                    self._admit(id, launch.tenant)
                directory = self._gang(launch) if gang else f"{self.base}/{id}"
                os.makedirs(directory, exist_ok=True)
            _enter(directory)
        except (OSError, EngineError) as error:
            raise EngineError(f"the network traffic of this attempt is not counted: {error}") from None

    def leave(self, launch: Launch) -> None:
        """Removes the cgroup of an attempt, of which no process is left."""
        if self.base and launch.tenant:
            with contextlib.suppress(OSError):
                os.rmdir(self._gang(launch))

    def traffic(self) -> list[Traffic]:
        """Returns what each tenant has sent and received since the home was made, by name.

        Raises:
            EngineError: the counters are gone, or cannot be read.
        """
        state = self._read()
        if not state.bases:
            return network.traffic(state.totals, state.tenants)
        found = self._counters()
        if found is None:
            raise EngineError(
                f"the nftables table {self._table} cannot be read, or somebody took it away (`nft flush ruleset`): "
                "run as root, or start the engine anew"
            )
        return network.traffic(found, state.tenants)

    def close(self) -> None:
        """Ends counting: writes down the totals, and takes away what was made. Nothing runs any more."""
        if not self.base:
            return
        with self._locked() as state:
            self._take_away(state)
        self.base = ""

    def _take_away(self, state: State) -> None:
        """Writes the totals down, and only then removes the table; then our cgroups."""
        if (found := self._counters()) is not None:
            state.totals = {id: found[id] for id in state.tenants if id in found}
            self._write(state)
        with contextlib.suppress(EngineError):
            self._nft(f"delete table inet {self._table}\n")
        state.bases = [base for base in state.bases if not _remove(base)]
        state.joined = []
        self._write(state)
        self._say_made(state)

    def _say_made(self, state: State) -> None:
        """Says at `MADE` what there is to be taken away."""
        path = f"{MADE}/{self._table}"
        if not state.bases:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        with open(path, "w") as file:
            file.write("\n".join((self._home, *state.bases)))

    def _admit(self, id: str, tenant: str) -> None:
        """Has a tenant counted."""
        with self._locked() as state:
            if id in state.joined:
                return
            os.makedirs(f"{self.base}/{id}", exist_ok=True)
            self._nft(
                network.counters(self._table, {id: {}}) + network.elements(self._table, id, _shown(f"{self.base}/{id}"))
            )
            state.tenants[id] = tenant
            state.joined.append(id)
            self._write(state)

    def _gang(self, launch: Launch) -> str:
        return f"{self.base}/{network.id_of(launch.tenant)}/gang-{launch.attempt}"

    def _probe(self, rules: str) -> None:
        """Makes these rules, and sends a datagram to ourselves from a cgroup of ours.

        Raises:
            EngineError: nft refuses the rules, or the datagram was not counted.
        """
        directory = f"{self.base}/{_PROBE}"
        os.makedirs(directory, exist_ok=True)
        path = _shown(directory)
        self._nft(rules + network.counters(self._table, {_PROBE: {}}) + network.elements(self._table, _PROBE, path))
        pid = os.fork()
        if pid == 0:
            try:
                _enter(directory)
                _greet_ourselves()
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        seen = (self._counters() or {}).get(_PROBE, {})
        self._nft(network.without(self._table, _PROBE, path))
        os.rmdir(directory)
        if status != 0 or not (seen.get("inside_in") and seen.get("inside_out")):
            raise EngineError("nft took the rules, but a datagram over loopback was not counted")

    def _counters(self) -> dict[str, dict[str, int]] | None:
        """Returns bytes by tenant's id and kind; None when the table cannot be read, or is not there."""
        try:
            listing = self._nft("", "-j", "list", "counters", "table", "inet", self._table)
        except EngineError:
            return None
        return network.counted(listing, self._table)

    def _nft(self, text: str, *arguments: str) -> bytes:
        """Runs `nft`: these arguments, or else this text as one transaction.

        Raises:
            EngineError: it refuses.
        """
        import subprocess

        command = [_command() or "nft", *(arguments or ("-f", "-"))]
        try:
            done = subprocess.run(
                command, input=text.encode(), capture_output=True, timeout=_LIMIT, check=False, env={"LC_ALL": "C"}
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EngineError(f"nft cannot be run: {error}") from None
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise EngineError(f"nft refuses: {lines[0]}")
        return done.stdout

    def _read(self) -> State:
        try:
            with open(f"{self._home}/network.json", "rb") as file:
                return msgspec.json.decode(file.read(), type=State)
        except FileNotFoundError:
            return State()
        except msgspec.MsgspecError as error:
            raise EngineError(
                f"{self._home}/network.json is damaged ({error}): remove it, the totals begin anew"
            ) from None

    def _write(self, state: State) -> None:
        path = f"{self._home}/network.json"
        with open(path + "~", "wb") as file:
            file.write(msgspec.json.encode(state))
        os.replace(path + "~", path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[State]:
        lock = os.open(f"{self._home}/network.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._read()
        finally:
            os.close(lock)


def sweep(own: str) -> None:
    """Takes away what supervisors have left that were killed.

    Args:
        own: our home, of which nothing is taken.
    """
    for table in sorted(name for name in os.listdir(MADE) if name.startswith(network.PREFIX)):
        with contextlib.suppress(OSError, EngineError), open(f"{MADE}/{table}") as file:
            home, *bases = file.read().split("\n")
            if home == own:
                continue
            with _unless_led(home) as there:
                left = Accounting(home, bases[-1])
                if there:
                    left.close()
                    continue
                with contextlib.suppress(EngineError):
                    left._nft(f"delete table inet {table}\n")
                if not [base for base in bases if not _remove(base)]:
                    os.unlink(f"{MADE}/{table}")


@contextlib.contextmanager
def _unless_led(home: str) -> Iterator[bool]:
    """Keeps a home from being led meanwhile; yields whether it is there.

    Raises:
        BlockingIOError: a supervisor leads it.
    """
    if not os.path.isdir(home):
        yield False
        return
    lock = os.open(f"{home}/supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    finally:
        os.close(lock)


def own_cgroup() -> tuple[str, int]:
    """Returns the directory of our own cgroup v2, below `ROOT`, and how deep it lies; empty when there is none."""
    mount = ""
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields = line.split(" ")
            if fields[fields.index("-") + 1] == "cgroup2" and f"{fields[4]}/".startswith(f"{ROOT}/"):
                mount = fields[4]
    with open("/proc/self/cgroup") as file:
        own = next((line[3:].rstrip("\n") for line in file if line.startswith("0::/")), "")
    directory = f"{mount}{own.rstrip('/')}"
    found = mount and own and ".." not in own and os.path.isdir(directory)
    return (directory, len(own.strip("/").split("/")) if own != "/" else 0) if found else ("", 0)


def _shown(directory: str) -> str:
    """Returns the path of a cgroup as nft wants it."""
    return os.path.relpath(directory, ROOT)


def _command() -> str | None:
    """Returns the path of `nft`; looked for here, since `shutil` costs an engine's start two milliseconds."""
    folders = [*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/sbin"]
    return next((path for path in (f"{folder}/nft" for folder in folders if folder) if os.access(path, os.X_OK)), None)


def _enter(directory: str) -> None:
    """Moves this process into a cgroup."""
    descriptor = os.open(f"{directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, b"0")
    finally:
        os.close(descriptor)


def _greet_ourselves() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        end.settimeout(1.0)
        end.sendto(b"clearance", end.getsockname())
        end.recv(16)


def _remove(directory: str) -> bool:
    """Removes a cgroup and those in it; False when a process is still there."""
    for path, _, _ in os.walk(directory, topdown=False):
        try:
            os.rmdir(path)
        except OSError:
            continue
    return not os.path.isdir(directory)
