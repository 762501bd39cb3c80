"""What is known of how long jobs run."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.cluster.estimates import corrected, estimator
from clearance.cluster.job import Job
from clearance.errors import UsageError

JOB = Job("a", "root.q", "ana", runtime_estimate=500)


@pytest.mark.parametrize(("kind", "expected"), [("given", 500), ("none", None), ("exact", 60), ("learnt", 500)])
def test_each_kind_knows_what_its_name_says(kind, expected):
    assert estimator(kind).estimate(JOB, 60) == expected


def test_learnt_is_the_mean_of_the_last_two_of_the_same_user_and_queue():
    learnt = estimator("learnt")
    for runtime in (1000, 10, 20):
        learnt.observe(JOB, runtime)
    assert learnt.estimate(JOB, 60) == 15
    assert learnt.estimate(Job("b", "root.q", "bob"), 60) is None
    assert learnt.estimate(Job("b", "root.r", "ana", runtime_estimate=7), 60) == 7


@given(st.integers(0, 99), st.floats(1, 1e6))
def test_wrong_estimates_are_within_their_bounds_and_the_same_for_the_same_seed(seed, runtime):
    one, other = estimator("wrong:0.2-5", seed), estimator("wrong:0.2-5", seed)
    for _ in range(5):
        estimate = one.estimate(JOB, runtime)
        assert estimate == other.estimate(JOB, runtime)
        assert 0.2 * runtime * (1 - 1e-9) <= estimate <= 5 * runtime * (1 + 1e-9)


@given(st.floats(0, 1e9), st.floats(0, 1e7))
def test_a_late_job_is_always_expected_in_the_future_and_the_later_the_longer(started, taken):
    end = corrected(started, started + taken)
    assert end >= started + taken + max(1.0, 0.1 * taken) * (1 - 1e-6)
    assert not math.isinf(end)


@pytest.mark.parametrize(
    "kind", ["wrong", "wrong:5-0.2", "wrong:0-5", "wrong:a-b", "wrong:1-inf", "exact:1", "learned"]
)
def test_what_there_is_not_is_refused(kind):
    with pytest.raises(UsageError, match="estimates"):
        estimator(kind)
