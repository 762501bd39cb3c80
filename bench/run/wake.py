"""A controller with schedules of every second is stopped (SIGSTOP) for ten minutes: it wakes to one run, and no storm.

`STOP` seconds are a real stop of the real process; the rest of the ten minutes is a clock that has gone on when it
wakes. Without catch-up the missed intervals are one run, of the newest; with catch-up they are all made up for, at most
16 runs at a time. Counted in the database: runs without catch-up whose interval ended while it was stopped; intervals
that are missing or double with catch-up; the most runs that went on at one time.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import PIPELINES, fresh_home, show
from bench.controllers import CLOCK, until, up

from clearance.settings import Settings
from clearance.store.database import Database

SLEEP = 600
STOP = 5
MOST = 16

Run = tuple[float, float, float]


def runs(database: Database, dag: str) -> list[Run]:
    """Returns of each run its logical time, when it was made, and when it had ended."""
    found = database.dialect.execute(
        "SELECT ends_at, created_at, finished_at FROM run_cause JOIN run ON run.number = run_cause.run"
        " WHERE run_cause.dag = ? ORDER BY ends_at",
        (dag,),
    )
    return [(end, made, ended if ended is not None else float("inf")) for end, made, ended in found]


def most_at_once(found: list[Run]) -> int:
    """Returns how many runs went on at one time at most."""
    changes = sorted([(made, 1) for _, made, _ in found] + [(ended, -1) for _, _, ended in found])
    most = going = 0
    for _, change in changes:
        going += change
        most = max(most, going)
    return most


def main() -> None:
    """Prints the figures."""
    with fresh_home() as home:
        shift = home.parent / "shift"
        settings = Settings(home=home)
        with (
            up(home, str(PIPELINES / "ticks.py"), before=CLOCK.format(file=str(shift))) as process,
            Database(settings.database) as database,
        ):
            until(lambda: len(runs(database, "newest")) >= 3)
            process.send_signal(signal.SIGSTOP)
            asleep = time.time()
            time.sleep(STOP)
            shift.write_text(str(SLEEP - STOP))
            awake = time.time() + SLEEP - STOP
            process.send_signal(signal.SIGCONT)
            until(lambda: [one for one in runs(database, "every_one") if one[0] > awake + 2])
            newest, all_ = runs(database, "newest"), runs(database, "every_one")
    missed = [one for one in newest if asleep + 1 < one[0] <= awake]
    ends = [one[0] for one in all_]
    whole = round(ends[-1] - ends[0]) + 1
    show("run.wake.slept_s", round(awake - asleep))
    show("run.wake.without_catch_up.runs", len(missed), "<= 1", len(missed) <= 1)
    wrong = abs(whole - len(set(ends))) + len(ends) - len(set(ends))
    show("run.wake.catch_up.missing_or_double", wrong, "0", wrong == 0)
    show("run.wake.catch_up.runs", len([end for end in ends if asleep < end <= awake]))
    most = most_at_once(all_)
    show("run.wake.catch_up.most_at_once", most, f"<= {MOST}", most <= MOST)
    first = min((made for _, made, _ in newest if made > awake), default=float("inf")) - awake
    show("run.wake.first_run_s", first)


if __name__ == "__main__":
    main()
