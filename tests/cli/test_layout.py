"""The layered layout: nothing overlaps, every arrow goes to the right."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.cli.layout import arrange, columns


@st.composite
def dags(draw):
    count = draw(st.integers(1, 25))
    return {
        f"t{index}": draw(st.lists(st.sampled_from([f"t{i}" for i in range(index)]), unique=True, max_size=4))
        if index
        else []
        for index in range(count)
    }


@settings(max_examples=60)
@given(dags(), st.data())
def test_boxes_never_overlap_and_arrows_go_right(upstream, data):
    sizes = {name: (data.draw(st.floats(20, 200)), data.draw(st.floats(20, 60))) for name in upstream}
    layout = arrange(upstream, sizes)
    for one, two in itertools.combinations(layout.boxes.values(), 2):
        apart_x = one.x + one.width <= two.x or two.x + two.width <= one.x
        apart_y = one.y + one.height <= two.y + 1e-6 or two.y + two.height <= one.y + 1e-6
        assert apart_x or apart_y
    for box in layout.boxes.values():
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= layout.width
        assert box.y + box.height <= layout.height + 1e-6
    assert set(layout.arrows) == {(other, name) for name, before in upstream.items() for other in before}
    for points in layout.arrows.values():
        assert all(one[0] < two[0] for one, two in itertools.pairwise(points))


def test_a_column_is_the_longest_path():
    assert columns({"a": [], "b": ["a"], "c": ["a", "b"], "d": []}) == {"a": 0, "b": 1, "c": 2, "d": 0}


def test_an_empty_dag_has_no_size_to_speak_of():
    assert arrange({}, {}).boxes == {}


def test_a_long_chain_needs_no_recursion():
    upstream = {f"t{i}": [f"t{i - 1}"] if i else [] for i in range(3000)}
    assert len(arrange(upstream, dict.fromkeys(upstream, (80.0, 40.0))).boxes) == 3000
