"""A task is just a function, and a DAG can be checked without running it."""

from pipeline import Report, best, line, measure


def test_the_dag_is_well_formed():
    graph = line.graph(count=10)
    assert [node.id for node in graph.nodes] == ["measure", "fit", "judge", "best"]


def test_measure_gives_as_many_points_as_asked():
    assert len(measure(count=10).x) == 10


def test_the_smallest_error_wins():
    assert best([Report(3.1, 0.7), Report(3.0, 0.5)]).error == 0.5
