"""An event of an asset starts a run of another DAG: milliseconds from the event to the first line of its first task.

The producer and the consumer are in files of their own, so in processes of their own. `clearance up` leads; each round
is `clearance run producer`, whose task writes the asset. The event's time is that of the turn that commits it, before
its commit: the figure holds the commit of producer, event and run, the launch of a fresh process, and the import of the
task's first line. Medians and the worst of `ROUNDS`; the first round, which imports the consumer's code, is apart.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import PIPELINES, fresh_home, show
from bench.controllers import postgresql, schema, until, up

from clearance.run import rows
from clearance.settings import Settings
from clearance.store.database import Database

ROUNDS = 30


def measure(home: Path, url: str) -> list[float]:
    """Returns seconds of each round."""
    from clearance.cli.known import registration
    from clearance.run.host.client import Client, address
    from clearance.run.host.messages import Accepted, Ended, Follow, Submit

    settings = Settings(home=home, database_url=url)
    taken = []
    with up(home, f"{PIPELINES / 'consumer.py'}:consumer", url=url), Database(settings.database) as database:
        until(lambda: database.rows("dag_get", "consumer"))
        made = registration(settings, f"{PIPELINES / 'producer.py'}:producer")
        with Client(address(home)) as client:
            for number in range(1, ROUNDS + 2):
                accepted = client.ask(Submit(made.bundle, made.target, {}))
                assert isinstance(accepted, Accepted), accepted
                id = f"consumer/asset-{number}"
                run = until(lambda id=id: _ended(database, id))
                result = rows.artifact_of(database, run.number, 0)
                assert result is not None
                began = json.loads(result.inline or b"0")
                event = database.rows("asset_event_at", number)[0]
                taken.append(began - event[2])
                client.send(Follow(id))
                for reply in client.replies():
                    if isinstance(reply, Ended):
                        break
    return taken


def _ended(database: Database, id: str) -> rows.RunRow | None:
    run = rows.run_row(database, id)
    return run if run is not None and run.state == "success" else None


def report(name: str, taken: list[float], bar: float) -> None:
    """Prints the figures of one database."""
    first, *rest = (seconds * 1000 for seconds in taken)
    middle = statistics.median(rest)
    show(f"run.events.{name}.first_task_ms", middle, f"<= {bar:g}", middle <= bar)
    show(f"run.events.{name}.worst_ms", max(rest))
    show(f"run.events.{name}.first_round_ms", first)


def main() -> None:
    """Prints the figures."""
    with fresh_home() as home:
        report("sqlite", measure(home, ""), 20)
    server = postgresql()
    if server is None:
        show("run.events.postgresql.first_task_ms", "not measured: no PostgreSQL answers", "<= 50", False)
        return
    with fresh_home() as home, schema(server) as url:
        report("postgresql", measure(home, url), 50)


if __name__ == "__main__":
    main()
