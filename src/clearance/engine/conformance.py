"""What every engine must do, as tests that any engine can be run through.

A test module makes a subclass whose `engine` fixture yields an adopted `Bench`; pytest collects the rest:

    class TestLocalEngine(Conformance):
        @pytest.fixture
        def bench(self, tmp_path): ...

`PIPELINE` is the pipeline the tests launch; `unpack` puts it where an engine finds a bundle. Times are limits against
a hang, never measurements.
"""

from __future__ import annotations

import hashlib
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from clearance.engine.base import (
    Defined,
    Engine,
    EngineLost,
    Event,
    Finished,
    Launch,
    NodeGone,
    NodeReady,
    Ready,
    Scaling,
    Signal,
    Snapshot,
    Started,
    Unwatched,
)  # fmt: skip
from clearance.engine.local import frames
from clearance.errors import EngineError
from clearance.types.artifact import Artifact, Literal
from clearance.types.deferral import Resumed

LIMIT = 30.0
N = TypeVar("N", NodeReady, NodeGone)
E = TypeVar("E", Started, Ready, Finished, Defined, EngineLost)

PIPELINE = '''
"""The pipeline of the conformance suite."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from clearance import Defer, Evicted, context, dag, task


def add(a: int, b: int) -> int:
    return a + b


def total(values: list[int]) -> int:
    return sum(values)


def nothing() -> None:
    return None


def shout() -> int:
    print("to output")
    print("to error", file=sys.stderr)
    os.system("echo from a child")
    return 1


def fail() -> None:
    raise KeyError("the key is missing")


def waits() -> str:
    if context.resumed is None:
        raise Defer("run", "other/1", timeout=60, state={"page": 2})
    return f"{context.resumed.state['page']} {context.resumed.payload['state']} {context.resumed.times}"


def leave(code: int) -> None:
    os._exit(code)


def sys_exit() -> None:
    sys.exit(3)


def die(signum: int) -> None:
    os.kill(os.getpid(), signum)
    time.sleep(60)


def pid() -> int:
    return os.getpid()


def sleep(seconds: float, mark: str = "") -> float:
    if mark:
        Path(mark).touch()
    time.sleep(seconds)
    return seconds


def stubborn(mark: str) -> None:
    """Ignores notice; leaves a grandchild in the group and one in a session of its own, both as stubborn."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    code = "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    code += "print(os.getpid(), flush=True); time.sleep(600)"
    pids = []
    for own in (False, True):
        child = subprocess.Popen([sys.executable, "-c", code], start_new_session=own, stdout=subprocess.PIPE, text=True)
        pids.append(child.stdout.readline().strip())
    tell(mark, " ".join(pids))
    time.sleep(600)


def leave_orphans(mark: str) -> int:
    """Returns while a grandchild in a session of its own goes on."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"],
        start_new_session=True, stdout=subprocess.PIPE,
    )
    child.stdout.readline()
    tell(mark, str(child.pid))
    return child.pid


def daemonise(mark: str) -> int:
    """Leaves a process behind that was forked twice and executed nothing."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            tell(mark, str(os.getpid()))
            os.write(writer, b".")
            time.sleep(600)
        os._exit(0)
    os.read(reader, 1)
    return 1


def tell(mark: str, text: str) -> None:
    Path(mark + "~").write_text(text)
    os.rename(mark + "~", mark)


def stopped(mark: str) -> None:
    tell(mark, str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(600)


def save_on_notice(mark: str) -> None:
    def notice(number, frame):
        (context.checkpoint_dir / "state").write_text(f"grace {context.grace:g}")
        raise SystemExit(1)

    signal.signal(signal.SIGTERM, notice)
    tell(mark, "ready")
    time.sleep(600)


def go_on(mark: str, enough: str) -> list:
    """Counts until it has counted enough; leaves on notice, and goes on from where it was."""
    file = context.checkpoint_dir / f"rank-{context.rank}"
    begun = seen = int(file.read_text()) if file.exists() else 0
    if context.evicting:
        raise AssertionError("told to leave before it began")
    tell(f"{mark}.{context.rank}", str(os.getpid()))
    while not os.path.exists(enough):
        seen += 1
        time.sleep(0.001)
        if context.evicting:
            file.write_text(str(seen))
            raise Evicted
    return [begun, context.node, os.environ["CLEARANCE_NODE"]]


def finish_on_notice(mark: str) -> int:
    evicting = context.evicting
    tell(mark, "ready")
    while not evicting:
        time.sleep(0.001)
        evicting = context.evicting
    return 7


def where(look: bool) -> list:
    if look and context.evicting:
        raise Evicted
    print(context.node, os.environ["CLEARANCE_NODE"], os.environ.get("CUDA_VISIBLE_DEVICES", "untouched"))
    return [context.node, os.environ["CLEARANCE_NODE"], os.environ.get("CUDA_VISIBLE_DEVICES", "untouched")]


def count() -> int:
    file = context.checkpoint_dir / "count"
    seen = int(file.read_text()) if file.exists() else 0
    file.write_text(str(seen + 1))
    return seen


def facts() -> list[str]:
    return [
        context.run, context.task, str(context.instance), context.attempt, str(context.number),
        str(context.rank), str(context.size), f"{context.grace:g}", str(context.directory == Path.cwd()),
    ]


def variable(name: str) -> str:
    return os.environ.get(name, "unset")


def rank_of() -> str:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR")
    seen = [os.environ[name] for name in names]
    print("rank", context.rank, *seen)
    return " ".join([str(context.rank), str(context.size), *seen])


def fail_on(rank: int) -> None:
    if context.rank == rank:
        raise RuntimeError("this rank fails")
    time.sleep(600)


def all_reduce() -> float:
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=context.rendezvous, rank=context.rank, world_size=context.size)
    value = torch.tensor([float(context.rank + 1)])
    dist.all_reduce(value)
    dist.destroy_process_group()
    return float(value)


def serve(config: dict) -> None:
    context.ready({"url": config["url"], "pid": os.getpid()})
    time.sleep(600)


def litter() -> list[str]:
    before = sorted(os.listdir())
    Path("litter").write_text("x")
    return before


def big(size: int) -> bytes:
    return b"x" * size


@task
def three() -> int:
    return 3


@task
def double(value: int) -> int:
    return 2 * value


chained = dag("chained", three >> double)
'''


def unpack(home: Path, files: dict[str, str] | None = None) -> str:
    """Writes a bundle to `home/bundles/<hex>` and returns its digest.

    Args:
        home: the installation.
        files: text by name; the suite's `pipeline.py` where none are given.
    """
    files = files or {"pipeline.py": PIPELINE}
    name = hashlib.sha256(msgspec.json.encode(files, order="deterministic")).hexdigest()
    directory = home / "bundles" / name
    directory.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (directory / file).write_text(text)
    return "sha256:" + name


def value_of(artifact: Artifact | None) -> Any:
    """Returns the value of a small JSON result."""
    assert artifact is not None
    assert artifact.inline is not None
    return msgspec.json.decode(artifact.inline)


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Waits for something outside the engine (a file that a task writes, a process that ends).

    Raises:
        AssertionError: it did not come about within `LIMIT` seconds.
    """
    end = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < end, f"{what}: not within {LIMIT:g} s"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    """Returns whether a process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Bench:
    """An adopted engine, and the few words in which the tests speak to it.

    Args:
        engine: the engine.
        home: the installation, where marks can be left and logs are found.
        snapshot: what `adopt` returned.
    """

    def __init__(self, engine: Engine, home: Path, snapshot: Snapshot) -> None:
        self.engine = engine
        self.home = home
        self.snapshot = snapshot
        self.bundle = unpack(home)
        self.seen: list[Event] = []
        self.marks = home / "marks"
        self.marks.mkdir(exist_ok=True)

    def make(self, attempt: str, function: str, isolation: str = "process", **how: Any) -> Launch:
        """Returns a launch; keywords that `Launch` does not know become arguments."""
        known = {name: how.pop(name) for name in list(how) if name in Launch.__struct_fields__}
        known.setdefault("bundle", self.bundle)
        known.setdefault("arguments", {name: Literal(value) for name, value in how.items()})
        known.setdefault("grace", 5.0)
        return Launch(attempt=attempt, entry=f"pipeline:{function}", isolation=isolation, **known)

    def launch(self, attempt: str, function: str, isolation: str = "process", **how: Any) -> None:
        """Launches one."""
        self.engine.launch([self.make(attempt, function, isolation, **how)])

    def observe(self) -> None:
        """Waits for the engine to have something, and takes it."""
        lost = [event for event in self.seen if isinstance(event, EngineLost)]
        assert not lost, f"the engine is lost: {lost}"
        poll = select.poll()
        poll.register(self.engine.fileno(), select.POLLIN)
        assert poll.poll(LIMIT * 1000), f"the engine said nothing for {LIMIT:g} s after {self.seen[-3:]}"
        self.seen += self.engine.observe()

    def until(self, kind: type[E], *attempts: str) -> list[E]:
        """Waits for an event of this kind for each of the attempts, and returns them in that order."""
        while True:
            found = {self._name(event): event for event in self.seen if isinstance(event, kind)}
            if all(attempt in found for attempt in attempts) and (attempts or found):
                return [found[attempt] for attempt in attempts] or list(found.values())
            self.observe()

    def nodes(self, kind: type[N], count: int) -> list[N]:
        """Waits until so many nodes have come, or have gone, and returns these events."""
        end = time.monotonic() + LIMIT
        while len(found := [event for event in self.seen if isinstance(event, kind)]) < count:
            assert time.monotonic() < end, f"{found} is all within {LIMIT:g} s"
            time.sleep(min(max(self.engine.due - time.time(), 0.0), 1.0))
            self.seen += self.engine.observe()
        return found

    @staticmethod
    def _name(event: Event) -> str:
        if isinstance(event, EngineLost | Signal | Unwatched | NodeReady | NodeGone):
            return ""
        return event.request if isinstance(event, Defined) else event.attempt

    def finished(self, attempt: str) -> Finished:
        """Waits for the end of one."""
        return self.until(Finished, attempt)[0]

    def run(self, attempt: str, function: str, isolation: str = "process", **how: Any) -> Finished:
        """Launches one and waits for its end."""
        self.launch(attempt, function, isolation, **how)
        return self.finished(attempt)

    def time_out(self, name: str, isolation: str) -> tuple[Finished, list[int]]:
        """Lets `stubborn` run into its timeout; returns its end and the pids of the grandchildren that it started.

        A busy machine may not have started them when the time is over: then it is tried again with more of it.
        """
        for number, timeout in enumerate((1.0, 4.0, 16.0), 1):
            key = f"{name}.{number}"
            finished = self.run(key, "stubborn", isolation, mark=self.mark(key), timeout=timeout, grace=0.2)
            if (self.marks / key).exists():
                break
        return finished, [int(part) for part in self.wait_mark(key).split()]

    def output(self, attempt: str, stream: int = frames.STDOUT, rank: int = 0) -> str:
        """Returns what an attempt wrote."""
        found, _ = frames.read(self.home / "logs" / f"{attempt}.frames")
        return b"".join(frame.data for frame in found if frame.stream == stream and frame.rank == rank).decode()

    def mark(self, name: str) -> str:
        """Returns a path at which a task can leave a mark."""
        return str(self.marks / name)

    def wait_mark(self, name: str) -> str:
        """Waits for that mark and returns what it says."""
        path = self.marks / name
        wait_until(path.exists, f"the mark {name}")
        return path.read_text()


class Conformance:
    """The suite. A subclass provides the fixture `bench`."""

    def test_a_result_comes_back_and_started_comes_before_finished(self, bench: Bench) -> None:
        finished = bench.run("a.1", "add", a=1, b=2)
        assert (finished.outcome, value_of(finished.result)) == ("success", 3)
        kinds = [type(event) for event in bench.seen]
        assert kinds == [Started, Finished]
        assert len(bench.until(Started, "a.1")[0].pids) == 1

    def test_none_is_success_without_a_result(self, bench: Bench) -> None:
        finished = bench.run("a.1", "nothing")
        assert (finished.outcome, finished.result) == ("success", None)

    def test_an_exception_becomes_a_failure_with_its_bases_and_the_users_traceback(self, bench: Bench) -> None:
        finished = bench.run("a.1", "fail")
        failure = finished.failure
        assert finished.outcome == "failure"
        assert failure is not None
        assert failure.kind == "builtins.KeyError"
        assert "builtins.LookupError" in failure.bases
        assert "pipeline.py" in failure.traceback
        assert "engine/local" not in failure.traceback

    def test_a_wait_ends_the_attempt_and_is_told_to_the_next(self, bench: Bench) -> None:
        for isolation in ("process", "worker", "inline"):
            finished = bench.run(f"{isolation}.waits.1", "waits", isolation)
            assert finished.failure is not None
            assert "clearance.errors.Defer" in finished.failure.bases
            told = {name: finished.failure.data[name] for name in ("kind", "key", "timeout", "state")}
            assert told == {"kind": "run", "key": "other/1", "timeout": 60, "state": {"page": 2}}
            resumed = Resumed("run", "other/1", {"page": 2}, {"state": "success"}, 1000.0, 3)
            finished = bench.run(f"{isolation}.waits.2", "waits", isolation, resumed=resumed)
            assert value_of(finished.result) == "2 success 3"

    def test_an_exit_without_a_result_is_a_failure(self, bench: Bench) -> None:
        for attempt, code in (("a.1", 0), ("b.1", 7)):
            failure = bench.run(attempt, "leave", code=code).failure
            assert failure is not None
            assert failure.kind == "exit"
            assert f"exit code {code}" in failure.message

    def test_sys_exit_is_a_failure_that_says_so(self, bench: Bench) -> None:
        failure = bench.run("a.1", "sys_exit").failure
        assert failure is not None
        assert failure.kind == "exit"
        assert "sys.exit(3)" in failure.message

    def test_a_signal_is_named(self, bench: Bench) -> None:
        for attempt, number in (("a.1", signal.SIGKILL), ("b.1", signal.SIGSEGV)):
            failure = bench.run(attempt, "die", signum=int(number)).failure
            assert failure is not None
            assert failure.kind == "signal"
            assert number.name in failure.message

    def test_output_error_and_what_children_write_are_in_the_log_before_finished(self, bench: Bench) -> None:
        bench.run("a.1", "shout")
        assert sorted(bench.output("a.1").split("\n")) == ["", "from a child", "to output"]
        assert bench.output("a.1", frames.STDERR) == "to error\n"

    def test_context_knows_the_task(self, bench: Bench) -> None:
        finished = bench.run("a.4", "facts", run="r1", task="train", instance=2, number=3, grace=7.0)
        assert value_of(finished.result) == ["r1", "train", "2", "a.4", "3", "0", "1", "7", "True"]

    def test_a_launch_with_a_known_key_is_not_launched_again(self, bench: Bench) -> None:
        launch = bench.make("a.1", "count", checkpoint="c")
        bench.engine.launch([launch, launch])
        bench.engine.launch([launch])
        assert value_of(bench.finished("a.1").result) == 0
        bench.engine.launch([launch])
        assert value_of(bench.run("b.1", "count", checkpoint="c").result) == 1
        assert sum(isinstance(event, Finished) for event in bench.seen) == 2

    def test_a_timeout_ends_grandchildren_that_ignore_notice(self, bench: Bench) -> None:
        finished, pids = bench.time_out("a", "process")
        assert finished.outcome == "timeout"
        assert finished.failure is not None
        assert finished.failure.kind == "timeout"
        assert [is_alive(pid) for pid in pids] == [False, False]

    def test_what_a_successful_task_leaves_running_is_ended(self, bench: Bench) -> None:
        for attempt, function in (("a.1", "leave_orphans"), ("b.1", "daemonise")):
            finished = bench.run(attempt, function, mark=bench.mark(attempt))
            assert finished.outcome == "success"
            assert not is_alive(int(bench.wait_mark(attempt)))

    def test_cancel_and_eviction_name_the_outcome_and_give_notice(self, bench: Bench) -> None:
        for attempt, outcome in (("a.1", "cancelled"), ("b.1", "evicted")):
            bench.launch(attempt, "save_on_notice", mark=bench.mark(attempt), checkpoint=f"c{attempt}", grace=5.0)
            bench.wait_mark(attempt)
            bench.engine.cancel([attempt], 5.0, outcome)
            finished = bench.finished(attempt)
            assert finished.outcome == outcome
            assert finished.failure is not None
            assert finished.failure.kind == outcome
            assert (bench.home / "checkpoints" / f"c{attempt}" / "state").read_text() == "grace 5"

    def test_evicted_work_goes_on_from_its_checkpoint_on_another_node(self, bench: Bench) -> None:
        first, other = bench.engine.nodes()[0].name, bench.engine.nodes()[-1].name
        for isolation in ("process", "worker", "inline"):
            name, enough = f"{isolation}-m", bench.mark(f"{isolation}-enough")
            how: dict[str, Any] = {
                "mark": bench.mark(name),
                "enough": enough,
                "checkpoint": f"{isolation}.c",
                "grace": 60.0,
            }
            bench.launch(f"{isolation}.a.1", "go_on", isolation, nodes=(first,), **how)
            bench.wait_mark(f"{name}.0")
            bench.engine.cancel([f"{isolation}.a.1"], 60.0, "evicted")
            finished = bench.finished(f"{isolation}.a.1")
            assert finished.outcome == "evicted"
            assert finished.failure is not None
            assert finished.failure.kind == "evicted"
            saved = int((bench.home / "checkpoints" / f"{isolation}.c" / "rank-0").read_text())
            Path(enough).touch()
            again = bench.run(f"{isolation}.a.2", "go_on", isolation, nodes=(other,), **how)
            assert value_of(again.result) == [saved, other, other]

    def test_who_finishes_within_the_grace_after_the_notice_has_succeeded(self, bench: Bench) -> None:
        for isolation in ("process", "worker", "inline"):
            key = f"{isolation}.1"
            bench.launch(key, "finish_on_notice", isolation, mark=bench.mark(key), grace=60.0)
            bench.wait_mark(key)
            bench.engine.cancel([key], 60.0, "evicted")
            finished = bench.finished(key)
            assert (finished.outcome, value_of(finished.result)) == ("success", 7)

    def test_every_rank_of_an_evicted_gang_saves_and_goes_on(self, bench: Bench) -> None:
        nodes = (bench.engine.nodes()[0].name, bench.engine.nodes()[-1].name)
        how: dict[str, Any] = {
            "mark": bench.mark("m"),
            "enough": bench.mark("enough"),
            "checkpoint": "c",
            "grace": 60.0,
        }
        bench.launch("a.1", "go_on", gang=2, nodes=nodes, **how)
        for rank in range(2):
            bench.wait_mark(f"m.{rank}")
        bench.engine.cancel(["a.1"], 60.0, "evicted")
        assert bench.finished("a.1").outcome == "evicted"
        saved = [int((bench.home / "checkpoints" / "c" / f"rank-{rank}").read_text()) for rank in range(2)]
        assert min(saved) > 0
        bench.launch("a.2", "go_on", gang=2, nodes=nodes[::-1], **how)
        (bench.marks / "enough").touch()
        assert value_of(bench.finished("a.2").result) == [saved[0], nodes[1], nodes[1]]

    def test_a_worker_that_was_told_to_leave_is_replaced(self, bench: Bench) -> None:
        bench.launch("a.1", "finish_on_notice", "worker", mark=bench.mark("m"), grace=60.0)
        bench.wait_mark("m")
        bench.engine.cancel(["a.1"], 60.0, "evicted")
        assert bench.finished("a.1").outcome == "success"
        told = bench.until(Started, "a.1")[0].pids[0]
        assert value_of(bench.run("b.1", "pid", "worker").result) != told
        wait_until(lambda: not is_alive(told), "the end of the worker that was told")

    def test_the_next_attempt_of_a_worker_is_ended_by_a_notice_it_does_not_ask_for(self, bench: Bench) -> None:
        bench.run("a.1", "where", "worker", look=True)
        bench.launch("b.1", "sleep", "worker", seconds=600, mark=bench.mark("m"))
        bench.wait_mark("m")
        bench.engine.cancel(["b.1"], 2 * LIMIT, "evicted")
        assert bench.finished("b.1").outcome == "evicted"
        assert bench.until(Started, "b.1")[0].pids == bench.until(Started, "a.1")[0].pids

    def test_an_evicted_service_ends_as_evicted(self, bench: Bench) -> None:
        bench.launch("s.1", "serve", kind="service", arguments={"config": Literal({"url": "http://127.0.0.1:1"})})
        bench.until(Ready, "s.1")
        bench.engine.cancel(["s.1"], 5.0, "evicted")
        assert bench.finished("s.1").outcome == "evicted"

    def test_every_process_knows_its_node_and_so_does_the_start(self, bench: Bench) -> None:
        first, other = bench.engine.nodes()[0].name, bench.engine.nodes()[-1].name
        for isolation in ("process", "worker", "inline"):
            for number, nodes in enumerate(((), (other,))):
                key = f"{isolation}.{number}.1"
                finished = bench.run(key, "where", isolation, look=False, nodes=nodes)
                expected = nodes[0] if nodes else first
                assert value_of(finished.result)[:2] == [expected, expected]
                assert bench.until(Started, key)[0].node == expected
        bench.run("gang.1", "where", look=False, gang=2, nodes=(other, first))
        assert bench.until(Started, "gang.1")[0].nodes == (other, first)
        for rank, node in enumerate((other, first)):
            assert bench.output("gang.1", rank=rank).split()[:2] == [node, node]

    def test_each_process_sees_its_devices_and_where_none_are_said_what_was_set(self, bench: Bench) -> None:
        before = value_of(bench.run("a.1", "where", "worker", look=False).result)[2]
        assert before == os.environ.get("CUDA_VISIBLE_DEVICES", "untouched")
        for isolation in ("process", "worker"):
            key = f"{isolation}.1"
            assert value_of(bench.run(key, "where", isolation, look=False, devices=((0, 1),)).result)[2] == "0,1"
        bench.run("gang.1", "where", look=False, gang=2, devices=((1,), ()))
        assert [bench.output("gang.1", rank=rank).split()[2:] for rank in range(2)] == [["1"], []]

    def test_traffic_is_told_or_why_it_is_not_counted(self, bench: Bench) -> None:
        bench.run("a.1", "nothing", tenant="root.suite")
        reason = ""
        found = []
        try:
            found = [each.tenant for each in bench.engine.traffic()]
        except EngineError as error:
            reason = str(error)
        assert found == ["root.suite"] or reason

    def test_a_stopped_process_is_ended_too(self, bench: Bench) -> None:
        bench.launch("a.1", "stopped", mark=bench.mark("m"))
        bench.wait_mark("m")
        bench.engine.cancel(["a.1"], 5.0)
        assert bench.finished("a.1").outcome == "cancelled"

    def test_the_checkpoint_directory_is_kept_for_the_next_attempt(self, bench: Bench) -> None:
        seen = [value_of(bench.run(f"a.{number}", "count", checkpoint="c").result) for number in (1, 2, 3)]
        assert seen == [0, 1, 2]

    def test_every_rank_of_a_gang_knows_its_place(self, bench: Bench) -> None:
        finished = bench.run("a.1", "rank_of", gang=3)
        assert value_of(finished.result) == "0 3 0 3 0 3 127.0.0.1"
        for rank in range(3):
            assert bench.output("a.1", rank=rank) == f"rank {rank} {rank} 3 {rank} 3 127.0.0.1\n"
        assert len(set(bench.until(Started, "a.1")[0].pids)) == 3

    def test_one_failed_rank_ends_the_gang_and_is_named(self, bench: Bench) -> None:
        finished = bench.run("a.1", "fail_on", gang=3, rank=1, grace=1.0)
        assert finished.outcome == "failure"
        assert finished.failure is not None
        assert finished.failure.rank == 1
        assert finished.failure.kind == "builtins.RuntimeError"
        assert not any(is_alive(pid) for pid in bench.until(Started, "a.1")[0].pids)

    def test_a_worker_is_reused_and_replaced_when_it_dies(self, bench: Bench) -> None:
        first = value_of(bench.run("a.1", "pid", "worker").result)
        assert value_of(bench.run("b.1", "pid", "worker").result) == first
        failure = bench.run("c.1", "die", "worker", signum=int(signal.SIGKILL)).failure
        assert failure is not None
        assert failure.kind == "signal"
        assert value_of(bench.run("d.1", "pid", "worker").result) != first

    def test_a_workers_output_belongs_to_the_attempt_that_wrote_it(self, bench: Bench) -> None:
        for attempt in ("a.1", "b.1"):
            bench.run(attempt, "shout", "worker")
            assert sorted(bench.output(attempt).split("\n")) == ["", "from a child", "to output"]
            assert bench.output(attempt, frames.STDERR) == "to error\n"

    def test_a_worker_starts_each_attempt_in_an_empty_directory(self, bench: Bench) -> None:
        assert [value_of(bench.run(key, "litter", "worker").result) for key in ("a.1", "b.1")] == [[], []]

    def test_a_workers_timeout_ends_its_attempt_alone(self, bench: Bench) -> None:
        bench.launch("a.1", "sleep", "worker", seconds=0.5)
        finished, pids = bench.time_out("b", "worker")
        assert bench.finished("a.1").outcome == "success"
        assert finished.outcome == "timeout"
        assert [is_alive(pid) for pid in pids] == [False, False]

    def test_inline_runs_in_a_process_that_stays(self, bench: Bench) -> None:
        first = bench.run("a.1", "pid", "inline")
        second = bench.run("b.1", "pid", "inline")
        assert value_of(first.result) == value_of(second.result)
        bench.run("c.1", "shout", "inline")
        assert "to output" in bench.output("c.1")

    def test_a_service_says_when_it_is_ready_and_ends_when_told(self, bench: Bench) -> None:
        config = {"config": Literal({"url": "http://127.0.0.1:1"})}
        bench.launch("s.1", "serve", kind="service", arguments=config)
        info = bench.until(Ready, "s.1")[0].info
        assert info["url"] == "http://127.0.0.1:1"
        assert info["pid"] == bench.until(Started, "s.1")[0].pids[0]
        bench.engine.cancel(["s.1"], 5.0)
        assert bench.finished("s.1").outcome == "cancelled"

    def test_define_returns_the_graph_as_json(self, bench: Bench) -> None:
        bench.engine.define("q", bench.bundle, "pipeline:chained", {})
        answer = bench.until(Defined, "q")[0]
        assert answer.error == ""
        assert [node["id"] for node in msgspec.json.decode(answer.graph)["nodes"]] == ["three", "double"]

    def test_define_says_what_is_wrong_and_where(self, bench: Bench) -> None:
        wrong = {
            "raises": ("x = 1\nx.y\n", "AttributeError", ":2"),
            "exits": ("import sys\nsys.exit(4)\n", "SystemExit", ":2"),
            "syntax": ("def f(:\n", "invalid syntax", ":1"),
            "dies": ("import os\nos._exit(9)\n", "exit code 9", ""),
        }
        for name, (code, what, where) in wrong.items():
            bench.engine.define(name, unpack(bench.home, {f"{name}.py": code}), f"{name}:", {})
            error = bench.until(Defined, name)[0].error
            assert what in error
            assert where in error

    def test_big_arguments_and_results_travel(self, bench: Bench) -> None:
        numbers = {"values": Literal(list(range(200_000)))}
        for key, isolation in (("a.1", "process"), ("b.1", "worker")):
            assert value_of(bench.run(key, "total", isolation, arguments=numbers).result) == sum(range(200_000))
        result = bench.run("c.1", "big", size=1 << 20).result
        assert result is not None
        assert result.size >= 1 << 20

    def test_many_attempts_at_once_all_finish(self, bench: Bench) -> None:
        keys = [f"a{number}.1" for number in range(60)]
        bench.engine.launch([bench.make(key, "add", "process", a=1, b=1) for key in keys[:30]])
        bench.engine.launch([bench.make(key, "add", "worker", a=1, b=1) for key in keys[30:]])
        assert {event.outcome for event in bench.until(Finished, *keys)} == {"success"}

    def test_secrets_of_the_installation_are_not_in_a_tasks_environment(self, bench: Bench) -> None:
        assert value_of(bench.run("a.1", "variable", name="CLEARANCE_DATABASE_URL").result) == "unset"
        wanted = bench.run("b.1", "variable", name="WANTED", environment={"WANTED": "yes"})
        assert value_of(wanted.result) == "yes"

    def test_the_node_offers_cpu_and_memory(self, bench: Bench) -> None:
        capacity = bench.engine.nodes()[0].capacity
        assert capacity["cpu"] >= 1000
        assert capacity["memory"] > 0

    def test_nodes_that_are_asked_for_come_once_can_be_used_and_go(self, bench: Bench) -> None:
        engine, before = bench.engine, [node.name for node in bench.engine.nodes()]
        order = Scaling("1.1", "rented", 2, {"cpu": 1000, "memory": 1 << 30, "gpu": 0}, 0.2)
        engine.scale([order, order])
        engine.scale([order])
        assert engine.starting() == {"rented": 2}
        came = bench.nodes(NodeReady, 2)
        names = [event.node.name for event in came]
        assert len({*names, *before}) == len(before) + 2
        assert {event.node.pool for event in came} == {"rented"}
        assert {*names} < {node.name for node in engine.nodes()}
        assert engine.starting() == {}
        assert bench.run("rent.1", "add", a=1, b=2, nodes=(names[1],)).outcome == "success"
        assert bench.until(Started, "rent.1")[0].node == names[1]
        engine.scale([Scaling("1.2", "rented", remove=(names[0], "never-there"))])
        assert [event.name for event in bench.nodes(NodeGone, 1)] == [names[0]]
        assert sorted(node.name for node in engine.nodes()) == sorted([*before, names[1]])
        engine.scale([Scaling("1.3", "rented", remove=(names[1],))])
        bench.nodes(NodeGone, 2)
