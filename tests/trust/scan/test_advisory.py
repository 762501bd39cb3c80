"""Ranges of versions, against the specification's algorithm read plainly."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from clearance.trust.scan.advisory import Affected, Event, Range, Verdict, fixes, judge


def entry(*events: dict[str, str], type: str = "ECOSYSTEM", versions: tuple[str, ...] = ()) -> Affected:
    ranges = (Range(type, tuple(msgspec.convert(each, Event) for each in events)),) if events else ()
    return Affected(ranges=ranges, versions=versions)


BEFORE_2 = entry({"introduced": "0"}, {"fixed": "2.0"})
TWICE = entry({"introduced": "1.0"}, {"fixed": "1.5"}, {"introduced": "2.0"}, {"fixed": "2.5"})
ALPHAS = entry({"introduced": "1.0.0-alpha.1"}, {"fixed": "1.0.0-beta"}, type="SEMVER")
LAST = entry({"introduced": "1.0"}, {"last_affected": "1.5"})


@pytest.mark.parametrize(
    ("version", "affected", "verdict"),
    [
        ("1.9.9", BEFORE_2, Verdict.AFFECTED),
        ("2.0", BEFORE_2, Verdict.CLEAR),
        ("2", BEFORE_2, Verdict.CLEAR),
        ("2.0rc1", BEFORE_2, Verdict.AFFECTED),
        ("2.0.dev3", BEFORE_2, Verdict.AFFECTED),
        ("0.dev0", BEFORE_2, Verdict.AFFECTED),
        ("2.0.post1", BEFORE_2, Verdict.CLEAR),
        ("1!0.1", BEFORE_2, Verdict.CLEAR),
        ("2.0+cu121", BEFORE_2, Verdict.CLEAR),
        ("1.9+cu121", BEFORE_2, Verdict.AFFECTED),
        ("0.9", TWICE, Verdict.CLEAR),
        ("1.2", TWICE, Verdict.AFFECTED),
        ("1.7", TWICE, Verdict.CLEAR),
        ("2.4", TWICE, Verdict.AFFECTED),
        ("2.5", TWICE, Verdict.CLEAR),
        ("1.5", LAST, Verdict.AFFECTED),
        ("1.5+cu121", LAST, Verdict.AFFECTED),
        ("1.5.1", LAST, Verdict.CLEAR),
        ("3.0", entry({"introduced": "0"}, {"limit": "2.0"}), Verdict.CLEAR),
        ("1.0", entry({"introduced": "0"}, {"limit": "2.0"}), Verdict.AFFECTED),
        ("3.0", entry({"introduced": "0"}, {"limit": "*"}), Verdict.AFFECTED),
        ("1.0.0", entry(versions=("1.0",)), Verdict.AFFECTED),
        ("1.0.1", entry(versions=("1.0",)), Verdict.CLEAR),
        ("2004d", entry(versions=("2004d",)), Verdict.AFFECTED),
        ("2004d", BEFORE_2, Verdict.UNKNOWN),
        ("9" * 5000, BEFORE_2, Verdict.UNKNOWN),
        ("9" * 5000, ALPHAS, Verdict.UNKNOWN),
        ("1.0", entry({"introduced": "2004d"}), Verdict.UNKNOWN),
        ("1.0", entry({"introduced": "a4c735b"}, type="GIT"), Verdict.CLEAR),
        ("1.0.0-alpha.2", ALPHAS, Verdict.AFFECTED),
        ("1.0.0", ALPHAS, Verdict.CLEAR),
        ("1.0rc1", entry({"introduced": "0"}, {"fixed": "1.0"}, type="SEMVER"), Verdict.AFFECTED),
        ("1.0.0.1", entry({"introduced": "0"}, {"fixed": "1.0"}, type="SEMVER"), Verdict.CLEAR),
    ],
)  # fmt: skip
def test_a_version_is_judged_as_the_specification_says(version: str, affected: Affected, verdict: Verdict):
    assert judge(version, affected) is verdict


def test_semver_orders_as_its_specification_lists():
    """SemVer 2.0, section 11: each is lower than the next."""
    order = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11",
             "1.0.0-rc.1", "1.0.0"]  # fmt: skip
    for index, version in enumerate(order):
        for at, fixed in enumerate(order):
            expected = Verdict.AFFECTED if index < at else Verdict.CLEAR
            assert judge(version, entry({"introduced": "0"}, {"fixed": fixed}, type="SEMVER")) is expected


def test_the_fixes_after_a_version_are_in_order():
    assert list(map(str, fixes("1.2", TWICE))) == ["1.5", "2.5"]
    assert list(map(str, fixes("2.0", TWICE))) == ["2.5"]


def test_an_event_says_one_thing():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"introduced": "1", "fixed": "2"}, Event)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({}, Event)


SMALL = st.integers(0, 8).map(lambda number: f"{number // 3}.{number % 3}")


@given(st.lists(st.tuples(SMALL, SMALL), max_size=3), SMALL)
def test_disjoint_intervals_are_judged_one_by_one(pairs: list[tuple[str, str]], version: str):
    """Whatever the order of the events."""
    ends = sorted({end for pair in pairs for end in pair}, key=Version)
    intervals = list(zip(ends[::2], ends[1::2], strict=False))
    events = [event for low, high in intervals for event in ({"fixed": high}, {"introduced": low})]
    inside = any(Version(low) <= Version(version) < Version(high) for low, high in intervals)
    assert judge(version, entry(*events)) is (Verdict.AFFECTED if inside else Verdict.CLEAR)


@given(st.text(max_size=12), st.text(min_size=1, max_size=12), st.sampled_from(["ECOSYSTEM", "SEMVER", "GIT", "?"]))
def test_any_text_is_judged(version: str, event: str, type: str):
    assert judge(version, entry({"introduced": event}, {"fixed": "1"}, type=type)) in Verdict
