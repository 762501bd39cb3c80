"""Amounts of resources: as YuniKorn writes them, exact, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.cluster import quantities
from clearance.cluster.quantities import GPU, LARGEST, format_quantity, parse_quantity
from clearance.errors import UsageError
from clearance.types.resources import Resources

NAMES = st.sampled_from(["vcore", "memory", GPU, "pods", "ephemeral-storage", "hugepages-2Mi", "example.com/fpga"])
AMOUNTS = st.dictionaries(NAMES, st.integers(0, LARGEST))


@pytest.mark.parametrize(
    ("name", "written", "amount"),
    [
        ("vcore", "90", 90_000),
        ("vcore", "500m", 500),
        ("vcore", "1k", 1_000_000),
        ("memory", "1", 1),
        ("memory", "1G", 10**9),
        ("memory", "700Gi", 700 * 2**30),
        ("memory", "1 Ki", 1024),
        ("memory", "+7", 7),
        ("pods", "2k", 2000),
        ("example.com/fpga", "3", 3),
    ],
)
def test_a_quantity_means_what_yunikorn_documents(name: str, written: str, amount: int):
    """yunikorn.apache.org, Partition and Queue Configuration, resources: SI and binary suffixes, `m` for vcore."""
    assert parse_quantity(name, written) == amount


@pytest.mark.parametrize(
    ("suffix", "factor"),
    [
        ("k", 10**3), ("M", 10**6), ("G", 10**9), ("T", 10**12), ("P", 10**15), ("E", 10**18),
        ("Ki", 2**10), ("Mi", 2**20), ("Gi", 2**30), ("Ti", 2**40), ("Pi", 2**50), ("Ei", 2**60),
    ],
)  # fmt: skip
def test_every_suffix_has_its_factor(suffix: str, factor: int):
    assert parse_quantity("memory", f"3{suffix}") == 3 * factor


def test_gpus_are_counted_in_thousandths_of_a_device():
    assert parse_quantity(GPU, 8) == 8000
    assert parse_quantity(GPU, "500m") == 500
    assert 2 * parse_quantity(GPU, "500m") == parse_quantity(GPU, "1")


@pytest.mark.parametrize(
    ("name", "written", "mend"),
    [
        ("memory", "-1", "negative; write 0 or more"),
        ("memory", "NaN", "write a whole number"),
        ("memory", "inf", "write a whole number"),
        ("memory", "", "write a whole number"),
        ("memory", "1.5Gi", "'1536Mi'"),
        ("vcore", "0.5", "'500m'"),
        (GPU, "0.5", "'500m'"),
        ("memory", "500m", "have thousandths"),
        ("pods", "500m", "have thousandths"),
        ("memory", "1K", "did you mean 'k'"),
        ("memory", "1Q", "there is no suffix 'Q'; use k, M, G"),
        ("memory", "1gi", "did you mean 'Gi'"),
        ("memory", "9223372036854775808", "more than 2**63 - 1"),
        ("memory", "8Ei", "more than 2**63 - 1"),
        ("vcore", "9223372036854776", "more than 2**63 - 1 thousandths"),
        ("memory", "١", "write a whole number"),
        ("memory", True, "write a whole number"),
    ],
)
def test_a_bad_quantity_is_refused_with_path_value_and_mend(name: str, written: int | str, mend: str):
    with pytest.raises(UsageError) as raised:
        parse_quantity(name, written, "root.ml.resources.max")
    assert f"root.ml.resources.max.{name} is {written!r}" in str(raised.value)
    assert mend in str(raised.value)


@pytest.mark.parametrize(
    ("name", "mend"), [("cpu", "write 'vcore'"), ("gpu", f"write '{GPU}'"), ("memry", "did you mean 'memory'")]
)
def test_an_unknown_resource_is_refused_with_the_right_name(name: str, mend: str):
    with pytest.raises(UsageError, match=mend):
        parse_quantity(name, 1)


@given(NAMES, st.integers(0, LARGEST))
def test_what_is_formatted_is_parsed_to_the_same(name: str, amount: int):
    assert parse_quantity(name, format_quantity(name, amount)) == amount


@given(NAMES, st.text(max_size=12) | st.from_regex(r"[+-]?[0-9]{1,25}([a-zA-Z]{0,2})?", fullmatch=True))
def test_whatever_is_written_is_an_amount_within_bounds_or_refused(name: str, written: str):
    try:
        amount = parse_quantity(name, written)
    except UsageError:
        return
    assert 0 <= amount <= LARGEST


def test_amounts_are_written_short():
    assert format_quantity("memory", 700 * 2**30) == "700Gi"
    assert format_quantity("memory", 10**12) == "1T"
    assert format_quantity("memory", 1) == "1"
    assert format_quantity("vcore", 90_000) == "90"
    assert format_quantity("vcore", 1500) == "1500m"
    assert quantities.format_amounts({"vcore": 4000, "memory": 2**34}) == "vcore=4 memory=16Gi"
    assert quantities.format_amounts({}) == "nothing"


def test_the_table_takes_what_a_task_asks_to_yunikorn_and_back():
    asked = Resources(cpu=1.5, memory="2Gi", gpu=0.25).quantities()
    theirs = quantities.to_yunikorn(asked)
    assert theirs == {"vcore": 1500, "memory": 2**31, GPU: 250}
    assert quantities.from_yunikorn(theirs) == asked


def test_the_table_refuses_what_it_does_not_have():
    with pytest.raises(UsageError, match="did you mean 'memory'"):
        quantities.to_yunikorn({"memori": 1})
    with pytest.raises(UsageError, match="cannot ask for 'pods'"):
        quantities.from_yunikorn({"pods": 1})


@given(AMOUNTS, AMOUNTS)
def test_what_is_added_can_be_taken_away(one: dict[str, int], other: dict[str, int]):
    assert quantities.subtract(quantities.add(one, other), other) == {**dict.fromkeys(other, 0), **one}


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_what_fits_the_minimum_fits_both(asked: dict[str, int], one: dict[str, int], other: dict[str, int]):
    both = quantities.fits(asked, one) and quantities.fits(asked, other)
    assert quantities.fits(asked, quantities.minimum(one, other)) == both


@given(AMOUNTS, AMOUNTS)
def test_what_exceeds_is_what_does_not_fit(asked: dict[str, int], limit: dict[str, int]):
    assert quantities.fits(asked, limit) == (not quantities.exceeding(asked, limit))


def test_a_share_is_that_of_the_dominant_resource():
    """Dominant share as in Ghodsi et al., DRF, NSDI 2011, section 3: user A's tasks use 3 CPU of 9 and 12 GB of 18."""
    assert quantities.share({"vcore": 3000, "memory": 12}, {"vcore": 9000, "memory": 18}) == pytest.approx(2 / 3)
    assert quantities.share({"pods": 5}, {"vcore": 9000}) == 0
    assert quantities.share({"vcore": 5}, {"vcore": 0}) >= 1
    assert quantities.multiply({"vcore": 3}, 4) == {"vcore": 12}
