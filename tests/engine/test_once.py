from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clearance.engine.base import Event, Finished, Ready, Started
from clearance.engine.local.once import Once

START, END = Started("a.1", (1,), (1,), ("here",)), Finished("a.1", "success")


def test_a_short_task_is_told_by_its_worker_alone() -> None:
    assert Once().from_worker([START, END]) == [START, END]


def test_a_start_that_the_supervisor_told_is_not_told_again() -> None:
    once = Once()
    assert once.from_supervisor([START]) == [START]
    assert once.from_worker([START, END]) == [END]


def test_what_the_supervisor_says_too_late_is_not_told() -> None:
    once = Once()
    once.from_worker([START, END])
    assert once.from_supervisor([START, END, Ready("s.1", {})]) == [Ready("s.1", {})]


def test_the_attempts_of_which_workers_told_are_named_once() -> None:
    once = Once()
    once.from_worker([START, END])
    assert once.take_over() == ("a.1",)
    assert once.take_over() == ()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=40))
def test_every_start_and_end_passes_once_and_in_order(reports: list[tuple[bool, int]]) -> None:
    once = Once()
    seen: list[Event] = []
    for worker, number in reports:
        key = f"a.{number}"
        if worker:
            seen += once.from_worker([Started(key, (1,), (1,), ("",)), Finished(key, "success")])
        else:
            seen += once.from_supervisor([Started(key, (1,), (1,), ("",))])
    for number in range(4):
        kinds = [type(event) for event in seen if getattr(event, "attempt", "") == f"a.{number}"]
        assert kinds.count(Finished) <= 1
        assert Finished not in kinds[:-1]
