"""`FILE[:DAG]` and `-p name=value`."""

from pathlib import Path

import pytest

from clearance.cli.target import parse_parameters, parse_target
from clearance.errors import UsageError


@pytest.mark.parametrize(
    ("text", "file", "name"),
    [("a.py", "a.py", ""), ("a.py:d", "a.py", "d"), ("/x:y/a.py:d.e", "/x:y/a.py", "d.e"), ("a:b/c.py", "a:b/c.py", ""), ("a", "a", "")],
)  # fmt: skip
def test_targets(text, file, name):
    assert parse_target(text) == (Path(file), name)


def test_parameters():
    assert parse_parameters(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}


@pytest.mark.parametrize("pairs", [["a"], ["=1"], ["a=1", "a=2"]])
def test_wrong_parameters(pairs):
    with pytest.raises(UsageError, match="-p "):
        parse_parameters(pairs)
