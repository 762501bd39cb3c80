"""The mediator in the database, on both dialects: two that lead, those that die in between, and the recorded traces."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from clearance.errors import GraphError, LeaseLost, StoreError, UsageError
from clearance.run.host import lease
from clearance.run.starts.assets import ORDER, Assets
from clearance.run.starts.mediator import AllOf, AnyOf, Subscription
from clearance.run.starts.replay import replay_into
from clearance.store.database import LEASE, Batch, Database, Stale
from support.assets import STEPS, subscriptions, trace

DATA = Path(os.environ.get("CLEARANCE_BENCH_DATA", Path(__file__).parents[4] / "shared/data")) / "flow"
TABLES = (
    "consumed", "asset_run", "asset_waiting", "asset_follower", "asset_subscription", "asset_event", "lease",
)  # fmt: skip
BOTH = AllOf(("a", "b"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database(database_url) as made:
        made.migrate()
        yield made


def leading(database: Database, now: float = 0.0) -> Assets:
    epoch = lease.take(database, "socket", now)
    assert isinstance(epoch, int)
    return Assets(database, epoch)


def contents(database: Database) -> dict[str, list[Any]]:
    return {name: sorted(database.dialect.execute(f"SELECT * FROM {name}"), key=repr) for name in TABLES[:-1]}


def consumed(database: Database) -> list[tuple[str, int, int]]:
    return database.dialect.execute("SELECT subscription, event, request FROM consumed ORDER BY 1, 2")


def events(requests: list[Any]) -> list[tuple[str, tuple[int, ...]]]:
    return [(request.subscription, request.events) for request in requests]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the shared data are not at {DATA}")
def test_the_recorded_traces_give_their_runs(database: Database):
    for one in json.loads((DATA / "mediator_traces.json").read_text())["traces"]:
        for table in TABLES:
            database.dialect.execute(f"DELETE FROM {table}")
        assert replay_into(database, one) == one["runs"], one["id"]


@given(subscriptions(), STEPS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_traces_give_the_runs_of_the_reference(
    database: Database, subs: list[dict[str, Any]], steps: list[tuple[Any, ...]]
):
    for table in TABLES:
        database.dialect.execute(f"DELETE FROM {table}")
    operations, reference = trace(subs, steps)
    assert replay_into(database, {"subs": subs, "ops": operations}) == reference.runs


def test_event_request_and_consumed_rows_are_remembered(database: Database):
    assets = leading(database)
    assets.subscribe(Subscription("train", BOTH))
    assert assets.emit("a", 1.0) == []
    (request,) = assets.emit("b", 2.0)
    assert (request.number, request.events) == (1, (1, 2))
    with Database(database.url) as other:
        assert consumed(other) == [("train", 1, 1), ("train", 2, 1)]
        assert Assets(other, 1).wanted() == [request]
    assets.started(request.number, "train/1")
    assert assets.wanted() == []
    with pytest.raises(Stale):
        assets.started(request.number, "train/2")


def test_a_source_is_one_event_however_often_it_is_told(database: Database):
    assets = leading(database)
    assets.subscribe(Subscription("train", "a"))
    assert len(assets.emit("a", 1.0, source="digits/1 fetch")) == 1
    assert assets.emit("a", 1.0, source="digits/1 fetch") == []
    assert len(contents(database)["asset_event"]) == 1


def test_a_run_ends_once(database: Database):
    assets = leading(database)
    assets.subscribe(Subscription("train", "a", mode="each", max_active=1))
    (first,) = assets.emit("a", 1.0)
    assets.emit("a", 2.0)
    assets.emit("a", 3.0)
    assert events(assets.finish(first.number, 4.0)) == [("train", (2,))]
    assert assets.finish(first.number, 5.0) == []
    with pytest.raises(UsageError, match="never made"):
        assets.finish(99, 5.0)


def test_events_before_a_subscription_do_not_count_unless_it_says_since(database: Database):
    assets = leading(database)
    assets.emit("a", 1.0)
    assets.subscribe(Subscription("new", BOTH))
    assets.subscribe(Subscription("early", BOTH, at=0.0))
    assert assets.emit("b", 2.0) == []
    assert events(assets.emit("a", 3.0)) == [("early", (2, 3)), ("new", (2, 3))]


def test_a_debounce_has_a_timer_that_is_not_held_in_memory(database: Database):
    assets = leading(database)
    assets.subscribe(Subscription("train", "a", debounce=10, max_active=1))
    assert (assets.emit("a", 1.0), assets.due(1.0)) == ([], 11.0)
    assert (assets.emit("a", 5.0), assets.tick(14.9)) == ([], [])
    with Database(database.url) as other:
        successor = Assets(other, 1)
        assert successor.due(14.9) == 15.0
        (request,) = successor.tick(15.0)
        assert request.events == (1, 2)
        assert successor.due(15.0) is None
        successor.emit("a", 16.0)
        assert successor.tick(26.0) == []
        assert events(successor.finish(request.number, 27.0)) == [("train", (3,))]


def test_a_timer_that_is_past_is_not_looked_at_again(database: Database):
    assets = leading(database)
    assets.subscribe(Subscription("train", BOTH, debounce=10))
    assets.emit("a", 1.0)
    assert assets.tick(11.0) == []
    assert database.rows("asset_subscriptions_due", 99.0) == []
    assets.emit("b", 12.0)
    assert events(assets.tick(22.0)) == [("train", (1, 2))]


def test_a_changed_definition_keeps_what_waits(database: Database):
    assets = leading(database)
    assets.subscribe(Subscription("train", BOTH))
    assets.emit("a", 1.0)
    before = contents(database)
    assets.subscribe(Subscription("train", BOTH))
    assert contents(database) == before
    assets.subscribe(Subscription("train", AnyOf(("a", "c"))))
    assert events(assets.recover(2.0)) == [("train", (1,))]
    assert assets.emit("b", 3.0) == []
    assets.unsubscribe("train")
    assert assets.emit("a", 4.0) == []
    with pytest.raises(UsageError, match="no subscription 'train'"):
        assets.pause("train", 5.0)


def test_wrong_assets_are_refused_and_nothing_is_written(database: Database):
    assets = leading(database)
    before = contents(database)
    with pytest.raises(GraphError, match="fragment"):
        assets.emit("s3://lake/a#x", 1.0)
    assert contents(database) == before


def test_one_that_was_stopped_past_its_lease_writes_nothing_when_it_wakes(database: Database, database_url: str):
    first = leading(database)
    first.subscribe(Subscription("train", BOTH))
    first.emit("a", 1.0)
    with Database(database_url) as other:
        second = leading(other, lease.SECONDS + 1)
        before = contents(other)
        for late in (
            lambda: first.emit("b", 20.0),
            lambda: first.subscribe(Subscription("late", "a")),
            lambda: first.pause("train", 20.0),
        ):
            with pytest.raises(LeaseLost):
                late()
        assert contents(other) == before
        assert events(second.emit("b", 20.0)) == [("train", (1, 2))]


def test_one_that_is_overtaken_in_the_middle_of_its_turn_writes_nothing(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    first = leading(database)
    first.subscribe(Subscription("train", BOTH))
    first.emit("a", 1.0)
    with Database(database_url) as other:
        apply = database.apply

        def sleep(*arguments: Any, **options: Any) -> None:
            """Stands for a stop between deciding and writing, while another takes over."""
            second = leading(other, lease.SECONDS + 1)
            assert events(second.emit("b", 20.0, source="digits/1 fetch")) == [("train", (1, 2))]
            apply(*arguments, **options)

        monkeypatch.setattr(database, "apply", sleep)
        with pytest.raises(LeaseLost):
            first.emit("b", 20.0, source="digits/1 fetch")
        assert consumed(other) == [("train", 1, 1), ("train", 2, 1)]
        assert len(contents(other)["asset_event"]) == 2


def unfenced(database: Database, epoch: int = 1) -> Assets:
    """A controller whose lease check is patched away: it holds always, and locks nothing."""
    database._lease_check = database.dialect.prepare(f"SELECT {epoch} WHERE ? <> ''")
    return Assets(database, epoch)


def together(database_url: str, act: Callable[[Assets, int], Any]) -> list[Any]:
    """Two unfenced controllers act at once: each has read and decided before either writes."""
    meet = threading.Barrier(2, timeout=20)
    results: list[Any] = [None, None]

    def one(which: int) -> None:
        with Database(database_url) as database:
            assets, apply = unfenced(database, which + 1), database.apply

            def first_apply(*arguments: Any, **options: Any) -> None:
                database.apply = apply  # type: ignore[method-assign]
                meet.wait()
                apply(*arguments, **options)

            database.apply = first_apply  # type: ignore[method-assign]
            try:
                results[which] = act(assets, which)
            except BaseException as error:
                results[which] = error

    threads = [threading.Thread(target=one, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not [each for each in results if isinstance(each, BaseException)], results
    return results


def test_two_that_both_lead_start_one_run_of_one_event(database: Database, database_url: str):
    assets = leading(database)
    assets.subscribe(Subscription("train", BOTH))
    assets.emit("a", 1.0)
    results = together(database_url, lambda each, _: each.emit("b", 2.0, source="digits/1 fetch"))
    assert sorted(map(events, results)) == [[], [("train", (1, 2))]]
    assert consumed(database) == [("train", 1, 1), ("train", 2, 1)]


def test_two_that_both_lead_lose_none_of_their_events(database: Database, database_url: str):
    assets = leading(database)
    assets.subscribe(Subscription("train", BOTH))
    assets.emit("a", 1.0)
    results = together(database_url, lambda each, which: each.emit("b", 2.0 + which))
    assert len(contents(database)["asset_event"]) == 3
    (number,) = [event for request in results[0] + results[1] for event in request.events if event > 1]
    left = ({2, 3} - {number}).pop()
    assert [row[1] for row in database.dialect.execute("SELECT * FROM asset_waiting")] == [left]
    assert events(assets.emit("a", 9.0)) == [("train", (left, 4))]


@pytest.mark.parametrize("act", ["finish", "resume", "tick"])
def test_two_that_both_lead_consume_what_waits_once(database: Database, database_url: str, act: str):
    assets = leading(database)
    assets.subscribe(Subscription("train", "a", max_active=1, debounce=5.0 if act == "tick" else 0.0))
    if act == "resume":
        assets.pause("train", 1.0)
    assets.emit("a", 1.0)
    assets.emit("a", 2.0)
    if act == "finish":
        assert events(assets.wanted()) == [("train", (1,))]
    acts: dict[str, Callable[[Assets, int], Any]] = {
        "finish": lambda each, _: each.finish(1, 9.0),
        "resume": lambda each, _: each.resume("train", 9.0),
        "tick": lambda each, _: each.tick(9.0),
    }
    results = together(database_url, acts[act])
    expected = (2,) if act == "finish" else (1, 2)
    assert sorted(map(events, results)) == [[], [("train", expected)]]
    assert Counter(row[:2] for row in consumed(database)) == {("train", 1): 1, ("train", 2): 1}


def test_the_constraint_alone_refuses_a_second_run_of_an_event(database: Database):
    assets = leading(database)
    assets.subscribe(Subscription("train", "a"))
    assets.emit("a", 1.0)
    before = contents(database)
    batch = Batch(ORDER)
    batch.add("asset_run_add", 77, "train", None, 2.0)
    batch.add("consumed_add", "train", 1, 77)
    with pytest.raises(Stale, match="consumed"):
        database.apply(batch, epoch=1)
    assert contents(database) == before


def test_many_events_of_two_that_both_lead_are_consumed_once_each(database: Database, database_url: str):
    assets = leading(database)
    assets.subscribe(Subscription("drain", BOTH, max_active=2))
    assets.subscribe(Subscription("each", "a", mode="each", max_active=3))
    assets.subscribe(Subscription("key", BOTH, mode="key"))

    def act(each: Assets, which: int) -> None:
        for index in range(25):
            started = each.emit("ab"[(index + which) % 2], float(index), key=str(index // 4))
            for request in started[::2]:
                each.finish(request.number, float(index))

    together(database_url, act)
    assert len(contents(database)["asset_event"]) == 50
    assets.recover(100.0)
    for _ in range(100):
        going = database.dialect.execute("SELECT number FROM asset_run WHERE finished_at IS NULL")
        if not going:
            break
        for (number,) in going:
            assets.finish(number, 101.0)
    waiting = {tuple(row[:2]) for row in database.dialect.execute("SELECT subscription, event FROM asset_waiting")}
    taken = Counter(row[:2] for row in consumed(database))
    assert set(taken.values()) == {1}
    assert not waiting & taken.keys()
    assert len(waiting) + len(taken) == 50 + 25 + 50, "each counts for drain and key, each second one for each"
    assert not [name for name, _ in waiting if name == "each"]


class Crash(Exception):
    """Stands for the end of the process."""


def test_a_crash_between_any_two_statements_leaves_nothing_half_done(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    assets = leading(database)
    assets.subscribe(Subscription("train", BOTH, mode="key"))
    assets.subscribe(Subscription("other", "b", mode="each", max_active=1))
    assets.emit("a", 1.0, key="k")
    assets.emit("b", 2.0)
    before, write, commit = contents(database), database.dialect.write, database.dialect.commit
    crashes = 0
    while True:
        left = crashes

        def counted(function: Callable[..., Any], *arguments: Any) -> Any:
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1
            return function(*arguments)

        monkeypatch.setattr(database.dialect, "write", lambda *each: counted(write, *each))
        monkeypatch.setattr(database.dialect, "commit", lambda: counted(commit))
        try:
            started = assets.emit("b", 3.0, key="k", source="digits/1 fetch")
            break
        except Crash:
            crashes += 1
            assert contents(database) == before
    assert crashes == 6, "event, request, consumed, taken, waiting, commit"
    assert events(started) == [("train", (1, 3))]


KILLED = """
import os, signal, sys
from clearance.run.starts.assets import Assets
from clearance.store.database import Database
database = Database(sys.argv[1])
left = int(sys.argv[2])
def counted(function):
    def call(*arguments):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return function(*arguments)
    return call
dialect = database.dialect
dialect.write, dialect.commit = counted(dialect.write), counted(dialect.commit)
Assets(database, 1).emit("b", 2.0, source="digits/1 fetch")
counted(print)("told")
"""


def test_a_kill_between_any_two_statements_loses_and_doubles_nothing(database: Database, database_url: str):
    assets = leading(database)
    assets.subscribe(Subscription("train", BOTH))
    assets.emit("a", 1.0)
    before = contents(database)
    environment = dict(os.environ) | {"PYTHONPATH": str(Path(lease.__file__).parents[3])}
    for left in range(6):  # event, request, consumed, taken, commit, told
        line = [sys.executable, "-c", KILLED, database_url, str(left)]
        done = subprocess.run(line, env=environment, timeout=60, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert (contents(database) == before) == (left < 5)
    assert consumed(database) == [("train", 1, 1), ("train", 2, 1)]
    assert assets.emit("b", 3.0, source="digits/1 fetch") == [], "who comes after does not do it again"
    assert events(assets.wanted()) == [("train", (1, 2))], "and finds the run that is wanted"


def test_another_failure_of_the_database_is_not_taken_for_a_race(database: Database):
    assets = leading(database)
    assets.subscribe(Subscription("train", "a"))
    database.dialect.execute("DROP TABLE consumed")
    with pytest.raises(StoreError) as caught:
        assets.emit("a", 1.0)
    assert not isinstance(caught.value, Stale)
    assert database.rows("asset_event_highest") == [(0,)]
    assert database.rows("lease_read", LEASE)[0][0] == 1
