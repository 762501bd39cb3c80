from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.errors import UsageError
from clearance.settings import Settings
from clearance.types.nodes import MOST, VirtualNode, parse_nodes


def test_a_count_and_an_amount_make_that_many_nodes():
    assert parse_nodes("2x1cpu") == (VirtualNode("local-0", 1000), VirtualNode("local-1", 1000))


def test_groups_have_names_and_every_amount():
    assert parse_nodes("small=2x0.5cpu+512M, big = 1x4cpu + 16Gi + 2gpu") == (
        VirtualNode("small-0", 500, 512_000_000),
        VirtualNode("small-1", 500, 512_000_000),
        VirtualNode("big-0", 4000, 16 * 2**30, 2),
    )


def test_groups_of_one_name_are_counted_on():
    assert [node.name for node in parse_nodes("1x1cpu,a=1x1cpu,2x2cpu")] == ["local-0", "a-0", "local-1", "local-2"]


def test_nothing_is_no_virtual_node():
    assert parse_nodes("") == parse_nodes("  ") == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2", "no group of nodes"),
        ("x1cpu", "no group of nodes"),
        ("2x1cpu,", "no group of nodes"),
        ("0x1cpu", "at least 1"),
        (f"{MOST}x1cpu,1x1cpu", f"{MOST} in all"),
        ("999999999x1cpu", f"{MOST} in all"),
        ("2x", "no unit"),
        ("2x4", "no unit"),
        ("2x1Gi", "has no CPUs"),
        ("2x0cpu", "has no CPUs"),
        ("2x1cpu+2cpu", "cpu twice"),
        ("2x1cpu+2Gi+2Gi", "memory twice"),
        ("2xcpu", "no number of cpus"),
        ("2x-1cpu", "no number of cpus"),
        ("2xnancpu", "no number of cpus"),
        ("2x0.0001cpu", "steps of a thousandth"),
        ("2x1cpu+2Qi", "Ki, Mi, Gi"),
        ("2x1cpu+0.5gpu", "whole ones"),
        ("Rack A=1x1cpu", "is no name"),
        ("=1x1cpu", "is no name"),
        ("-a=1x1cpu", "is no name"),
    ],
)
def test_what_is_none_is_refused_with_the_mend(text: str, says: str):
    with pytest.raises(UsageError, match="nodes: ") as caught:
        parse_nodes(text)
    assert says in str(caught.value)


@given(st.text(alphabet="0123456789xcpugiM+=,. aGK-", max_size=30))
def test_any_text_gives_nodes_with_names_of_their_own_or_an_error(text: str):
    try:
        found = parse_nodes(text)
    except UsageError:
        return
    assert len({node.name for node in found}) == len(found) <= MOST
    assert all(node.cpu_millis > 0 for node in found)


def test_settings_refuse_nodes_beside_workers_and_an_unknown_accounting():
    assert Settings(nodes="2x1cpu").nodes == "2x1cpu"
    with pytest.raises(UsageError, match="set one"):
        Settings(nodes="2x1cpu", workers=2)
    with pytest.raises(UsageError, match="nodes: '2'"):
        Settings(nodes="2")
    with pytest.raises(UsageError, match="auto, off, required"):
        Settings(network_accounting="on")
