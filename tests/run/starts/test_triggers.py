"""Events of assets in the control loop, on both databases: a success, its event and the runs that it starts are
one transaction; each event is consumed once and none is lost, whoever dies, stops, wakes late, or also leads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from clearance.errors import Defer, GraphError, LeaseLost, UsageError
from clearance.graph import model
from clearance.graph.schedule import every
from clearance.run.host import lease
from clearance.run.host.orders import Emit, PauseDag, Unregister
from clearance.run.look import automation, views
from clearance.run.starts.mediator import Subscription
from clearance.store.database import Stale
from support.controllers import NOON, Clock, Tower, submit
from support.flights import A, B, producer_a, producer_b, producer_parts, timed, waiting
from support.races import Crash, crashing, together, unfence

Towers = Callable[..., Tower]
HOUR = 3600.0


def consumed(one: Tower) -> list[tuple[str, int]]:
    return one.database.dialect.execute("SELECT subscription, event FROM consumed ORDER BY 1, 2")


def emit(one: Tower, asset: Any, key: str | None = None) -> list[str]:
    answer = one.triggers.obey(Emit(asset.uri, key), "me")
    one.controller.turn()
    return answer["runs"]


def test_a_success_its_event_and_the_run_that_it_starts_are_one_transaction(tower: Towers):
    one = tower()
    one.register(waiting("consumer", A))
    submit(one, producer_a)
    one.engine.end_all()
    commits = []
    commit = one.database.dialect.commit
    one.database.dialect.commit = lambda: commits.append(one.runs()) or commit()  # type: ignore[method-assign, func-returns-value]
    one.turn()
    one.database.dialect.commit = commit  # type: ignore[method-assign]
    assert commits == [["producer_a/1", "consumer/asset-1"]]
    assert consumed(one) == [("consumer", 1)]
    assert one.engine.launched, "the consumer's first task is launched in the same turn"
    cause = views.run(one.database, "consumer/asset-1")["cause"]
    assert cause == {
        "kind": "asset", "key": None, "events": [{"event": 1, "asset": A.uri, "key": None, "at": NOON}],
    }  # fmt: skip


def test_the_task_is_told_the_events_that_started_its_run(tower: Towers):
    one = tower()
    one.register(waiting("consumer", A & B))
    emit(one, B, "eu")
    assert one.runs() == []
    assert emit(one, A) == ["consumer/asset-1"]
    (launch,) = one.engine.launched.values()
    assert launch.cause is not None
    assert [(each.number, each.asset, each.key) for each in launch.cause.events] == [(1, B.uri, "eu"), (2, A.uri, None)]


def test_a_task_that_fails_writes_no_event(tower: Towers):
    one = tower()
    one.register(waiting("consumer", A))
    submit(one, producer_a)
    one.engine.end_all("failure")
    one.settle()
    assert one.runs() == ["producer_a/1"]
    assert automation.asset_events(one.database) == []


def test_a_task_says_by_what_it_returns_which_partitions_it_has_written(tower: Towers):
    one = tower()
    one.register(waiting("by_key", A, mode="key"))
    submit(one, producer_parts)
    (key,) = one.engine.launched
    one.engine.end(key, result=[{"asset": A.uri, "key": "x"}, {"asset": A.uri, "key": "y"}], kind="builtins.list")
    one.turn()
    assert [(each["key"], each["started"]) for each in automation.asset_events(one.database)] == [
        ("y", [{"dag": "by_key", "run": "by_key/asset-2"}]), ("x", [{"dag": "by_key", "run": "by_key/asset-1"}]),
    ]  # fmt: skip
    assert {launch.cause.key for launch in one.engine.launched.values() if launch.cause} == {"x", "y"}


def test_a_task_that_returns_no_asset_fails_and_nothing_is_written(tower: Towers):
    one = tower()
    submit(one, producer_parts)
    (key,) = one.engine.launched
    one.engine.end(key, result=[{"asset": A.uri}, {"asset": "s3://lake/a#part"}], kind="builtins.list")
    one.settle()
    assert views.run(one.database, "producer_parts/1")["state"] == "failed"
    assert automation.asset_events(one.database) == []


def test_wrong_assets_are_refused(tower: Towers):
    one = tower()
    with pytest.raises(GraphError, match="fragment"):
        one.triggers.obey(Emit("s3://lake/a#part"), "me")
    one.turn()
    assert automation.asset_events(one.database) == []


def test_max_active_holds_events_back_until_a_run_ends(tower: Towers):
    one = tower()
    one.register(waiting("each", A, mode="each", max_active_runs=1))
    assert [emit(one, A) for _ in range(3)] == [["each/asset-1"], [], []]
    assert automation.asset_why(one.database, "each")[0]["because"] == "1 of its runs go on, max_active_runs is 1"
    one.settle()
    assert one.runs() == ["each/asset-1", "each/asset-2", "each/asset-3"]
    assert consumed(one) == [("each", 1), ("each", 2), ("each", 3)]


def test_schedule_and_events_share_max_active(tower: Towers):
    one = tower()
    one.register(waiting("both", every("1h") | A, max_active_runs=1))
    one.turn(NOON + HOUR)
    assert one.runs() == ["both/2026-03-01T13:00:00Z"]
    assert emit(one, A) == []
    one.turn(NOON + 2 * HOUR)
    one.settle()
    assert one.runs()[1:] == ["both/asset-1", "both/2026-03-01T14:00:00Z"]


def test_a_debounce_is_a_timer_of_the_loop(tower: Towers):
    one = tower()
    one.register(waiting("quiet", A, debounce="10s"))
    emit(one, A)
    assert one.turn(NOON + 4) <= 6.0
    emit(one, A)
    one.turn(NOON + 13)
    assert one.runs() == []
    one.turn(NOON + 14)
    assert one.runs() == ["quiet/asset-1"]
    assert consumed(one) == [("quiet", 1), ("quiet", 2)]


def test_a_debounce_outlives_the_controller(tower: Towers, clock: Clock):
    first = tower()
    first.register(waiting("quiet", A, debounce="1m"))
    emit(first, A)
    clock.now += lease.SECONDS + 1
    second = tower(first.engine)
    assert 0 < second.turn() <= 5.0
    second.turn(NOON + 60)
    assert second.runs() == ["quiet/asset-1"]


def test_events_of_a_paused_dag_wait(tower: Towers):
    one = tower()
    one.register(waiting("consumer", A))
    one.triggers.obey(PauseDag("consumer", True), "me")
    assert emit(one, A) == []
    assert automation.asset_why(one.database, "consumer")[0]["because"] == "it is paused"
    one.triggers.obey(PauseDag("consumer", False), "me")
    one.turn()
    assert one.runs() == ["consumer/asset-1"]


def test_a_paused_dag_that_is_registered_anew_stays_paused(tower: Towers):
    one = tower()
    one.register(timed("moving"))
    one.triggers.obey(PauseDag("moving", True), "me")
    one.register(waiting("moving", A | every("1h")))
    assert emit(one, A) == []
    one.turn(NOON + 2 * HOUR)
    assert one.runs() == []
    one.triggers.obey(PauseDag("moving", False), "me")
    one.turn()
    assert one.runs() == ["moving/asset-1", "moving/2026-03-01T14:00:00Z"]


def test_events_before_a_dag_was_known_do_not_count(tower: Towers):
    one = tower()
    emit(one, A)
    one.register(waiting("late", A))
    assert one.runs() == []
    assert emit(one, A) == ["late/asset-1"]
    assert consumed(one) == [("late", 2)]


def test_what_waits_is_told(tower: Towers):
    one = tower()
    one.register(waiting("consumer", A & B), waiting("by_key", A & B, mode="key"), timed())
    emit(one, A, "k")
    told = {each["dag"]: each["because"] for each in automation.asset_why(one.database)}
    assert told == {"consumer": f"no event yet of {B.uri}", "by_key": f"no event yet of {B.uri}"}
    emit(one, B, "other")
    assert automation.asset_why(one.database, "by_key")[0]["because"] == "no key has an event of each asset"
    (_, first) = automation.asset_events(one.database)
    assert first["waits_in"] == ["by_key"]
    with pytest.raises(UsageError, match="did you mean 'consumer'"):
        automation.asset_why(one.database, "consumr")
    assert automation.asset_why(one.database, "hourly") == [
        {"dag": "hourly", "on": None, "because": "it waits for no asset"}
    ]


def test_dags_can_follow_one_another_round(tower: Towers):
    from clearance import dag
    from support.flights import write_a, write_b

    one = tower()
    one.register(dag("ping", write_a, schedule=B), dag("pong", write_b, schedule=A, max_active_runs=1))
    emit(one, B)
    for _ in range(6):
        one.engine.end_all()
        one.turn()
        one.turn()
    assert len(one.runs("ping")) >= 2
    assert len(one.runs("pong")) >= 2


def test_a_request_of_a_dag_that_is_known_no_more_ends(tower: Towers, clock: Clock):
    first = tower()
    first.register(waiting("gone", A, max_active_runs=1))
    first.triggers.obey(Unregister("gone"), "me")
    first.triggers.assets.subscribe(Subscription("gone", A.uri, max_active=1))
    assert emit(first, A) == []
    assert first.triggers.assets.wanted() == []


def test_a_run_of_a_dag_that_is_known_no_more_ends_as_any_other(tower: Towers, clock: Clock):
    first = tower()
    first.register(waiting("gone", A, max_active_runs=1))
    emit(first, A)
    emit(first, A)
    first.triggers.obey(Unregister("gone"), "me")
    first.settle()
    assert first.runs() == ["gone/asset-1"]
    assert first.triggers.assets.wanted() == []
    first.register(waiting("gone", A))
    clock.now += lease.SECONDS + 1
    second = tower(first.engine)
    second.settle()
    assert emit(second, A) == ["gone/asset-2"]
    assert consumed(second) == [("gone", 1), ("gone", 3)], "what waited for it was dropped with it"


# -- who dies, stops, or also leads -----------------------------------------------------------------------------------


def test_a_crash_between_any_two_statements_consumes_each_event_once_and_loses_none(tower: Towers, clock: Clock):
    one = tower()
    one.register(waiting("consumer", A & B), waiting("each", A, mode="each", max_active_runs=1))
    crashes = rounds = 0
    while True:
        rounds += 1
        submit(one, producer_a)
        submit(one, producer_b)
        one.engine.end_all()
        with crashing(one.database, crashes) as crashed:
            try:
                one.turn()  # both successes, both events, three runs: one commit
            except Crash:
                crashes += 1
        if crashed():
            clock.now += lease.SECONDS + 1
            one = tower(one.engine)
        one.settle()
        assert len(automation.asset_events(one.database)) == 2 * rounds, f"after {crashes} statements"
        assert len(one.runs("consumer")) == len(one.runs("each")) == rounds
        assert set(Counter(consumed(one)).values()) == {1}
        assert len(consumed(one)) == 3 * rounds
        if not crashed():
            break
    assert crashes > 15, "each statement of the turn"


def test_a_crash_between_any_two_statements_leaves_a_wait_and_the_run_that_it_asked_for_or_neither(
    tower: Towers, clock: Clock
):
    one = tower()
    one.register(waiting("child", A))
    child = model.encode(waiting("child", A).graph())
    crashes = rounds = 0
    while True:
        rounds += 1
        asking = submit(one, producer_b)
        (key,) = one.engine.launched
        one.engine.defer(key, Defer("run", f"child/by/{asking}", details={"dag": "child"}))
        one.turn()
        assert one.engine.define_all(child) == 1
        with crashing(one.database, crashes) as crashed:
            try:
                one.turn()  # the wait and the run, its rows and its first launch: one commit
            except Crash:
                crashes += 1
        if crashed():
            clock.now += lease.SECONDS + 1
            one = tower(one.engine)
        waits = one.database.dialect.execute("SELECT count(*) FROM deferral WHERE waiting = 1")[0][0]
        assert waits == len(one.runs("child")) - (rounds - 1), f"after {crashes} statements"
        one.turn()
        one.engine.define_all(child)
        for _ in range(2):
            one.settle()
        assert len(one.runs("child")) == len(one.runs("producer_b")) == rounds
        assert set(one.database.dialect.execute("SELECT state FROM run")) == {("success",)}
        if not crashed():
            break
    assert crashes > 8, "each statement of the turn"


def test_a_crash_between_the_end_of_a_run_and_what_follows_is_made_up_for(tower: Towers, clock: Clock):
    first = tower()
    first.register(waiting("each", A, mode="each", max_active_runs=1))
    emit(first, A)
    emit(first, A)
    first.engine.end_all()
    first.turn()
    assert first.triggers.pending
    clock.now += lease.SECONDS + 1
    second = tower(first.engine)
    second.turn()
    assert second.runs() == ["each/asset-1", "each/asset-2"]


def test_one_that_was_stopped_past_its_lease_and_wakes_in_the_middle_of_its_turn_writes_nothing(
    tower: Towers, clock: Clock
):
    first = tower()
    first.register(waiting("consumer", A))
    submit(first, producer_a)
    first.engine.end_all()
    begin = first.database.dialect.begin
    second: Tower | None = None

    def stopped() -> None:
        """Stands for a stop after everything was read, while another takes over and goes on."""
        nonlocal second
        first.database.dialect.begin = begin  # type: ignore[method-assign]
        clock.now += lease.SECONDS + 1
        second = tower(first.engine)
        second.settle()
        begin()

    first.database.dialect.begin = stopped  # type: ignore[method-assign]
    with pytest.raises(LeaseLost):
        first.turn()
    assert second is not None
    assert second.runs() == ["producer_a/1", "consumer/asset-1"]
    assert consumed(second) == [("consumer", 1)]


@pytest.mark.parametrize("mode", ["drain", "each", "key"])
def test_two_that_both_lead_make_one_run_of_a_success(tower: Towers, clock: Clock, mode: str):
    first = tower()
    first.register(waiting("consumer", A, mode=mode))
    submit(first, producer_parts)
    (key,) = first.engine.launched
    clock.now += lease.SECONDS + 1
    second = tower(first.engine)
    second.turn()
    first.engine.end(key, result=[{"asset": A.uri, "key": "x"}], kind="builtins.list")
    told = list(first.engine.events)
    for each in (first, second):
        unfence(each)

    def turn(each: Tower) -> float:
        for event in told:
            each.controller.reports.observe(event, clock())
        return each.turn()

    first.engine.events.clear()
    results = together(first, second, turn)
    assert sum(isinstance(result, Stale) for result in results) == 1, results
    assert second.runs() == ["producer_parts/1", "consumer/asset-1"]
    assert consumed(second) == [("consumer", 1)]


def test_two_that_both_lead_lose_no_event_and_consume_each_once(tower: Towers, clock: Clock):
    """Each is told of events of its own at the same time; who comes too late takes its turn back and starts anew."""
    one = tower()
    one.register(
        waiting("drain", A & B, max_active_runs=2), waiting("each", A, mode="each", max_active_runs=1),
        waiting("by_key", A & B, mode="key"),
    )  # fmt: skip
    clock.now += lease.SECONDS + 1
    pair = [one, tower(one.engine)]
    pair[1].turn()
    told = 0
    for index in range(10):
        for each in pair:
            unfence(each)

        orders = [Emit(A.uri, str(index // 2)), Emit(B.uri, str(index // 2))]

        def act(each: Tower, orders: list[Emit] = orders, first: Tower = pair[0]) -> float:
            each.triggers.obey(orders[each is first], "me")
            return each.turn()

        results = together(*pair, act)
        late = [orders[which == 0] for which, result in enumerate(results) if isinstance(result, Stale)]
        assert len(late) + sum(isinstance(result, float) for result in results) == 2, results
        clock.now += lease.SECONDS + 1
        pair = [tower(one.engine)]
        for order in late:  # whoever got no answer says it again
            pair[0].triggers.obey(order, "me")
        pair[0].settle()
        told += 2
        clock.now += lease.SECONDS + 1
        pair.append(tower(one.engine))
        pair[1].turn()
    last = pair[1]
    assert len(automation.asset_events(last.database)) == told == 20
    counts = Counter(consumed(last))
    assert set(counts.values()) == {1}
    waits = set(last.database.dialect.execute("SELECT subscription, event FROM asset_waiting"))
    assert not waits & counts.keys()
    written = last.database.dialect.execute("SELECT number, asset FROM asset_event")
    expected = {("drain", number) for number, _ in written} | {("by_key", number) for number, _ in written}
    expected |= {("each", number) for number, asset in written if asset == A.uri}
    assert waits | counts.keys() == expected, "what is not consumed waits"
    requests = last.database.dialect.execute("SELECT run FROM asset_run")
    assert sorted(run for (run,) in requests) == sorted(last.runs()), "one run a request"


def test_an_event_of_the_same_name_is_told_once(tower: Towers):
    one = tower()
    one.register(waiting("consumer", A))
    first = one.triggers.obey(Emit(A.uri, None, "load-7"), "me")
    one.controller.turn()
    assert (first["new"], first["runs"]) == (True, ["consumer/asset-1"])
    assert one.triggers.obey(Emit(A.uri, None, "load-7"), "you") == {"event": 1, "runs": [], "new": False}
    one.controller.turn()
    assert consumed(one) == [("consumer", 1)]
    with pytest.raises(UsageError, match="id 'load-7' names event 1 of"):
        one.triggers.obey(Emit(B.uri, None, "load-7"), "me")
    with pytest.raises(UsageError, match="printable"):
        one.triggers.obey(Emit(A.uri, None, "a\nb"), "me")
