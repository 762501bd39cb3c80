"""What a report says, and how it looks as a folder."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.cluster.config import default
from clearance.cluster.job import Job, TaskGroup
from clearance.cluster.simulate import Arrival, Summary, Trace, read_nodes, simulate
from clearance.cluster.simulate.page import write_folder
from clearance.cluster.simulate.report import bounded_slowdown, by_size, jain
from clearance.cluster.simulate.samples import MOST, Samples
from clearance.errors import UsageError

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def report():
    jobs = [(0, 4000, 3), (700, 5000, 2), (1400, 7200, 8)]
    arrivals = tuple(
        Arrival(at, runtime, Job(f"j{number}", task_groups=(TaskGroup("w", members, {"nvidia.com/gpu": 1}),)))
        for number, (at, runtime, members) in enumerate(jobs)
    )
    return simulate(
        Trace(arrivals), default(), read_nodes("2x4gpu"), policy="binpacking", backfill="easy", estimates="exact"
    )


def test_percentiles_are_by_nearest_rank():
    assert Summary.of(range(1, 11)) == Summary(10, 5.5, 5, 9, 10, 10)
    assert Summary.of([]) == Summary()
    assert Summary.of([3.0]) == Summary(1, 3, 3, 3, 3, 3)


@given(st.lists(st.floats(0, 1e9), min_size=1))
def test_percentiles_are_among_the_values_and_in_order(values):
    summary = Summary.of(values)
    assert {summary.p50, summary.p90, summary.p99, summary.max} <= set(values)
    assert summary.p50 <= summary.p90 <= summary.p99 <= summary.max == max(values)


def test_sizes_are_rounded_up_to_powers_of_two_and_who_never_started_is_left_out():
    found = by_size([1, 2, 3, 4, 5, 8, 9, 1], [1, 2, 3, 5, 8, 8, 9, math.inf])
    assert {size: (summary.count, summary.mean) for size, summary in found.items()} == {
        1: (1, 1), 2: (1, 2), 4: (2, 4), 8: (2, 8), 16: (1, 9),
    }  # fmt: skip


def test_jains_index_is_one_where_all_are_alike_and_one_by_their_number_where_one_has_all():
    assert (jain([3, 3, 3]), jain([5, 0, 0, 0]), jain([])) == (1, 0.25, 1)


def test_the_slowdown_of_short_jobs_is_bounded():
    assert (bounded_slowdown(100, 50), bounded_slowdown(20, 1), bounded_slowdown(1, 1)) == (2, 2, 1)


def test_samples_hold_until_the_next_and_are_thinned():
    samples = Samples([0, 10, 40], [1, 0, 0.5], [0, 0, 0], [2, 1, 0], [2, 2, 2], [1, 1, 0], [0, 0, 0])
    assert samples.mean(samples.utilisation) == 10 / 40
    samples.thin()
    assert (samples.at, samples.busy) == ([0, 40], [2, 0])


def test_samples_are_bounded_however_long_the_trace():
    job = Job("", task_groups=(TaskGroup("w", 1, {"vcore": 1}),))
    arrivals = (Arrival(at * 1000.0, 10, Job(f"j{at}", task_groups=job.task_groups)) for at in range(3 * MOST))
    samples = simulate(Trace(arrivals), default(), read_nodes("1x4cpu")).samples
    assert MOST / 4 < len(samples.at) <= MOST
    assert samples.at == sorted(samples.at)


def test_the_samples_follow_the_cluster(report):
    """From 700 on j0 and j1 hold 5 of 8 GPUs on both nodes, so that 3 are free beside them; from 1400 on j2 waits."""
    samples = report.samples
    assert samples.at[:3] == [0, 700, 1400]
    assert (samples.utilisation[1], samples.fragmentation[1], samples.busy[1]) == (5 / 8, 3 / 8, 2)
    assert (samples.running[2], samples.waiting[2]) == (2, 1)
    assert (samples.utilisation[-1], samples.waiting[-1], samples.nodes[-1]) == (0, 0, 2)
    assert report.wait_by_size[8].mean == 5700 - 1400


def test_who_is_later_than_in_another_simulation_is_counted(report):
    assert report.later_than(report) == 0
    assert report.plain()["promises"] == report.promises
    assert "starts" not in report.plain()


def test_a_folder_holds_the_data_the_pictures_and_a_page_that_shows_them(report, tmp_path):
    write_folder(report, tmp_path / "a/out", "a <trace>", {"more": "x & y"})
    files = {file.name: file.read_bytes() for file in (tmp_path / "a/out").iterdir()}
    pictures = {"utilisation.png", "waiting.png", "fragmentation.png", "nodes.png"}
    assert set(files) == pictures | {"report.json", "index.html"}
    assert all(files[name].startswith(PNG) for name in pictures)
    page = files["index.html"].decode()
    assert all(f'src="{name}"' in page for name in pictures)
    assert "a &lt;trace&gt;" in page
    assert "x &amp; y" in page
    data = json.loads(files["report.json"])
    assert (data["finished"], data["digest"], data["wait"]["count"]) == (3, report.digest, 3)


def test_a_folder_that_cannot_be_written_is_refused(report, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"the report cannot be written to .*file: .*: name another folder"):
        write_folder(report, tmp_path / "file", "x")
