"""Workers that are lent to the controller: it sends to them itself, and whoever leads next still knows what runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clearance.engine.base import Finished, Launch, Started
from clearance.engine.conformance import Bench, unpack, value_of, wait_until
from clearance.engine.local import slate
from clearance.engine.local.engine import LocalEngine
from clearance.engine.local.ipc import Run
from clearance.settings import Settings

PIPELINE = """
import os, time
from pathlib import Path

def pid() -> int:
    return os.getpid()

def leave(mark: str) -> int:
    Path(mark).touch()
    return os.getpid()

def until(mark: str, go: str) -> int:
    Path(mark).touch()
    while not os.path.exists(go):
        time.sleep(0.002)
    return os.getpid()
"""


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does nothing meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def bundle(bench: Bench) -> str:
    return unpack(bench.home, {"pipeline.py": PIPELINE})


def supervisor_of(bench: Bench) -> int:
    engine = bench.engine
    assert isinstance(engine, LocalEngine)
    return engine._child


def adopted(bench: Bench, epoch: int) -> Bench:
    engine = LocalEngine(Settings(home=bench.home))
    return Bench(engine, bench.home, engine.adopt(epoch))


def test_a_second_attempt_comes_to_the_worker_though_the_supervisor_does_nothing(bench: Bench, bundle: str) -> None:
    worker = value_of(bench.run("a.1", "pid", "worker", bundle=bundle).result)
    with stopped(supervisor_of(bench)):
        assert value_of(bench.run("b.1", "pid", "worker", bundle=bundle).result) == worker
        assert value_of(bench.run("c.1", "pid", "worker", bundle=bundle).result) == worker


def test_the_next_controller_finds_what_was_taken_before_the_supervisor_heard_of_it(bench: Bench, bundle: str) -> None:
    mark, go = bench.mark("mark"), bench.mark("go")
    bench.run("a.1", "pid", "worker", bundle=bundle)
    with stopped(supervisor_of(bench)):
        bench.launch("b.1", "until", "worker", bundle=bundle, mark=mark, go=go)
        wait_until(lambda: os.path.exists(mark), "the worker takes it")
    second = adopted(bench, 2)
    assert [started.attempt for started in second.snapshot.running] == ["b.1"]
    Path(go).touch()
    assert second.finished("b.1").outcome == "success"


def test_what_ended_before_the_supervisor_heard_of_it_is_in_the_next_snapshot(bench: Bench, bundle: str) -> None:
    mark = bench.mark("mark")
    bench.run("a.1", "pid", "worker", bundle=bundle)
    with stopped(supervisor_of(bench)):
        bench.launch("b.1", "leave", "worker", bundle=bundle, mark=mark)
        wait_until(lambda: os.path.exists(mark), "the worker runs it")
    second = adopted(bench, 2)
    known = {event.attempt for event in (*second.snapshot.finished, *second.snapshot.running)}
    assert "b.1" in known
    if "b.1" not in {event.attempt for event in second.snapshot.finished}:
        assert second.finished("b.1").outcome == "success"


def test_a_controller_that_leads_no_more_sends_to_no_worker(bench: Bench, bundle: str) -> None:
    mark = bench.mark("mark")
    worker = value_of(bench.run("a.1", "pid", "worker", bundle=bundle).result)
    bench.run("barrier.1", "nothing")  # by then the supervisor knows that the worker is idle
    second = adopted(bench, 2)
    bench.launch("b.1", "leave", "worker", bundle=bundle, mark=mark)
    assert value_of(second.run("c.1", "pid", "worker", bundle=bundle).result) == worker
    assert not os.path.exists(mark)


def test_a_worker_that_is_killed_with_what_it_was_sent_fails_that_and_another_is_made(
    bench: Bench, bundle: str
) -> None:
    mark, go = bench.mark("mark"), bench.mark("go")
    worker = value_of(bench.run("a.1", "pid", "worker", bundle=bundle).result)
    bench.launch("b.1", "until", "worker", bundle=bundle, mark=mark, go=go)
    wait_until(lambda: os.path.exists(mark), "the worker takes it")
    os.kill(worker, signal.SIGKILL)
    ended: Finished = bench.finished("b.1")
    assert (ended.outcome, ended.failure.kind if ended.failure else "") == ("failure", "signal")
    assert value_of(bench.run("c.1", "pid", "worker", bundle=bundle).result) != worker


def test_one_that_was_sent_and_lasts_is_told_to_have_started_and_can_be_cancelled(bench: Bench, bundle: str) -> None:
    mark, go = bench.mark("mark"), bench.mark("go")
    bench.run("a.1", "pid", "worker", bundle=bundle)
    bench.launch("b.1", "until", "worker", bundle=bundle, mark=mark, go=go)
    bench.until(Started, "b.1")
    bench.engine.cancel(["b.1"], 0.0)
    assert bench.finished("b.1").outcome == "cancelled"


def test_many_in_a_row_are_each_told_once_and_leave_nothing(bench: Bench, bundle: str) -> None:
    for number in range(50):
        key = f"r.{number}.1"
        assert bench.run(key, "pid", "worker", bundle=bundle).outcome == "success"
        bench.engine.acknowledge([key])
    bench.run("last.1", "pid", "worker", bundle=bundle)
    bench.engine.acknowledge(["last.1"])
    ends = [event.attempt for event in bench.seen if isinstance(event, Finished)]
    assert len(ends) == len(set(ends)) == 51
    assert adopted(bench, 2).snapshot.finished == ()


def test_a_slate_lets_nothing_be_taken_once_the_loan_is_over() -> None:
    shared = slate.make()
    run = Run(Launch(attempt="a.1", entry="m:f"), "direct", 1)
    slate.put_loan(shared, 1)
    assert slate.run_of(shared) is None
    assert slate.take(shared, run)
    assert slate.run_of(shared) == run
    slate.put_loan(shared, 2)
    assert not slate.take(shared, run)
    assert slate.run_of(shared) is None
    os.close(shared)


def test_what_is_half_written_on_a_slate_counts_as_nothing() -> None:
    shared = slate.make()
    slate.put_loan(shared, 1)
    slate.take(shared, Run(Launch(attempt="a.1", entry="m:f"), "direct", 1))
    whole = os.pread(shared, 4096, 0)
    os.pwrite(shared, bytes([whole[40] ^ 1]), 40)
    assert slate.run_of(shared) is None
    os.close(shared)


def test_who_succeeds_after_the_notice_of_a_timeout_takes_no_other_attempt_with_it(bench: Bench) -> None:
    bench.run("warm.1", "pid", "worker")
    for number in range(3):
        a, b = f"a{number}.1", f"b{number}.1"
        ended = bench.run(a, "finish_on_notice", "worker", mark=bench.mark(a), timeout=1.0, grace=60.0)
        assert ended.outcome == "success"
        assert bench.run(b, "pid", "worker").outcome in ("success", "lost")
