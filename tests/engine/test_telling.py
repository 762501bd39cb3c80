"""What warm workers tell the controller themselves: never lost, never twice, and in order."""

from __future__ import annotations

import itertools
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clearance.engine.base import Finished, Started
from clearance.engine.conformance import Bench, is_alive, unpack, value_of, wait_until
from clearance.engine.local import spool
from clearance.engine.local.engine import LocalEngine
from clearance.settings import Settings

PIPELINE = '''
import os, socket, time
from pathlib import Path
from clearance.engine.local import ipc

def pid() -> int:
    return os.getpid()

def hold(go: str) -> int:
    """From now on this worker answers the supervisor only once `go` exists: whatever it tells comes long before."""
    flush = ipc.Packets.flush
    def held(channel):
        while not os.path.exists(go):
            time.sleep(0.002)
        return flush(channel)
    ipc.Packets.flush = held
    return os.getpid()

def until(go: str) -> int:
    while not os.path.exists(go):
        time.sleep(0.002)
    return 7

def deaf() -> int:
    """From now on no datagram of this worker can be sent."""
    class Socket(socket.socket):
        def send(self, *data):
            if self.type == socket.SOCK_DGRAM:
                raise BlockingIOError
            return super().send(*data)
    socket.socket = Socket
    return 1

def much(lines: int) -> int:
    for number in range(lines):
        print("line", number)
    os.system("echo the end")
    return lines

def long(size: int) -> str:
    return "x" * size'''

CONTROLLER = """
import sys
from pathlib import Path
from clearance.engine.conformance import Bench
from clearance.engine.local.engine import LocalEngine
from clearance.settings import Settings

home, bundle, go = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
engine = LocalEngine(Settings(home=home))
bench = Bench(engine, home, engine.adopt(2))
bench.run("a.1", "hold", "worker", bundle=bundle, go=go)
print("told", flush=True)
sys.stdin.read()
"""


class Telling:
    """A bench with this module's pipeline."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.bundle = unpack(bench.home, {"pipeline.py": PIPELINE})
        self.go = bench.mark("go")

    def launch(self, key: str, function: str, bench: Bench | None = None, **how: object) -> None:
        (bench or self.bench).launch(key, function, "worker", bundle=self.bundle, **how)

    def run(self, key: str, function: str, bench: Bench | None = None, **how: object) -> Finished:
        self.launch(key, function, bench, **how)
        return (bench or self.bench).finished(key)

    def release(self) -> None:
        Path(self.go).touch()

    def adopted(self, epoch: int) -> Bench:
        engine = LocalEngine(Settings(home=self.bench.home))
        return Bench(engine, self.bench.home, engine.adopt(epoch))


@pytest.fixture
def telling(bench: Bench) -> Iterator[Telling]:
    one = Telling(bench)
    yield one
    one.release()


def ends(bench: Bench) -> list[str]:
    return [event.attempt for event in bench.seen if isinstance(event, Finished)]


def starts(bench: Bench) -> list[str]:
    return [event.attempt for event in bench.seen if isinstance(event, Started)]


def read_all(bench: Bench) -> None:
    """Waits until the supervisor has done what it was told before, and takes what it has said."""
    bench.run(f"barrier-{next(_numbers)}.1", "nothing")


_numbers = itertools.count()


def direct_of(home: Path) -> list[Path]:
    return list(home.glob("direct-*.sock"))


def test_the_next_controller_is_told_at_its_own_socket(telling: Telling) -> None:
    worker = value_of(telling.run("a.1", "pid").result)
    first = direct_of(telling.bench.home)
    read_all(telling.bench)
    second = telling.adopted(2)
    assert len(direct_of(telling.bench.home)) == 1
    assert direct_of(telling.bench.home) != first
    assert value_of(telling.run("b.1", "pid", second).result) == worker
    assert (starts(second), ends(second)) == (["b.1"], ["b.1"])


def test_a_worker_that_runs_while_the_leader_changes_is_told_of_by_the_supervisor(telling: Telling) -> None:
    telling.launch("a.1", "until", go=telling.go)
    telling.bench.until(Started, "a.1")
    telling.bench.engine.close(stop=False)
    second = telling.adopted(2)
    assert [started.attempt for started in second.snapshot.running] == ["a.1"]
    telling.release()
    assert value_of(second.finished("a.1").result) == 7
    read_all(second)
    assert ends(second).count("a.1") == 1


def test_what_was_told_to_a_leader_that_is_no_more_is_told_to_the_next_one(telling: Telling) -> None:
    """The first leader lives on and has taken the datagram; the supervisor reads the answer when the second leads."""
    telling.run("a.1", "hold", go=telling.go)
    for epoch in (2, 2):  # a second adoption with the same epoch is another leader too
        second = telling.adopted(epoch)
        assert [started.attempt for started in second.snapshot.running] == ["a.1"]
    telling.release()
    assert second.finished("a.1").outcome == "success"


def test_a_controller_killed_before_its_commit_leaves_the_result_to_the_next_one(telling: Telling) -> None:
    command = [sys.executable, "-c", CONTROLLER, str(telling.bench.home), telling.bundle, telling.go]
    controller = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert controller.stdout is not None
    assert controller.stdout.readline() == b"told\n"
    controller.kill()
    controller.wait()
    telling.release()
    records = telling.bench.home / "spool"
    log = next(path for path in records.iterdir() if path.suffix == ".log")
    assert [record.attempt for record in spool.records(str(log))] == ["a.1"]
    second = telling.adopted(3)
    if not second.snapshot.finished:  # the worker's answer was still on its way
        second.finished("a.1")
    third = telling.adopted(4)
    assert [event.attempt for event in third.snapshot.finished] == ["a.1"]


def test_an_acknowledgement_before_the_answer_leaves_nothing_behind(telling: Telling) -> None:
    worker = value_of(telling.run("a.1", "hold", go=telling.go).result)
    telling.bench.engine.acknowledge(["a.1"])
    read_all(telling.bench)
    second = telling.adopted(2)
    assert second.snapshot.running == ()
    assert "a.1" not in {event.attempt for event in second.snapshot.finished}
    telling.release()
    assert value_of(telling.run("b.1", "pid", second).result) != 0
    read_all(second)
    assert "a.1" not in ends(second)
    assert "a.1" not in {event.attempt for event in telling.adopted(3).snapshot.finished}
    assert "a.1" in (telling.bench.home / "spool" / "acknowledged").read_text().split()
    assert is_alive(worker)


def test_a_worker_killed_between_telling_and_answering_is_heard_once(telling: Telling) -> None:
    worker = value_of(telling.run("a.1", "hold", go=telling.go).result)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not is_alive(worker), "the death of the worker")
    telling.bench.run("b.1", "pid", bundle=telling.bundle)  # its zygote has told of that death before
    assert value_of(telling.run("c.1", "pid").result) != worker
    assert ends(telling.bench).count("a.1") == 1
    assert telling.bench.finished("a.1").outcome == "success"
    assert "a.1" in {event.attempt for event in telling.adopted(2).snapshot.finished}


def test_the_start_of_a_long_task_is_told_before_its_end_and_once(telling: Telling) -> None:
    telling.run("warm.1", "pid")
    telling.launch("a.1", "until", go=telling.go)
    telling.bench.until(Started, "a.1")
    assert "a.1" not in ends(telling.bench)
    telling.release()
    telling.bench.finished("a.1")
    read_all(telling.bench)
    assert starts(telling.bench).count("a.1") == 1


def test_an_attempt_that_is_over_cannot_be_ended_any_more_and_its_worker_goes_on(telling: Telling) -> None:
    worker = value_of(telling.run("a.1", "hold", go=telling.go, timeout=1.0, grace=0.0).result)
    telling.launch("b.1", "pid")
    telling.bench.engine.cancel(["a.1"], 0.0)
    telling.bench.run("c.1", "sleep", seconds=1.0)  # over the timeout of the first
    telling.release()
    assert value_of(telling.bench.finished("b.1").result) == worker
    assert telling.bench.finished("a.1").outcome == "success"
    assert ends(telling.bench).count("a.1") == 1


def test_a_worker_that_dies_with_the_next_attempt_before_it_has_answered_loses_neither(telling: Telling) -> None:
    worker = value_of(telling.run("a.1", "hold", go=telling.go).result)
    telling.launch("b.1", "pid")
    telling.bench.until(Started, "b.1")
    os.kill(worker, signal.SIGKILL)
    failure = telling.bench.finished("b.1").failure
    assert failure is not None
    assert failure.kind == "signal"
    found = {event.attempt: event.outcome for event in telling.adopted(2).snapshot.finished}
    assert found == {"a.1": "success", "b.1": "failure"}


def test_a_worker_that_has_told_is_used_by_the_next_launch(telling: Telling) -> None:
    assert len({value_of(telling.run(f"a{number}.1", "pid").result) for number in range(100)}) == 1
    assert starts(telling.bench) == ends(telling.bench)


@pytest.mark.parametrize("why", ["removed", "unsent", "too large"])
def test_a_success_that_cannot_be_told_directly_arrives(telling: Telling, why: str) -> None:
    if why == "removed":
        for path in direct_of(telling.bench.home):
            path.unlink()
    elif why == "unsent":
        telling.run("a.1", "deaf")
    finished = telling.run("b.1", "long", size=100_000 if why == "too large" else 10)
    assert finished.outcome == "success"
    read_all(telling.bench)
    assert (starts(telling.bench).count("b.1"), ends(telling.bench).count("b.1")) == (1, 1)


def test_the_log_of_a_workers_attempt_is_whole_when_its_end_is_known(telling: Telling) -> None:
    for number, lines in enumerate((1, 10, 10_000, 1, 0)):
        key = f"a{number}.1"
        telling.run(key, "much", lines=lines)
        wanted = "".join(f"line {each}\n" for each in range(lines)) + "the end\n"
        assert sorted(telling.bench.output(key).splitlines()) == sorted(wanted.splitlines())
    telling.bench.engine.close(stop=False)
    assert telling.bench.output("a2.1").count("\n") == 10_001


def test_a_refused_controller_leaves_the_leaders_socket_alone(telling: Telling) -> None:
    before = telling.adopted(5)
    sockets = direct_of(telling.bench.home)
    with pytest.raises(Exception, match="epoch 5"):
        telling.adopted(4)
    assert direct_of(telling.bench.home) == sockets
    assert telling.run("a.1", "pid", before).outcome == "success"


def test_a_launch_on_its_way_to_a_stopping_supervisor_is_not_begun(telling: Telling) -> None:
    from clearance.engine.base import EngineLost
    from clearance.engine.local import ipc

    bench = telling.bench
    bench.launch("a.1", "stubborn", mark=bench.mark("m"), grace=1.0)
    bench.wait_mark("m")
    bench.engine._say(ipc.Close(True))  # type: ignore[attr-defined]
    bench.launch("b.1", "sleep", mark=bench.mark("begun"), seconds=0.0)
    assert telling.bench.until(EngineLost)
    second = telling.adopted(2)
    assert {event.attempt: event.outcome for event in second.snapshot.finished} == {"a.1": "cancelled"}
    assert second.snapshot.running == ()
    assert starts(bench) == ["a.1"]
    assert not Path(bench.mark("begun")).exists()


def test_a_controller_that_comes_while_the_supervisor_stops_gets_the_next_one(telling: Telling) -> None:
    from clearance.engine.local import ipc

    bench = telling.bench
    bench.launch("a.1", "stubborn", mark=bench.mark("m"), grace=1.0)
    bench.wait_mark("m")
    bench.engine._say(ipc.Close(True))  # type: ignore[attr-defined]
    second = telling.adopted(2)
    assert [(event.attempt, event.outcome) for event in second.snapshot.finished] == [("a.1", "cancelled")]
    assert second.run("b.1", "add", a=1, b=1).outcome == "success"
    assert select.select([bench.engine], [], [], 30)[0]
