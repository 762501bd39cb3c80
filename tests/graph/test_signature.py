"""Annotations that are text, and annotations that cannot be read."""


def test_text_annotations_are_resolved_when_the_graph_is_built(pipeline):
    from clearance.graph.loading import load

    file = pipeline("")
    file.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from clearance import dag, task\n"
        "@task\ndef a() -> Later: ...\n"
        "@task\ndef b(x: Later | None) -> list[Later]: ...\n"
        "@dataclass\nclass Later:\n    x: int\n"
        "d = dag('d', a >> b)\n"
    )
    assert load(file).graph().nodes[1].returns == "list[pipe.Later]"


def test_an_annotation_that_cannot_be_found_is_named(refused):
    text = """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from numpy import ndarray
        @task
        def a() -> "ndarray": ...
        d = dag("d", a)
        """
    assert "task 'a' (pipe.py:5): an annotation names 'ndarray', which cannot be found" in refused(text)


def test_an_annotation_that_is_no_expression_is_refused(refused):
    assert "an annotation cannot be read" in refused("@task\ndef a() -> 'a b c': ...\nd = dag('d', a)")
