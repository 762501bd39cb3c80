"""What goes wrong with nodes in a simulation: work is lost and done again, sick nodes are drained, all counted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.cluster.condition import HealthPolicy, Preflight
from clearance.cluster.config import load
from clearance.cluster.job import Job, TaskGroup
from clearance.cluster.simulate import Arrival, Trace, read_nodes, simulate
from clearance.cluster.simulate.faults import Failure, PreflightResult, Returned, Signalled, parse_faults, read_faults
from clearance.errors import UsageError

GPU = "nvidia.com/gpu"
ONE = load("""
partitions:
- name: default
  queues:
  - {name: root, submitacl: "*", queues: [{name: q}]}
""")
FALLEN = 79  # Xid: the GPU has fallen off the bus


def run(jobs, nodes="2x4gpu", faults=(), health=None, **more):
    """Simulates jobs of (submission, runtime, members, checkpoint interval), each member a GPU."""
    arrivals = tuple(
        Arrival(
            at,
            runtime,
            Job(f"j{n}", "root.q", task_groups=(TaskGroup("w", size, {GPU: 1}),), checkpoint_interval=every),
        )
        for n, (at, runtime, size, every) in enumerate(jobs)
    )
    return simulate(
        Trace(arrivals),
        ONE,
        read_nodes(nodes),
        health=health or HealthPolicy(),
        faults=faults,
        policy="binpacking",
        **more,
    )


def test_a_failed_node_costs_its_jobs_all_their_work_or_what_is_since_the_last_checkpoint():
    for every, lost, end in ((None, 70, 170), (30, 10, 110)):
        report = run([(0, 100, 4, every)], faults=[Failure(70, "node0")])
        assert (report.finished, report.failed_nodes, report.moves) == (1, 1, 4)
        assert report.lost_hours == pytest.approx(4 * lost / 3600)
        assert report.makespan == end


def test_a_gang_stands_still_until_what_failed_is_back_and_then_goes_on_whole():
    report = run([(0, 100, 8, 10)], faults=[Failure(50, "node1", until=1000)])
    assert (report.finished, report.failed_nodes) == (1, 1)
    assert report.makespan == 1050


def test_a_node_whose_gpu_is_gone_is_drained_and_its_work_goes_on_elsewhere():
    report = run([(0, 100, 4, 20)], faults=[Signalled(50, "node0", "gpu_error", FALLEN)])
    assert (report.drained, report.failed_nodes, report.finished) == (1, 0, 1)
    assert (report.moves, report.makespan) == (4, 110)
    assert report.lost_hours == pytest.approx(4 * 10 / 3600)


def test_a_drained_node_waits_for_its_repair_and_takes_work_again():
    errors = [Signalled(10, "node0", "gpu_error", FALLEN)]
    assert run([(20, 100, 8, None)], faults=errors).unstarted == 1
    report = run([(20, 100, 8, None)], faults=[*errors, Returned(500, "node0")])
    assert (report.finished, report.wait.max) == (1, 480)


def test_no_more_are_drained_at_once_than_may_be_out():
    errors = [Signalled(10, f"node{n}", "gpu_error", FALLEN) for n in range(4)]
    assert run([(0, 100, 16, 10)], "4x4gpu", errors, HealthPolicy(most_out=2)).drained == 2
    assert run([(0, 100, 16, 10)], "4x4gpu", errors, HealthPolicy(most_out="100%")).drained == 4


def test_a_preflight_takes_its_seconds_and_ends_as_the_faults_say():
    policy = HealthPolicy(preflight=Preflight({GPU: 4}, seconds=60))
    assert run([(0, 100, 8, None)], health=policy).wait.max == 60
    faults = [PreflightResult(0, "node1", False), PreflightResult(200, "node1", True), Returned(300, "node1")]
    report = run([(0, 100, 8, None)], health=policy, faults=faults)
    assert (report.drained, report.finished, report.wait.max) == (1, 1, 360)


def test_a_node_that_fails_while_it_is_tested_is_tested_again_when_it_is_back():
    policy = HealthPolicy(preflight=Preflight({GPU: 1}, seconds=60))
    report = run([(0, 10, 8, None)], health=policy, faults=[Failure(30, "node0", until=100)])
    assert (report.finished, report.wait.max) == (1, 160)


def test_faults_of_a_node_that_is_gone_are_counted():
    report = run([(0, 10, 1, None)], faults=[Failure(5, "node1"), Signalled(6, "node1", "gpu_error", FALLEN)])
    assert report.faults_missed == 1


events = st.one_of(
    st.builds(Signalled, st.integers(0, 200), st.sampled_from(["node0", "node1", "node2"]), st.just("gpu_error"),
              st.sampled_from([13, FALLEN])),
    st.tuples(st.integers(0, 200), st.sampled_from(["node0", "node1", "node2"]), st.integers(1, 100)).map(
        lambda each: Failure(each[0], each[1], each[0] + each[2])),
    st.builds(Returned, st.integers(0, 200), st.sampled_from(["node0", "node1", "node2"])),
    st.builds(PreflightResult, st.integers(0, 200), st.sampled_from(["node0", "node1", "node2"]), st.booleans()),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(events, max_size=12),
    st.lists(st.tuples(st.integers(0, 100), st.integers(1, 50), st.sampled_from([1, 2, 4, 8]),
                       st.sampled_from([None, 7])), min_size=1, max_size=12),
    st.booleans(),
)  # fmt: skip
def test_whatever_fails_no_job_is_lost_and_the_same_happens_again(faults, jobs, tests):
    faults = sorted(faults, key=lambda each: each.at)
    policy = HealthPolicy(preflight=Preflight({GPU: 1}, seconds=5) if tests else None, most_out=2)
    jobs = sorted(jobs, key=lambda each: each[0])
    report = run(jobs, "3x4gpu", faults, policy)
    assert report.finished + report.unstarted + report.rejected == len(jobs)
    assert report.rejected == 0
    if not any(isinstance(each, Signalled | PreflightResult) for each in faults):
        assert report.unstarted == 0
    assert run(jobs, "3x4gpu", faults, policy) == report


def test_a_file_is_read_in_the_order_of_time(tmp_path):
    file = tmp_path / "faults.jsonl"
    file.write_text(
        '{"type":"returned","at":90,"node":"a"}\n\n'
        '{"type":"signal","at":5,"node":"a","kind":"gpu_error","value":79}\n'
        '{"type":"failure","at":7,"node":"b","until":8.5}\n'
        '{"type":"preflight","at":0,"node":"b","passes":false}\n'
    )
    assert read_faults(file) == (
        PreflightResult(0, "b", False), Signalled(5, "a", "gpu_error", 79), Failure(7, "b", 8.5), Returned(90, "a"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"type":"fire","at":1,"node":"a"}', "line 1: Invalid value 'fire'"),
        ('{"type":"failure","at":-1,"node":"a"}', "at is -1: write seconds"),
        ('{"type":"failure","at":5,"node":"a","until":5}', "a node comes back after it fails"),
        ('{"type":"failure","at":5,"node":"a","til":9}', "til"),
        ("node a fails", "line 1"),
    ],
)
def test_a_bad_line_is_refused_by_its_number(line, message):
    with pytest.raises(UsageError, match=message):
        parse_faults([line])


def test_a_fault_of_an_unknown_node_or_signal_is_refused_before_anything_is_simulated():
    with pytest.raises(UsageError, match="node 'nodo0', and there is none; did you mean 'node0'"):
        run([(0, 1, 1, None)], faults=[Failure(5, "nodo0")])
    with pytest.raises(UsageError, match="no signal 'gpu_eror'"):
        run([(0, 1, 1, None)], faults=[Signalled(5, "node0", "gpu_eror", 1)])
