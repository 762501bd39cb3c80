"""Files of queues for tests: short ones around what a test is about, and what is wrong with one."""

from __future__ import annotations

import pytest

from clearance.cluster.parse import parse
from clearance.cluster.problems import InvalidQueues


def problems(text: str) -> list[str]:
    """Returns everything that is wrong with a text, a line each."""
    with pytest.raises(InvalidQueues) as raised:
        parse(text)
    return [str(problem) for problem in raised.value.problems]


def below_root(queues: str) -> str:
    """Returns a file with these queues, in YAML on one line, from its line 2 on."""
    return f"partitions:\n- queues: {queues}\n"


def partition(text: str) -> str:
    """Returns a file with one partition, in YAML on one line, its line 2."""
    return f"partitions:\n- {{{text}}}\n"
