"""Fair shares: the paper's cases of hierarchical DRF, past use against its integral, and how far shares drift apart."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.cluster.config import load
from clearance.cluster.event import JobFinished, JobSubmitted, MemberFinished, NodeAdded
from clearance.cluster.job import Job, TaskGroup
from clearance.cluster.node import Node
from clearance.cluster.scheduler import Scheduler
from clearance.cluster.shares import Average
from cluster.invariants import check

CPU, GPU = {"vcore": 1}, {"nvidia.com/gpu": 1}


def config(queues, **properties):
    written = ", ".join(f"{name.replace('_', '.')}: {value}" for name, value in properties.items())
    return load(f"""
partitions:
- name: default
  queues:
  - {{name: root, submitacl: "*", properties: {{{written}}}, queues: {queues}}}
""")


def submit(scheduler, queue, count, ask, now=0, members=1, name=""):
    """Submits jobs to a queue, and returns their ids."""
    ids = [f"{queue}-{name or now}-{number}" for number in range(count)]
    group = TaskGroup("g", members, ask)
    scheduler.apply([JobSubmitted(Job(id, f"root.{queue}", task_groups=(group,))) for id in ids], now)
    return ids


def cluster(scheduler, *nodes):
    scheduler.apply([NodeAdded(Node(f"n{number}", node)) for number, node in enumerate(nodes)], 0)
    return scheduler


def uses(scheduler):
    """Returns what each queue has, in cores and GPUs."""
    return {
        path.removeprefix("root."): (queue.used[0] // 1000, queue.used[2] // 1000)
        for path, queue in scheduler.tree.queues.items() if not queue.children
    }  # fmt: skip


COMPLEMENTARY = "[{name: n1}, {name: n2, queues: [{name: n21}, {name: n22}]}]"


def complementary(policy):
    """The case that the paper brings against shares that are summed up: of two siblings one has all there is of its
    dominant resource, and the other wants a resource that an outsider wants too."""
    scheduler = cluster(Scheduler(config(COMPLEMENTARY, queue_sort_policy=policy)), {"vcore": 10, "nvidia.com/gpu": 10})
    submit(scheduler, "n2.n21", 20, CPU)
    scheduler.step(0)
    submit(scheduler, "n1", 20, GPU, 1)
    submit(scheduler, "n2.n22", 20, GPU, 1)
    scheduler.step(1)
    return uses(scheduler)


def test_a_sibling_with_all_of_an_exhausted_resource_starves_nobody():
    assert complementary("fair") == {"n1": (0, 10), "n2.n21": (10, 0), "n2.n22": (0, 0)}
    assert complementary("drf") == {"n1": (0, 5), "n2.n21": (10, 0), "n2.n22": (0, 5)}


@pytest.mark.parametrize("asked", [10, 20])
def test_what_is_used_up_counts_for_nobody_whether_or_not_more_of_it_is_asked_for(asked):
    scheduler = cluster(Scheduler(config(COMPLEMENTARY, queue_sort_policy="drf")), {"vcore": 10, "nvidia.com/gpu": 10})
    submit(scheduler, "n2.n21", asked, CPU)
    scheduler.step(0)
    submit(scheduler, "n1", 20, GPU, 1)
    submit(scheduler, "n2.n22", 20, GPU, 1)
    scheduler.step(1)
    assert uses(scheduler)["n2.n22"] == (0, 5)


def test_a_resource_of_which_only_scraps_are_left_counts_as_exhausted():
    # Each node has a CPU left, and each CPU job wants two.
    nodes = [{"vcore": 3, "nvidia.com/gpu": 1}] * 10
    scheduler = cluster(Scheduler(config(COMPLEMENTARY, queue_sort_policy="drf")), *nodes)
    submit(scheduler, "n2.n21", 20, {"vcore": 2})
    scheduler.step(0)
    submit(scheduler, "n1", 20, GPU, 1)
    submit(scheduler, "n2.n22", 20, GPU, 1)
    scheduler.step(1)
    assert uses(scheduler) == {"n1": (0, 5), "n2.n21": (20, 0), "n2.n22": (0, 5)}


def test_siblings_are_rescaled_to_the_one_with_least():
    # The paper's first case before anything is exhausted: n2.n21 has 8 of 20 CPUs and wants more.
    scheduler = cluster(Scheduler(config(COMPLEMENTARY, queue_sort_policy="drf")), {"vcore": 20, "nvidia.com/gpu": 20})
    submit(scheduler, "n2.n21", 8, CPU)
    scheduler.step(0)
    submit(scheduler, "n2.n21", 9, CPU, 1)
    submit(scheduler, "n2.n22", 9, GPU, 1)
    submit(scheduler, "n1", 9, GPU, 1)
    for now in range(1, 9):
        scheduler.step(now, most=1)
        got = uses(scheduler)
        assert abs(got["n1"][1] - got["n2.n22"][1]) <= 1


def test_nobody_gets_more_because_a_sibling_is_blocked():
    # The paper's second case: when CPUs are exhausted, n3.n32 and n4 share the GPUs that are left.
    queues = "[{name: n1}, {name: n2}, {name: n3, queues: [{name: n31}, {name: n32}]}, {name: n4}]"
    scheduler = cluster(Scheduler(config(queues, queue_sort_policy="drf")), {"vcore": 12, "nvidia.com/gpu": 12})
    for queue, ask in (("n1", CPU), ("n2", CPU), ("n3.n31", CPU), ("n3.n32", GPU), ("n4", GPU)):
        submit(scheduler, queue, 24, ask)
    scheduler.step(0)
    assert uses(scheduler) == {"n1": (4, 0), "n2": (4, 0), "n3.n31": (4, 0), "n3.n32": (0, 6), "n4": (0, 6)}


def test_of_a_resource_that_all_want_shares_are_the_same_under_both_policies():
    queues = "[{name: a, queues: [{name: x}, {name: y}]}, {name: b}]"
    for policy in ("fair", "drf"):
        scheduler = cluster(Scheduler(config(queues, queue_sort_policy=policy)), {"vcore": 12})
        for queue in ("a.x", "a.y", "b"):
            submit(scheduler, queue, 12, CPU)
        scheduler.step(0)
        assert uses(scheduler) == {"a.x": (3, 0), "a.y": (3, 0), "b": (6, 0)}


ORGS = st.lists(st.lists(st.sampled_from(["cpu", "gpu"]), min_size=1, max_size=3), min_size=2, max_size=3)


@settings(deadline=None)
@given(ORGS, st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1), min_size=2, max_size=4))
def test_whoever_has_nothing_and_could_start_waits_for_none_but_its_like(orgs, batches):
    text = ", ".join(
        f"{{name: o{one}, queues: [{', '.join(f'{{name: t{two}}}' for two in range(len(kinds)))}]}}"
        for one, kinds in enumerate(orgs)
    )
    scheduler = cluster(Scheduler(config(f"[{text}]", queue_sort_policy="drf")), {"vcore": 50, "nvidia.com/gpu": 50})
    asks = {"cpu": CPU, "gpu": GPU}
    leaves = sum(map(len, orgs))
    for now, batch in enumerate(batches):
        for number, (one, two) in enumerate(batch):
            one %= len(orgs)
            two %= len(orgs[one])
            submit(scheduler, f"o{one}.t{two}", 50, asks[orgs[one][two]], now, name=f"{now}-{number}")
        passed_over = {}
        while made := scheduler.step(now, most=1):
            able = {
                path for path, queue in scheduler.tree.queues.items()
                if not queue.children and queue.key is not None and not queue.allocated
            }  # fmt: skip
            passed_over = {path: passed_over.get(path, 0) + len(made) for path in able}
            assert all(turns <= leaves for turns in passed_over.values()), passed_over
        check(scheduler)


# -- past use ----------------------------------------------------------------------------------------------------------


def integral(history, now, half_life):
    """Returns the average over the past of what a step function is, a half-life back counting half; worked out piece
    by piece from the definition. Before its first entry it was the same as there."""
    total = 0.0
    for number, (begun, value) in enumerate(history):
        ended = history[number + 1][0] if number + 1 < len(history) else now
        since = -math.inf if number == 0 else begun
        total += value * (2 ** ((ended - now) / half_life) - 2 ** ((since - now) / half_life))
    return total


@given(
    st.floats(0.5, 1e4), st.integers(0, 50),
    st.lists(st.tuples(st.floats(0, 1e5), st.integers(0, 50)), max_size=30), st.floats(0, 1e5),
)  # fmt: skip
def test_the_average_is_the_integral(half_life, first, changes, rest):
    now, history = 0.0, [(0.0, first)]
    average = Average(half_life, now, [first])
    for gap, value in changes:
        now += gap
        average.settle(now, [value])
        history.append((now, value))
    now += rest
    average.settle(now, [history[-1][1]])
    assert average.past[0] == pytest.approx(integral(history, now, half_life), rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 40), st.sampled_from(["a.x", "a.y", "b"]), st.sampled_from(["submit", "end", "step"]),
            st.integers(0, 9),
        ),
        max_size=30,
    ),
)  # fmt: skip
def test_what_queues_used_is_counted_whenever_it_changes(acts):
    queues = "[{name: a, queues: [{name: x}, {name: y}]}, {name: b, properties: {queue.usage.halflife: 7s}}]"
    scheduler = cluster(Scheduler(config(queues, queue_usage_halflife="60s")), {"vcore": 20})
    history = {path: [(0, 0)] for path in scheduler.tree.queues}
    now = 0
    for number, (gap, queue, what, which) in enumerate(acts):
        now += gap
        if what == "submit":
            scheduler.apply(
                [JobSubmitted(Job(f"j{number}", f"root.{queue}", task_groups=(TaskGroup("g", 2, CPU),)))], now
            )
        elif what == "end" and scheduler.members:
            scheduler.apply([MemberFinished(list(scheduler.members)[which % len(scheduler.members)])], now)
        if what == "step":
            scheduler.step(now)
        for path, each in scheduler.tree.queues.items():
            history[path].append((now, each.used[0]))
    scheduler.step(now + 1)
    for path in ("root.a", "root.a.x", "root.a.y", "root.b"):
        each = scheduler.tree.queues[path]
        past = integral(history[path], now + 1, 7 if path == "root.b" else 60)
        assert each.usage()[0] == pytest.approx((each.used[0] + past) / 2, abs=1e-6)


def halves(half_life):
    """Returns who gets the room when a job of `a` that ran for long has ended; both queues want all of it."""
    scheduler = cluster(Scheduler(config("[{name: a}, {name: b}]", queue_usage_halflife=half_life)), {"vcore": 10})
    (long,) = submit(scheduler, "a", 1, CPU, members=10)
    scheduler.step(0)
    submit(scheduler, "a", 10, CPU, 1)
    submit(scheduler, "b", 10, CPU, 2)
    scheduler.apply([JobFinished(long)], 600)
    scheduler.step(600)
    return uses(scheduler)


def test_a_queue_that_used_much_lately_comes_later():
    assert halves("0s") == {"a": (5, 0), "b": (5, 0)}
    assert halves("60s") == {"a": (0, 0), "b": (10, 0)}
    # after 600 of 6,000 seconds: 10 * (1 - 2 ** -0.1) = 0.67 cores used lately
    assert halves("6000s") == {"a": (5, 0), "b": (5, 0)}


def test_what_was_used_is_forgiven_with_time():
    scheduler = cluster(Scheduler(config("[{name: a}, {name: b}]", queue_usage_halflife="60s")), {"vcore": 10})
    (long,) = submit(scheduler, "a", 1, CPU, members=10)
    scheduler.step(0)
    scheduler.apply([JobFinished(long)], 600)
    submit(scheduler, "a", 10, CPU, 1200)
    submit(scheduler, "b", 10, CPU, 1200)
    scheduler.step(1200)
    assert uses(scheduler) == {"a": (5, 0), "b": (5, 0)}


def test_the_order_changes_when_nothing_but_time_has_gone_by():
    scheduler = cluster(Scheduler(config("[{name: a}, {name: b}]", queue_usage_halflife="60s")), {"vcore": 4})
    (long,) = submit(scheduler, "a", 1, CPU, members=4)
    scheduler.step(0)
    scheduler.apply([JobFinished(long)], 100)
    submit(scheduler, "a", 3, CPU, 100)
    submit(scheduler, "b", 3, CPU, 100)
    assert [each.job for each in scheduler.step(100, most=2)] == ["b-100-0", "b-100-1"]
    assert [each.job for each in scheduler.step(400, most=1)] == ["a-100-0"]


# -- how far shares drift apart ----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=5), st.integers(4, 40), st.randoms(use_true_random=False),
    st.booleans(),
)  # fmt: skip
def test_in_a_saturated_run_no_queue_lacks_more_than_the_last_unit_of_each_other(weights, cores, rng, drf):
    """A bound on the deficit in fairness, at the end of each step.

    Queues 1 to n below one parent have weights w (their guarantees), W in all. All of them wait at every moment for
    units of the same size s; what ends is replaced within the step. Then, with u for what each uses and U for the sum,

        w[i] / W * U - u[i]  <=  w[i] / W * (n - 1) * s.

    Proof. (1) At the end of each step u[i] / w[i] <= u[j] / w[j] + s / w[i] for all i and j. If i got a unit in this
    step, then, when it got its last, it had the smallest share: u[i] / w[i] - s / w[i] <= u[j] / w[j], and u[j] only
    grew after that. If i got none, suppose that j ends with less than u[i] / w[i] - s / w[i]. Before the step (1) held,
    and i had no less than now, so each queue had at least u[i] / w[i] - s / w[i] then; so j has lost more than it got.
    As many units start as have ended, so some q got more than it lost; before its last unit it had no less than before
    the step, which is more than j had at that moment, but then it was not the smallest. At the beginning all are 0.
    (2) By (1), u[j] <= w[j] / w[i] * u[i] + s for each j but i. Summed up: U <= W / w[i] * u[i] + (n - 1) * s.
    """
    size = 2
    queues = ", ".join(
        f"{{name: q{number}, resources: {{guaranteed: {{vcore: {weight}}}}}}}" for number, weight in enumerate(weights)
    )
    scheduler = cluster(
        Scheduler(config(f"[{queues}]", queue_sort_policy="drf" if drf else "fair"), preemption=False),
        {"vcore": cores},
    )
    for number in range(len(weights)):
        submit(scheduler, f"q{number}", cores, {"vcore": size})
    for now in range(1, 15):
        scheduler.step(now)
        used = [scheduler.tree.queues[f"root.q{number}"].used[0] // 1000 for number in range(len(weights))]
        assert sum(used) > cores - size
        for weight, mine in zip(weights, used, strict=True):
            entitled = weight / sum(weights) * sum(used)
            assert entitled - mine <= weight / sum(weights) * (len(weights) - 1) * size + 1e-9
        ended = rng.sample(list(scheduler.members), rng.randint(0, len(scheduler.members)))
        for id in ended:
            queue = scheduler.members[id][0].queue.path.removeprefix("root.")
            scheduler.apply([MemberFinished(id)], now)
            submit(scheduler, queue, 1, {"vcore": size}, now, name=f"{now}-{id}".replace("/", "-"))
