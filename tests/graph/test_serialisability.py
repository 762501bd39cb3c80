"""Which types can travel between tasks, judged by their names."""

import enum
import queue
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import msgspec
import numpy
import numpy.typing
import pandas
import pyarrow
import pytest
import torch

from clearance import Dataset, Endpoint, File, Model, Tree
from clearance.graph.serialisability import unserialisable


class Colour(enum.Enum):
    RED = 1


@dataclass
class Points:
    x: list[float]
    next: "Points | None" = None


@dataclass
class Holder:
    connection: socket.socket


class Struct(msgspec.Struct):
    weights: dict[str, torch.Tensor]


class Row(TypedDict):
    lock: queue.Queue


class Pair(NamedTuple):
    x: int
    points: Points


@pytest.mark.parametrize(
    "kind",
    [
        None, int, bytes, Any, list[int], dict[str, torch.Tensor], tuple[int, ...], int | None, Literal["a"], Colour,
        Points, Struct, Pair, numpy.ndarray, numpy.typing.NDArray[numpy.int8], torch.Tensor, pandas.DataFrame,
        pyarrow.Table, Path, File, Tree, Dataset, Model, Endpoint, datetime, Sequence[Tree], list[Points],
    ],
)  # fmt: skip
def test_these_can_travel(kind):
    assert unserialisable(kind) is None


@pytest.mark.parametrize(
    ("kind", "culprit"),
    [
        (socket.socket, socket.socket), (list[socket.socket], socket.socket), (Holder, socket.socket),
        (dict[str, Holder | None], socket.socket), (Row, queue.Queue), (torch.nn.Module, torch.nn.Module),
        (Counter, Counter), (re.Pattern, re.Pattern), (Iterator[int], Iterator[int]),
    ],
)  # fmt: skip
def test_these_cannot_and_the_culprit_is_named(kind, culprit):
    assert unserialisable(kind) == culprit


def test_a_function_cannot_travel():
    assert unserialisable(Callable[[int], int]) is not None


def test_the_message_lists_what_is_possible(refused):
    text = """
        import socket
        @task
        def a() -> socket.socket: ...
        d = dag("d", a)
        """
    message = refused(text)
    assert message.startswith("task 'a' (pipe.py:3): its result: socket.socket has no serializer")
    assert "numpy.ndarray" in message
    assert "clearance.register_serializer(socket.socket" in message


def test_the_graph_imports_neither_numpy_nor_torch():
    code = "import sys, clearance.graph; print({'numpy', 'torch', 'rich', 'cryptography'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
