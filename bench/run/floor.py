"""The floors that the chains are held against: what the same class of work costs with no workflow engine at all.

process: a bare fork from a warm zygote (the modules of ours imported), exit, wait, and two SQLite commits.
worker: one byte to one of two warm workers and back, and two SQLite commits.
Both databases are in WAL mode with synchronous=NORMAL, as a home's is. An argument (process or worker) prints that one
floor in seconds, for another bench to read.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path


def _database(folder: str) -> sqlite3.Connection:
    connection = sqlite3.connect(Path(folder) / "floor.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE step (number INTEGER PRIMARY KEY, state TEXT)")
    return connection


def _commit(connection: sqlite3.Connection, number: int, state: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT OR REPLACE INTO step VALUES (?, ?)", (number, state))
    connection.execute("COMMIT")


def process_floor(times: int = 200) -> float:
    """Returns seconds a step with a fresh process."""
    import clearance.engine.local.attempt
    import clearance.engine.local.zygote  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        connection = _database(folder)
        gc.collect()
        gc.freeze()
        taken = []
        for number in range(times):
            start = time.perf_counter()
            _commit(connection, number, "queued")
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            _commit(connection, number, "success")
            taken.append(time.perf_counter() - start)
        connection.close()
    return statistics.median(taken)


def worker_floor(times: int = 2000) -> float:
    """Returns seconds a step with two warm workers."""
    ends: list[socket.socket] = []
    pids = []
    for _ in range(2):
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            while data := theirs.recv(64):
                theirs.send(data)
            os._exit(0)
        theirs.close()
        ends.append(ours)
        pids.append(pid)
    with tempfile.TemporaryDirectory() as folder:
        connection = _database(folder)
        taken = []
        for number in range(times):
            start = time.perf_counter()
            _commit(connection, number, "queued")
            ends[number % 2].send(b"x")
            ends[number % 2].recv(64)
            _commit(connection, number, "success")
            taken.append(time.perf_counter() - start)
        connection.close()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return statistics.median(taken)


if __name__ == "__main__":
    import sys

    measures = {"process": process_floor, "worker": worker_floor}
    if len(sys.argv) > 1:
        print(measures[sys.argv[1]]())
    else:
        sys.path.insert(0, str(Path(__file__).parents[2]))
        from bench.common import show

        for kind, measure in measures.items():
            show(f"run.floor.{kind}_ms", measure() * 1000)
