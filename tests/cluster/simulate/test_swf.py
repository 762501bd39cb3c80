"""The Standard Workload Format. The lines follow the definition of version 2.2, field by field."""

import pytest

from clearance.cluster.simulate import swf
from clearance.cluster.simulate.lines import BadLine

HEADER = """\
; Version: 2.2
; Computer: an SMP cluster
; MaxNodes: 3
; MaxProcs: 8
; UnixStartTime: 870460800
"""
#        job submit wait run alloc cpu mem req time mem st user group exe queue part prev think
WHOLE = "  1      0   10 600     4  -1  -1   8  900  -1  1    7     3  -1     2   -1   -1    -1"


def read(*lines):
    return swf.read([*HEADER.splitlines(), *lines])


def test_a_line_becomes_a_gang_of_the_requested_processors():
    (arrival,) = read(WHOLE).arrivals
    job = arrival.job
    assert (arrival.submit, arrival.runtime) == (0, 600)
    assert (job.id, job.user, job.groups, job.queue, job.runtime_estimate) == (
        "1",
        "user7",
        ("group3",),
        "root.queue2",
        900,
    )
    (group,) = job.task_groups
    assert (group.min_member, group.resources) == (8, {"vcore": 1})


def test_unknown_fields_are_minus_one():
    (arrival,) = read("2 5 -1 30 4 -1 -1 -1 -1 -1 1 -1 -1 -1 -1 -1 -1 -1").arrivals
    job = arrival.job
    assert (job.user, job.groups, job.queue, job.runtime_estimate) == ("nobody", (), "", None)
    assert job.task_groups[0].min_member == 4  # allocated, since none were requested


def test_jobs_of_unknown_length_or_size_and_parts_of_jobs_are_left_out_and_counted():
    trace = read(
        "3 0 -1 -1 4 -1 -1 4 -1 -1 5 -1 -1 -1 -1 -1 -1 -1",
        "4 0 -1 30 -1 -1 -1 -1 -1 -1 1 -1 -1 -1 -1 -1 -1 -1",
        "5 0 -1 30 4 -1 -1 4 -1 -1 2 -1 -1 -1 -1 -1 -1 -1",
        "5 9 -1 30 4 -1 -1 4 -1 -1 3 -1 -1 -1 -1 -1 -1 -1",
    )
    assert trace.arrivals == ()
    assert trace.left_out == {"its run time is unknown": 1, "its processors are unknown": 1, "a part of a job": 2}


def test_the_header_tells_of_the_machine():
    assert [node.capacity["vcore"] for node in read().nodes] == [3, 3, 2]
    assert swf.read(["; MaxJobs: 3", WHOLE]).nodes == ()


def test_times_may_be_fractions_and_jobs_are_put_in_order():
    later = "6 4.5 -1 0.25 1 -1 -1 1 -1 -1 1 -1 -1 -1 -1 -1 -1 -1"
    assert [arrival.submit for arrival in read(later, WHOLE).arrivals] == [0, 4.5]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2 3", "the trace, line 6: 3 fields: a line has 18, and -1 where one is unknown"),
        (WHOLE.replace("600", "ten"), "the trace, line 6: run time is 'ten': write a number of at least -1"),
        (WHOLE.replace("600", "-2"), "the trace, line 6: run time is '-2': write a number of at least -1"),
    ],
)
def test_a_bad_line_is_refused_by_its_number(line, message):
    with pytest.raises(BadLine) as error:
        read(line)
    assert str(error.value) == message
