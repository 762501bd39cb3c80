"""Base scores, against those that NVD publishes for the same vectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.trust.scan.cvss import base_score, severity_of
from clearance.trust.scan.finding import Severity

# https://www.first.org/cvss/v3.1/examples
EXAMPLES = {
    "CVSS:3.0/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N": 6.4,  # CVE-2013-0375
    "CVSS:3.0/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N": 3.1,  # CVE-2014-3566
    "CVSS:3.0/AV:N/AC:L/PR:L/UI:N/S:C/C:H/I:H/A:H": 9.9,  # CVE-2012-1516
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N": 7.5,  # CVE-2014-0160
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H": 9.8,  # CVE-2014-6271
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N": 6.1,  # CVE-2015-8252's kind of cross-site scripting
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H": 10.0,  # CVE-2021-44228
    "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:N/I:L/A:N": 3.3,  # CVE-2023-5752
    "CVSS:3.1/AV:P/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N": 0.0,
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H/E:P/RL:O": 9.8,
}


@pytest.mark.parametrize("vector", EXAMPLES)
def test_the_base_score_is_the_published_one(vector: str):
    assert base_score(vector) == EXAMPLES[vector]


@pytest.mark.parametrize(
    "vector",
    [
        "", "CVSS:2.0/AV:N", "AV:N/AC:L/Au:N/C:P/I:P/A:P", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H",
        "CVSS:3.1/AV:N/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N",
    ],
)  # fmt: skip
def test_what_is_no_whole_vector_has_no_score(vector: str):
    assert base_score(vector) is None


def test_scores_have_the_words_of_the_specification():
    words = {0.1: "low", 3.9: "low", 4.0: "medium", 6.9: "medium", 7.0: "high", 8.9: "high", 9.0: "critical"}
    assert {score: severity_of(score) for score in words} == words
    assert [each.rank for each in Severity] == [0, 1, 2, 3, 4]


@given(st.text(alphabet="CVSS:3.1/AVNACLPRUIHTXÄ", max_size=60))
def test_any_text_has_a_score_or_none(text: str):
    score = base_score(text)
    assert score is None or 0 <= score <= 10
