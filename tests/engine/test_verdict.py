from __future__ import annotations

import signal

from hypothesis import given
from hypothesis import strategies as st

from clearance.engine.base import Failure, Launch
from clearance.engine.local.ipc import Spooled
from clearance.engine.local.running import epoch_of
from clearance.engine.local.verdict import End, judge

OUTCOMES = ("", "timeout", "cancelled", "evicted", "lost")


def ended(status: int = 0, failed: bool = False, spooled: bool = True) -> End:
    failure = Failure("builtins.ValueError", "wrong") if failed else None
    return End(status, Spooled("a.1", failure=failure) if spooled else None)


@given(st.lists(st.sampled_from([0, 9, 256]), min_size=1, max_size=4), st.sampled_from(OUTCOMES))
def test_work_that_every_rank_has_spooled_is_a_success_whatever_was_asked(statuses: list[int], outcome: str) -> None:
    launch = Launch(attempt="a.1", entry="m:f", gang=len(statuses))
    assert judge(launch, [ended(status) for status in statuses], 0, outcome, "why").outcome == "success"


def test_what_was_asked_is_the_outcome_when_the_work_is_not_done() -> None:
    launch = Launch(attempt="a.1", entry="m:f")
    for outcome in OUTCOMES[1:]:
        finished = judge(launch, [ended(256, failed=True)], 0, outcome, "why")
        assert (finished.outcome, finished.failure) == (outcome, Failure(outcome, "why"))


def test_the_rank_that_failed_first_is_named() -> None:
    launch = Launch(attempt="a.1", entry="m:f", gang=3)
    ends = [ended(int(signal.SIGTERM), spooled=False), ended(256, failed=True), ended()]
    failure = judge(launch, ends, 1, "failure", "").failure
    assert failure is not None
    assert (failure.rank, failure.message) == (1, "rank 1 of 3: wrong")


def test_a_key_splits_into_name_and_epoch() -> None:
    assert epoch_of("run.train.3.12") == ("run.train.3", 12)
    assert epoch_of("alone") == ("alone", 0)
