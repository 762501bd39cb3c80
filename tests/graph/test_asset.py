"""URIs of assets: one thing has one name, and what is no name is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.errors import GraphError
from clearance.graph.asset import asset, normal
from clearance.graph.schedule import Asset


def test_an_asset_is_its_uri():
    assert asset("s3://lake/a") == Asset("s3://lake/a")
    assert str(asset("S3://Lake/a/")) == "asset('s3://lake/a')"


# The first four are those of RFC 3986, sections 5.2.4, 6.2.2, 6.2.2.1 and 6.2.3.
@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("x://h/a/b/c/./../../g", "x://h/a/g"),
        ("eXAMPLE://a/./b/../b/%63/%7bfoo%7d", "example://a/b/c/%7Bfoo%7D"),
        ("HTTP://www.EXAMPLE.com/", "http://www.example.com"),
        ("http://example.com:/", "http://example.com"),
        ("s3://lake/%7euser/", "s3://lake/~user"),
        ("s3://lake/a//b", "s3://lake/a//b"),
        ("s3://lake/../../a", "s3://lake/a"),
        ("s3://lake", "s3://lake"),
        ("s3://lake/é", "s3://lake/%C3%A9"),
        ("s3://lake/%c3%a9", "s3://lake/%C3%A9"),
        ("file:/data/x.csv", "file:///data/x.csv"),
        ("file:///data/x.csv", "file:///data/x.csv"),
        ("postgresql://DB:5432/shop?table=Orders", "postgresql://db:5432/shop?table=Orders"),
        ("http://[2001:DB8::1]:80/x", "http://[2001:db8::1]:80/x"),
        ("urn:isbn:0451450523", "urn:isbn:0451450523"),
        ("x://h/a?b/../c", "x://h/a?b/../c"),
        ("x://h/a?", "x://h/a"),
    ],
)
def test_one_thing_has_one_name(uri: str, expected: str):
    assert normal(uri) == expected
    assert normal(expected) == expected


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("s3://lake/a#part", "has a fragment, '#part', which names a part of a thing: leave it out"),
        ("s3://lake/a#", "has a fragment"),
        ("lake/a", "'lake/a' has no scheme: write for example 's3://lake/a'"),
        ("/data/x", "has no scheme: write for example 'file:///data/x'"),
        ("", "has no scheme"),
        (r"C:\data\x", "has no scheme"),
        ("1s3://x", "has no scheme"),
        ("s3://", "names nothing"),
        ("s3:", "names nothing"),
        ("file:///", "names nothing"),
        ("s3://lake/a b", "holds ' ', which no URI may: write %20"),
        ("s3://lake/a\n", r"holds '\n', which no URI may: write %0A"),
        ("s3://lake/100%", "holds '%', which no URI may: write %25"),
        ("s3://la ke/a", "holds ' '"),
        ("s3://la,ke/a", "has the host 'la,ke'"),
        ("s3://" + "a" * 1500, "has 1505 characters: at most 1500"),
        ("s3://lake/\ud800", "no Unicode text"),
        (None, "None is no text"),
    ],
)
def test_what_is_no_uri_of_an_asset_is_refused_with_the_mend(uri: Any, says: str):
    with pytest.raises(GraphError, match=r"test_asset.py:\d+: asset ") as error:
        asset(uri)
    assert says in str(error.value)


def test_a_password_is_refused_and_not_repeated():
    for uri in ("postgresql://me:hidden@db/shop", "x://hidden@db/shop"):
        with pytest.raises(GraphError, match="holds a user or password") as error:
            asset(uri)
        assert "hidden" not in str(error.value)


@given(st.text("aZ9:/.%?#@[]-_~é \x00", max_size=30), st.sampled_from(["", "s3://", "file:", "urn:"]))
def test_a_uri_is_normalised_once_or_refused(text: str, before: str):
    try:
        found = normal(before + text)
    except GraphError:
        return
    assert normal(found) == found
    assert found.isascii()
    assert "#" not in found
