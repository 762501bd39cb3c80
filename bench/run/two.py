"""Two controllers on one PostgreSQL, one of them stopped past its lease again and again: no event is lost or doubled.

Two homes, as on two machines; each has a real `clearance up` with a lease of `LEASE` seconds. A producer tells whoever
leads of events, without a pause. `ROUNDS` times the one that leads is stopped (SIGSTOP) for longer than its lease, at a
random moment, often within a turn; the other takes over, and the first wakes and finds that it leads no more. In the
end each event must be consumed once by each DAG that waits for it, each request of a run must have one run, each fire
of a schedule at most one, and every event that was answered must be there.
"""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import PIPELINES, fresh_home, show
from bench.controllers import LEASE as LEASE_OF
from bench.controllers import postgresql, schema, until, up

from clearance.run.host import lease
from clearance.run.host.client import Client, Gone, Refusing
from clearance.run.host.messages import Answer
from clearance.run.host.orders import Emit
from clearance.store.database import Database

ROUNDS = 6
LEASE = 1.5
ASSET = "bench://lake/images"


class Producer(threading.Thread):
    """Tells of events until it is stopped; keeps the numbers that were answered."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.answered: list[int] = []
        self.done = threading.Event()
        self._url = url

    def run(self) -> None:
        with Database(self._url, read_only=True) as database:
            while not self.done.is_set():
                held = lease.holder(database, time.time())
                if held is None:
                    self.done.wait(0.02)
                    continue
                try:
                    with Client(held.address) as client:
                        client._socket.settimeout(2 * LEASE)
                        while not self.done.wait(0.02):
                            reply = client.ask(Emit(ASSET, str(len(self.answered) % 7)))
                            assert isinstance(reply, Answer)
                            self.answered.append(reply.value["event"])
                except (Gone, Refusing):
                    self.done.wait(0.02)


def disturb(url: str, first: Path, second: Path) -> tuple[int, int, dict[str, int]]:
    """Returns how many events were answered, how often the lead went over, and what is wrong in the end."""
    rng = random.Random(7)
    files = [str(PIPELINES / name) for name in ("consumer.py", "ticks.py")]
    fast = LEASE_OF.format(seconds=LEASE)
    with up(first, *files, url=url, before=fast) as one, Database(url) as database:
        until(lambda: len(database.rows("dags")) == 5)
        with up(second, *files, url=url, before=fast) as other:
            processes = {str(one.pid): one, str(other.pid): other}
            producer = Producer(url)
            producer.start()
            changes = 0
            for _ in range(ROUNDS):
                time.sleep(rng.uniform(0.5, 1.5))
                held = until(lambda: lease.holder(database, time.time()))
                leader = processes[held.holder.split(":")[1]]
                leader.send_signal(signal.SIGSTOP)
                until(lambda held=held: _other(database, held))
                changes += 1
                time.sleep(rng.uniform(0.2, 1.0))
                leader.send_signal(signal.SIGCONT)
                if leader.poll() is not None:
                    break
            producer.done.set()
            producer.join(10)
            until(lambda: not database.dialect.execute("SELECT 1 FROM asset_run WHERE finished_at IS NULL LIMIT 1"))
            return len(producer.answered), changes, wrong(database, producer.answered)


def _other(database: Database, held: lease.Held) -> bool:
    now = lease.holder(database, time.time())
    return now is not None and now.holder != held.holder


def wrong(database: Database, answered: list[int]) -> dict[str, int]:
    """Returns how many things are not as they must be, by name."""

    def count(sql: str) -> int:
        return int(database.dialect.execute(sql)[0][0])

    events = {number for (number,) in database.dialect.execute("SELECT number FROM asset_event")}
    pairs = "SELECT count(*) FROM asset_follower f JOIN asset_event e ON e.asset = f.asset"
    return {
        "answered_and_gone": len(set(answered) - events),
        "not_consumed": count(
            f"{pairs} WHERE NOT EXISTS (SELECT 1 FROM consumed c WHERE c.event = e.number"
            " AND c.subscription = f.subscription)"
        ),
        "consumed_twice": count("SELECT count(*) - count(DISTINCT (subscription, event)) FROM consumed"),
        "requests_without_one_run": count(
            "SELECT count(*) FROM asset_run a WHERE (SELECT count(*) FROM run_cause c WHERE c.request = a.number) <> 1"
        ),
        "fires_twice": count(
            "SELECT count(*) - count(DISTINCT (dag, ends_at)) FROM run_cause WHERE kind = 'schedule'"
        ),
    }  # fmt: skip


def main() -> None:
    """Prints the figures."""
    server = postgresql()
    if server is None:
        show("run.two.wrong", "not measured: no PostgreSQL answers", "0", False)
        return
    with fresh_home() as first, fresh_home() as second, schema(server) as url:
        answered, changes, found = disturb(url, first, second)
    show("run.two.events", answered)
    show("run.two.leader_stopped", changes, f"{ROUNDS}", changes == ROUNDS)
    for name, count in found.items():
        show(f"run.two.{name}", count, "0", count == 0)


if __name__ == "__main__":
    main()
