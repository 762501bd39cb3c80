"""`clearance search`, `runs list` and `runs tag`: what is wrong is said before anything is done."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "lr"], "compare it, for example lr=1"),
        (["search", "state:done"], "a run is one of"),
        (["runs", "list", "--state", "fialed"], "did you mean 'failed'"),
        (["runs", "list", "--tag", "a b=c"], "a name has up to 63"),
        (["runs", "list", "-p", "lr"], "write -p name=value"),
        (["runs", "tag", "x/1"], "say a tag"),
        (["runs", "tag", "x/1", "team"], "write name=value"),
        (["runs", "tag", "x/1", "a=1", "a=2"], "said twice"),
        (["run", "pipeline.py", "--tag", "team"], "write name=value"),
    ],
)
def test_wrong_use_is_one_line_and_makes_nothing(clearance, home, arguments, message):
    outcome = clearance(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert not home.exists()


def test_nothing_is_remembered_yet(clearance, home):
    for arguments in (["search", "lr=1"], ["runs", "tag", "x/1", "a=b"], ["artifact", "lineage", "x/1", "a"]):
        outcome = clearance(*arguments)
        assert (outcome.code, "nothing is remembered" in outcome.err) == (4, True)
        assert not home.exists()
