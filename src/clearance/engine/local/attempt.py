"""What happens inside the process of an attempt: arguments in, one call, the result on disk, then the end.

Rules:

1. Nothing is imported here that the zygote could have imported before: a fresh process costs its fork, and little else.
2. The spool record is on disk before the process ends (or a worker answers): success and failure alike.
3. The process ends with `os._exit`: 0 after a success, 1 after a failure; no `atexit`, no destructors.
"""

from __future__ import annotations

import importlib
import io
import os
import resource
import signal
import socket
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from clearance.engine.base import Defined, Failure, Launch, Ready
from clearance.engine.context import Facts, context
from clearance.engine.local import failures, ipc, processes, spool
from clearance.engine.local.accounting import Accounting
from clearance.errors import Defer, EngineError, GraphError, UsageError
from clearance.graph import predicate
from clearance.graph.constants import NoConstant, value_of
from clearance.store import serializers
from clearance.store.blobs import Blobs, open_blobs
from clearance.types import masking
from clearance.types.artifact import Argument, Artifact, Literal, Projected, Stored
from clearance.types.digest import digest_of

THREADS = "OMP_NUM_THREADS"
ANSWER = 30.0  # seconds in which the supervisor must have said that it masks


class Place(msgspec.Struct, frozen=True):
    """Where this installation keeps things, and what code a zygote holds.

    Attributes:
        home: `CLEARANCE_HOME`.
        blobs: place of the blobs.
        bundle: digest of the source bundle; empty for none.
        preload: modules beyond the bundle's.
        umask: of the controller that started the supervisor; attempts get it back.
        descriptors: soft limit of open files, likewise.
        accounting: cgroup below which network traffic is counted; empty where it is not.
        must_count: an attempt fails whose traffic cannot be counted.
    """

    home: str
    blobs: str
    bundle: str = ""
    preload: tuple[str, ...] = ()
    umask: int = 0o077
    descriptors: int = 1024
    accounting: str = ""
    must_count: bool = False

    @property
    def code(self) -> str:
        """The directory that comes first on `sys.path`; empty for none."""
        return os.path.join(self.home, "bundles", self.bundle.removeprefix("sha256:")) if self.bundle else ""


class Target(typing.NamedTuple):
    """A function that is ready to be called, and its evaluated annotations."""

    call: Callable[..., Any]
    hints: dict[str, Any]


_targets: dict[str, Target] = {}
_opened: dict[str, Blobs] = {}


def resolve(entry: str) -> Target:
    """Imports `module:qualified.name` and evaluates its annotations; remembered from then on.

    Raises:
        EngineError: there is no such function in the module.
    """
    if (target := _targets.get(entry)) is not None:
        return target
    module_name, _, name = entry.partition(":")
    found: Any = importlib.import_module(module_name)
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise EngineError(f"{module_name!r} has no {name!r}: a task must be defined at its top level") from None
    target = Target(found, hints_of(found))
    _targets[entry] = target
    return target


def hints_of(found: Any) -> dict[str, Any]:
    """Returns evaluated annotations: those a `graph.Task` has judged already, else what the function says."""
    signature = getattr(found, "signature", None)
    if isinstance(annotations := getattr(signature, "annotations", None), dict):
        return {**annotations, "return": getattr(signature, "returns", Any)}
    try:
        return typing.get_type_hints(found)
    except (NameError, TypeError, AttributeError):
        return {}


def _argument(argument: Argument, annotation: Any, name: str, blobs: Blobs, directory: Path) -> Any:
    if isinstance(argument, Literal):
        return _literal(argument.value, annotation, name)
    if isinstance(argument, Stored):
        return serializers.load(argument.artifact, annotation, blobs, directory)
    if isinstance(argument, Projected):
        return _projected(argument, annotation, name, blobs, directory)
    inner: Any = Any
    if typing.get_origin(annotation) in (list, tuple, set, frozenset) or _is_iterable(annotation):
        inner = next((part for part in typing.get_args(annotation) if part is not Ellipsis), Any)
    values = [_argument(item, inner, name, blobs, directory) for item in argument.items]
    return tuple(values) if typing.get_origin(annotation) is tuple else values


def _projected(argument: Projected, annotation: Any, name: str, blobs: Blobs, directory: Path) -> Any:
    """Takes a part out of a result, and makes the argument of it by annotation."""
    artifact = argument.artifact
    if argument.path[0] == "metadata" and artifact.serializer in ("tree", "dataset", "model"):
        whole: Any = {"metadata": artifact.metadata}
    elif artifact.serializer == "json":
        whole = msgspec.json.decode(serializers.read_bytes(artifact, blobs))
    elif artifact.serializer == "msgpack":
        whole = msgspec.msgpack.decode(serializers.read_bytes(artifact, blobs))
    else:
        whole = serializers.load(artifact, Any, blobs, directory)
    return _literal(predicate.part(whole, argument.path, name), annotation, name)


def _is_iterable(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    return isinstance(origin, type) and issubclass(list, origin)


_SIMPLE = (str, int, float, bool)


def _literal(value: Any, annotation: Any, name: str) -> Any:
    if annotation is Any or annotation is None or (annotation in _SIMPLE and type(value) is annotation):
        return value
    try:
        return value_of(value, annotation)
    except NoConstant as error:
        raise UsageError(f"argument {name!r}: {error}") from None


@lru_cache(8)
def _path_of(directory: str) -> Path:
    return Path(directory)


def _blobs_of(url: str) -> Blobs:
    blobs = _opened.get(url)
    if blobs is None:
        blobs = _opened[url] = open_blobs(url)
    return blobs


def open_place(place: Place) -> None:
    """Opens the blobs once, so that a forked process need not."""
    _blobs_of(place.blobs)


def call(launch: Launch, rank: int, place: Place, directory: str) -> Artifact | None:
    """Loads the arguments, calls the function, and stores what rank 0 returns; None for a `None`."""
    for module in place.preload:
        if module not in sys.modules:
            importlib.import_module(module)
    target = resolve(launch.entry)
    blobs = _blobs_of(place.blobs)
    where = _path_of(directory)
    values = loaded(launch.arguments, target.hints, blobs, where)
    result = _flow(launch, target, values, place, blobs, where) if launch.flow else target.call(**values)
    return None if rank else kept(result, target.hints, blobs, where)


def _flow(launch: Launch, target: Target, values: dict[str, Any], place: Place, blobs: Blobs, directory: Path) -> Any:
    from clearance.engine import flow
    from clearance.engine.local.line import Line

    to_controller = Line(place.home, launch.attempt)
    try:
        return flow.run(target.call, values, to_controller, blobs, directory)  # type: ignore[arg-type]
    finally:
        to_controller.close()


def loaded(
    arguments: Mapping[str, Argument], hints: Mapping[str, Any], blobs: Blobs, directory: Path
) -> dict[str, Any]:
    """Returns the values of arguments by name, each as its parameter's annotation says."""
    return {
        name: _argument(argument, hints.get(name, Any), name, blobs, directory) for name, argument in arguments.items()
    }


def kept(result: Any, hints: Mapping[str, Any], blobs: Blobs, directory: Path) -> Artifact | None:
    """Stores what a task returned, with the cards that it showed; None where there is neither."""
    shown = context._shown()
    if masking.masker:
        result = masking.masker.value(result)
        shown = [masking.masker.value(card) for card in shown]
    artifact = serializers.dump(result, hints.get("return", Any), blobs, directory)
    if not shown:
        return artifact
    cards = [serializers.dump(card, Any, blobs, directory) for card in shown]
    found = artifact or Artifact(digest_of(b"null"), 4, "json", "builtins.NoneType", b"null")
    return msgspec.structs.replace(found, cards=tuple(card for card in cards if card is not None))


def failed(error: BaseException, rank: int, place: Place, directory: str) -> Failure:
    """Describes an exception of the task, and stores what it leaves: its `left`, and the cards that were shown.

    What cannot be stored is said in the log: the failure of the task is what counts.
    """
    failure = failures.describe(error, rank)
    left = getattr(error, "left", None)
    if isinstance(error, Defer) or (left is None and not context._shown()):
        return failure
    try:
        return msgspec.structs.replace(failure, left=kept(left, {}, _blobs_of(place.blobs), _path_of(directory)))
    except Exception as trouble:
        os.write(2, masking.masker.text(f"clearance: what the failure leaves is not kept: {trouble}\n").encode())
        return failure


def mask_logs(attempt: str, place: Place) -> None:
    """Has whoever writes this attempt's log mask each secret before it is revealed."""

    def announce(forms: Sequence[bytes]) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(ANSWER)
                processes.connect_in(place.home, "supervisor.sock", connection)
                channel = ipc.Stream(connection, ipc.Reply)
                channel.put([ipc.Mask(attempt, tuple(forms))])
                channel.flush()
                while not (answer := channel.take(flags=0)):
                    if answer is None:
                        raise OSError("the supervisor does not answer")
        except OSError as error:
            raise EngineError(f"a secret is not revealed, since the log cannot be masked: {error}") from None

    masking.announce = announce


def count(launch: Launch, place: Place, gang: bool) -> None:
    """Has this process's network traffic counted for the launch's tenant; where it need not be, a failure is written.

    Raises:
        EngineError: it must be, and cannot.
    """
    try:
        Accounting(place.home, place.accounting).join(launch, gang)
    except EngineError as error:
        if place.must_count:
            raise
        os.write(2, f"clearance: {error}\n".encode())


def write_lines() -> None:
    """Makes standard output and error write whole lines at once, so that those of a gang's ranks do not mix."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, write_through=False)


def flush() -> None:
    """Writes out what Python still holds of standard output and error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue


def limit(launch: Launch) -> None:
    """Sets the soft limit of data memory, where the launch asks for one."""
    if launch.memory:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = launch.memory if hard == resource.RLIM_INFINITY else min(launch.memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def threads_of(cpu_millis: int) -> dict[str, str]:
    """Returns how many threads numerical libraries should use, one a whole CPU; nothing where no CPU is asked for.

    Ray does the same. Without it, every process on a machine of 64 CPUs would start 64. A library reads this when it is
    loaded, so it has no effect on one that a preload has loaded before.
    """
    return {THREADS: str(max(1, cpu_millis // 1000))} if cpu_millis > 0 else {}


def environment_of(launch: Launch, rank: int, port: int) -> dict[str, str]:
    """Returns what an attempt's environment has beyond the zygote's: mark, grace, node, threads, devices, rendezvous.

    The number of threads is what the user's environment says, where it says anything.
    """
    own = {
        "CLEARANCE_ATTEMPT": launch.attempt,
        "CLEARANCE_GRACE": f"{launch.grace:g}",
        "CLEARANCE_NODE": launch.nodes[rank],
    }
    if launch.devices:
        own["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, launch.devices[rank]))
    if THREADS not in os.environ:
        own |= threads_of(launch.cpu_millis)
    if launch.gang > 1:
        size = str(launch.gang)
        own |= {
            "RANK": str(rank),
            "WORLD_SIZE": size,
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": size,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "GLOO_SOCKET_IFNAME": "lo",
        }
    own |= launch.environment
    return own


def facts_of(
    launch: Launch, rank: int, place: Place, directory: str, ready: Callable[[dict[str, Any]], None] | None
) -> Facts:
    """Returns what `context` will answer."""
    return Facts(
        attempt=launch.attempt,
        run=launch.run,
        task=launch.task,
        instance=launch.instance,
        number=launch.number,
        node=launch.nodes[rank],
        rank=rank,
        size=launch.gang,
        rendezvous=f"file://{place.home}/attempts/{launch.attempt}/rendezvous",
        directory=directory,
        checkpoint=f"{place.home}/checkpoints/{launch.checkpoint}" if launch.checkpoint else "",
        grace=launch.grace,
        ready=ready,
        cause=launch.cause,
        resumed=launch.resumed,
    )


def run_fresh(fork: ipc.Fork, place: Place, report: int, trouble: BaseException | None) -> NoReturn:
    """Runs one process of an attempt to its end, in a process that was made for it.

    Args:
        fork: what to run. Standard output and error are in place.
        place: where things are.
        report: descriptor for `ready`; -1 for an attempt.
        trouble: why the zygote could not import what was asked of it; raised in place of the call.
    """
    launch, rank = fork.launch, fork.rank
    record: ipc.Spooled
    try:
        try:
            home = f"{place.home}/attempts/{launch.attempt}"
            directory = f"{home}/{rank}"
            if launch.gang == 1:
                os.mkdir(home, 0o700)
            else:
                os.makedirs(home, 0o700, exist_ok=True)
            os.mkdir(directory, 0o700)
            os.chdir(directory)
            os.environ.update(environment_of(launch, rank, fork.port))
            limit(launch)
            ready = (lambda info: _tell(report, launch.attempt, masking.masker.value(info))) if report >= 0 else None
            context._enter(facts_of(launch, rank, place, directory, ready))
            mask_logs(launch.attempt, place)
            if place.accounting and launch.tenant:
                count(launch, place, gang=True)
            if trouble is not None:
                raise trouble
            result = call(launch, rank, place, directory)
            record = ipc.Spooled(launch.attempt, rank, launch.gang, result)
        except BaseException as error:
            record = ipc.Spooled(launch.attempt, rank, launch.gang, failure=failed(error, rank, place, directory))
            failures.show(record.failure)
        flush()
        spool.write(f"{place.home}/spool/{launch.attempt}.{rank}", record)
        os._exit(1 if record.failure else 0)
    except BaseException as error:
        os.write(2, f"clearance: the result cannot be written: {error}\n".encode())
    finally:
        os._exit(70)


def _tell(report: int, attempt: str, info: dict[str, Any]) -> None:
    body = ipc.encode([Ready(attempt, info)])
    data = len(body).to_bytes(4, "big") + body
    while data:
        data = data[os.write(report, data) :]


def run_definition(launch: Launch, report: int) -> NoReturn:
    """Builds the graph that `launch.entry` names, and writes one `Defined` (request `launch.task`) to `report`."""
    answer: Defined
    try:
        try:
            from clearance.graph import loading

            module, _, name = launch.entry.partition(":")
            parameters = {key: value.value for key, value in launch.arguments.items() if isinstance(value, Literal)}
            answer = Defined(launch.task, loading.define(module, name, parameters))
        except BaseException as error:
            answer = Defined(launch.task, error=describe(error))
        flush()
        data = ipc.encode(answer)
        while data:
            data = data[os.write(report, data) :]
        os._exit(0)
    finally:
        os._exit(70)


def describe(error: BaseException) -> str:
    """Returns what a pipeline's code has wrong; `loading.define` has named type and line already."""
    return str(error) if isinstance(error, GraphError) else f"{type(error).__name__}: {error}"


def _leave(_number: int, _frame: object) -> None:
    """Ends an inline attempt on notice, and not the zygote, unless the attempt looks at `context.evicting`."""
    raise SystemExit("told to leave")


def run_inline(fork: ipc.Fork, place: Place, trouble: BaseException | None) -> None:
    """Runs an attempt in the zygote itself; what it prints goes where standard output goes now."""
    launch = fork.launch
    before = dict(os.environ)
    directory = f"{place.home}/attempts/{launch.attempt}/{fork.rank}"
    signal.signal(signal.SIGTERM, _leave)
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        os.chdir(directory)
        os.environ.update(environment_of(launch, fork.rank, fork.port))
        context._enter(facts_of(launch, fork.rank, place, directory, None))
        mask_logs(launch.attempt, place)
        if trouble is not None:
            raise trouble
        record = ipc.Spooled(launch.attempt, result=call(launch, 0, place, directory))
    except BaseException as error:
        record = ipc.Spooled(launch.attempt, failure=failed(error, 0, place, directory))
        failures.show(record.failure)
    context._enter(None)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(place.home)
    os.environ.clear()
    os.environ.update(before)
    flush()
    spool.write(f"{place.home}/spool/{launch.attempt}.{fork.rank}", record)


def used() -> tuple[float, int]:
    """Returns the CPU seconds of this process and of the children it has reaped, and its peak resident bytes."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + reaped.ru_utime + reaped.ru_stime, own.ru_maxrss * 1024


def detach(parent: int, place: Place) -> None:
    """Makes a new process what an attempt is: its own session and group, dying with its zygote, limits as usual."""
    os.setsid()
    processes.die_with_parent()
    if os.getppid() != parent:
        os._exit(70)
    os.umask(place.umask)
    processes.limit_descriptors(place.descriptors)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def attach(output: int, error: int) -> None:
    """Makes these two pipes standard output and standard error."""
    os.dup2(output, 1)
    os.dup2(error, 2)
    os.close(output)
    os.close(error)


class Job(msgspec.Struct, frozen=True):
    """What a spawned interpreter must do, where a fork would be unsafe.

    Attributes:
        place: where things are, and the code to import.
        parent: pid of the zygote.
        path: its `sys.path`.
        fork: an attempt's process, a service's, or a definition.
        worker: or the name of a worker.
        cpu_millis: of the attempt that the worker is made for.
    """

    place: Place
    parent: int
    path: tuple[str, ...]
    fork: ipc.Fork | None = None
    worker: str = ""
    cpu_millis: int = 0


def import_all(place: Place, entry: str) -> BaseException | None:
    """Imports the preload set and the module of `entry`; returns what went wrong."""
    write_lines()
    try:
        for module in place.preload:
            importlib.import_module(module)
        if entry:
            module, _, name = entry.partition(":")
            if name:
                resolve(entry)
            else:
                importlib.import_module(module)
    except BaseException as error:
        return error
    return None


def spawned(job: int, descriptors: list[int]) -> NoReturn:
    """Entry point of an interpreter that a zygote spawned. Descriptors as for the message it stands for."""
    with open(job, "rb") as file:
        file.seek(0)
        work = msgspec.msgpack.decode(file.read(), type=Job)
    sys.path[:] = work.path
    if work.worker:
        connection, shared, output, error = descriptors
        os.set_inheritable(shared, False)
        os.set_inheritable(connection, False)
        detach(work.parent, work.place)
        attach(output, error)
        chosen = THREADS in os.environ
        if not chosen:
            os.environ.update(threads_of(work.cpu_millis))
        trouble = import_all(work.place, "")
        from clearance.engine.local.worker import Worker

        if not chosen:
            os.environ.pop(THREADS, None)
        Worker(work.worker, socket.socket(fileno=connection), shared, work.place, trouble, work.cpu_millis).serve()
    assert work.fork is not None
    detach(work.parent, work.place)
    start(work.fork, work.place, descriptors, None)


def start(fork: ipc.Fork, place: Place, descriptors: list[int], trouble: BaseException | None) -> NoReturn:
    """Runs what a `Fork` asks for, in the process made for it.

    Args:
        fork: what to run.
        place: where things are.
        descriptors: as `ipc.Fork` says.
        trouble: why the zygote could not import what was asked of it; raised in place of the call.
    """
    if fork.launch.kind == "define":
        run_definition(fork.launch, descriptors[0])
    output, error, *report = descriptors
    attach(output, error)
    run_fresh(fork, place, report[0] if report else -1, trouble)


def wait(connection: socket.socket, place: Place, parent: int) -> NoReturn:
    """Waits for the one attempt that this process will run; what it needs is touched before, not while that runs."""
    detach(parent, place)
    channel = ipc.Packets(connection, ipc.Fork)
    sample = Launch(attempt="none.0", entry="none:none", nodes=("none",))
    facts_of(sample, 0, place, place.home, None)
    serializers.dump(0, int, _blobs_of(place.blobs), Path(place.home))
    msgspec.msgpack.decode(ipc.encode([ipc.Fork(sample)]), type=list[ipc.Fork])
    spool.read(os.path.join(place.home, "spool", "none"))
    packet = channel.take()
    if packet is None or not packet[0]:
        os._exit(0)
    connection.close()
    (fork,), descriptors = packet
    start(fork, place, descriptors, None)
