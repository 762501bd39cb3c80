"""What a step costs on the local engine, beside what the kernel asks for the same.

Prints `key: value` lines. Figures: a chain of steps, each in a fresh process or in a warm one; a fan-out of steps at
once; CPU of every process of the engine for each task; the start of a supervisor. Baselines of the same run: a bare
`fork` and `wait` from a process of about the zygote's size, and a round trip over a socket pair.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import show

from clearance.engine.base import Finished, Launch
from clearance.engine.conformance import unpack
from clearance.engine.local.engine import LocalEngine
from clearance.settings import Settings

TICK = os.sysconf("SC_CLK_TCK")


def bare_fork(times: int) -> float:
    """Returns seconds of a fork, an exit and a wait."""
    spans = []
    for _ in range(times):
        begin = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        spans.append(time.perf_counter() - begin)
    return statistics.median(spans)


def bare_round_trip(times: int) -> float:
    """Returns seconds of one byte there and back between two processes."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        while data := theirs.recv(64):
            theirs.send(data)
        os._exit(0)
    theirs.close()
    spans = []
    for _ in range(times):
        begin = time.perf_counter()
        ours.send(b"x")
        ours.recv(64)
        spans.append(time.perf_counter() - begin)
    ours.close()
    os.wait()
    return statistics.median(spans)


def cpu_of_tree(root: int) -> float:
    """Returns the CPU seconds of the supervisor and its descendants, those it reaped included."""
    total = 0.0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == root:
                total += sum(int(field) for field in fields[11:15]) / TICK
    return total


class Steps:
    """Launches and waits."""

    def __init__(self, home: Path) -> None:
        self.engine = LocalEngine(Settings(home=home))
        begin = time.perf_counter()
        self.engine.adopt(1)
        self.start = time.perf_counter() - begin
        self.bundle = unpack(home, {"pipeline.py": "def one() -> int: return 1\n"})
        self.count = 0

    def take(self, wanted: int) -> list[str]:
        """Waits for that many ends."""
        done: list[str] = []
        poll = select.poll()
        poll.register(self.engine.fileno(), select.POLLIN)
        while len(done) < wanted:
            poll.poll()
            done += [event.attempt for event in self.engine.observe() if isinstance(event, Finished)]
        return done

    def make(self, isolation: str) -> Launch:
        self.count += 1
        return Launch(attempt=f"run-1.{self.count}.1", bundle=self.bundle, entry="pipeline:one", isolation=isolation)

    def chain(self, isolation: str, length: int) -> float:
        """Returns the median seconds of a step."""
        spans = []
        done: list[str] = []
        for _ in range(length):
            begin = time.perf_counter()
            self.engine.launch([self.make(isolation)])
            self.engine.acknowledge(done)
            done = self.take(1)
            spans.append(time.perf_counter() - begin)
        return statistics.median(spans)

    def fan_out(self, isolation: str, width: int, at_once: int) -> float:
        """Returns seconds a task, with so many at once."""
        begin = time.perf_counter()
        running = done = started = 0
        ends: list[str] = []
        poll = select.poll()
        poll.register(self.engine.fileno(), select.POLLIN)
        while done < width:
            fresh = min(at_once - running, width - started)
            if fresh:
                self.engine.launch([self.make(isolation) for _ in range(fresh)])
                started += fresh
                running += fresh
            poll.poll()
            self.engine.acknowledge(ends)
            ends = [event.attempt for event in self.engine.observe() if isinstance(event, Finished)]
            done += len(ends)
            running -= len(ends)
        return (time.perf_counter() - begin) / width


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    count = parser.parse_args().steps
    fork, trip = bare_fork(count), bare_round_trip(10 * count)
    with tempfile.TemporaryDirectory() as directory:
        steps = Steps(Path(directory))
        show("engine.start.wall_ms", steps.start * 1e3)
        supervisor = next(
            int(name)
            for name in os.listdir("/proc")
            if name.isdigit() and directory.encode() in Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
        )
        show("engine.start.cpu_ms", cpu_of_tree(supervisor) * 1e3)
        show("engine.floor.fork_us", fork * 1e6)
        show("engine.floor.round_trip_us", trip * 1e6)
        for isolation, number in (("process", count), ("worker", 10 * count)):
            steps.chain(isolation, 20)
            before = cpu_of_tree(supervisor)
            own = time.process_time()
            step = steps.chain(isolation, number)
            used = (cpu_of_tree(supervisor) - before) / number
            mine = (time.process_time() - own) / number
            show(f"engine.{isolation}.step_us", step * 1e6)
            show(f"engine.{isolation}.engine_cpu_us", used * 1e6)
            show(f"engine.{isolation}.controller_cpu_us", mine * 1e6)
            show(f"engine.{isolation}.fan_out_us", steps.fan_out(isolation, number, 2) * 1e6)
        steps.engine.close(stop=True)


if __name__ == "__main__":
    main()
