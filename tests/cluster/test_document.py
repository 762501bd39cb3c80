"""YAML without what runs or grows: refused constructs, and that no text does anything but load or raise our error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearance.cluster import document
from clearance.cluster.config import load
from clearance.cluster.parse import parse
from clearance.errors import ClearanceError, UsageError
from support.queues import problems


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "it is no YAML"),
        ("a: 1\n---\nb: 2\n", "it is no YAML"),
        ("- 1\n", "the file is a list: write a map"),
        ("? [a]\n: 1\n", "the file has a list as a key"),
        ("partitions: [&a {queues: []}, *a]\n", "the alias '*a' is refused"),
        ("partitions:\n- <<: {queues: []}\n", "of the kind 'merge', which is refused"),
        ("partitions: !!python/object/apply:os.getcwd []\n", "which is refused"),
        ("a: " + "[" * 5000, "more than 100 levels"),
        ('"\\UFFFFFFFF": 1', "it is no YAML"),
        ("a: \0", "it is no YAML"),
        ("a:\n" + "#" * document.SIZE, "characters, more than"),
    ],
)
def test_what_yaml_has_beyond_data_is_refused(text: str, message: str):
    assert any(message in problem for problem in problems(text))


def test_a_bomb_of_aliases_is_refused_before_it_grows():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    assert problems("\n".join(lines)) == ["line 2: the alias '*a0' is refused: write out what it stands for"]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path):
    (tmp_path / "latin.yaml").write_bytes(b"# caf\xe9\n")
    for name in ("missing.yaml", "", "latin.yaml", "nul\0"):
        with pytest.raises(UsageError, match=r"cannot be read|not UTF-8"):
            load(tmp_path / name)


WORDS = st.sampled_from([
    "partitions", "name", "queues", "root", "a", "resources", "max", "guaranteed", "vcore", "memory", "1Gi", "-1",
    "limits", "users", "groups", "*", "placementrules", "fixed", "value", "parent", "true", "null", "filter",
    "childtemplate", "~", "properties", "priority.offset", "nodesortpolicy", "type", "fair", "maxapplications",
    "submitacl", "a b c", "1e9",
])  # fmt: skip  # fmt: skip
TREES = st.recursive(
    WORDS | st.integers() | st.floats() | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


@given(st.text() | st.text(alphabet="abc:-?&*!|>%@`\"'{}[],#\n \t\\0123<=", max_size=40))
def test_no_text_does_anything_but_load_or_raise_our_error(text: str):
    try:
        parse(text)
    except ClearanceError:
        return


@given(TREES)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_tree_of_known_words_does_anything_but_load_or_raise_our_error(tree: object):
    for text in (json.dumps({"partitions": [tree]}), json.dumps({"partitions": [{"queues": [tree, tree]}]})):
        try:
            parse(text)
        except ClearanceError:
            continue
