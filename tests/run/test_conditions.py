"""Conditions, parts of results, teardowns and handlers with the real command, engine and database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.postgresql import schema
from support.runs import Home

PIPELINE = """
import enum
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
import msgspec
from clearance import Model, Outcome, branch, context, dag, group, otherwise, task, when

HERE = Path(os.environ["TEST_FOLDER"])

def said(line):
    with open(HERE / "log", "a") as file:
        file.write(line + "\\n")

class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"

class Pair(NamedTuple):
    low: int
    high: float

class Step(msgspec.Struct, rename="camel"):
    learning_rate: float

@dataclass
class Best:
    pair: Pair
    step: Step
    size: Size
    rows: list[dict[str, int]]

@task
def tell(outcome: Outcome) -> None:
    said(f"{outcome.task or 'run'} {outcome.state} {outcome.message}")

@task
def search(high: float = 0.95) -> Best:
    return Best(Pair(1, high), Step(0.5), Size.LARGE, [{"n": 1}, {"n": 2}, {"n": 3}])

@task
def model() -> Model:
    folder = context.directory / "m"
    folder.mkdir()
    (folder / "weights").write_bytes(b"w")
    return Model(folder, metadata={"accuracy": 0.7})

@task
def train(lr: float, size: Size, high: float, first: dict[str, int]) -> str:
    return f"{lr} {size} {high} {first}"

@task
def note(accuracy: float) -> float:
    return accuracy

@task
def weigh(row: dict[str, int]) -> int:
    return row["n"]

@task(on_failure=tell)
def odd(n: int) -> int:
    if n == 2 and not (HERE / "mended").exists():
        raise ValueError("two")
    said(f"odd {n}")
    return n

@task
def start(n: int) -> str:
    said(f"start {n}")
    return f"c{n}"

@task
def stop(cluster: str) -> None:
    said(f"stop {cluster}")

@group
def each(row: dict[str, int]):
    with when(row["n"] < 3):
        n = weigh(row)
        cluster = start(n)
        with cluster.teardown(stop):
            odd(n)

@dag(on_failure=tell, on_success=tell)
def whole(high: float = 0.95):
    best, made = search(high), model()
    with when((best.pair.high > 0.9) & (made.metadata["accuracy"] < 0.9)):
        train(best.step.learning_rate, best.size, best.pair.high, best.rows[0])
    with otherwise():
        note(made.metadata["accuracy"])
    each.map(row=best.rows)
"""

FLOW = """
from clearance import Outcome, flow, task

@task
def tell(outcome: Outcome) -> None:
    print(outcome.task, outcome.state, outcome.message)

@task(on_failure=tell, deadline=1)
def step(n: int) -> int:
    if n:
        raise ValueError("no")
    return n

@flow(on_failure=tell, on_success=tell)
def main(n: int = 0) -> int:
    return step(n)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def tower(request: pytest.FixtureRequest, tmp_path: Path):
    def made(url: str = "") -> Home:
        home = Home(tmp_path / "home", url)
        home.environment["TEST_FOLDER"] = str(tmp_path)
        (tmp_path / "pipeline.py").write_text(PIPELINE)
        return home

    if request.param == "sqlite":
        home = made()
        yield home
        home.kill_all()
    else:
        with schema() as url:
            home = made(url)
            yield home
            home.kill_all()


def test_parts_conditions_teardowns_and_handlers_in_one_run(tower: Home, tmp_path: Path):
    log = tmp_path / "log"
    tower.command("run", str(tmp_path / "pipeline.py"), expect=1)
    states = tower.states("whole/1")
    assert states["train"] == "success"
    assert states["note"] == "skipped"
    assert [states[f"each.odd[{n}]"] for n in range(3)] == ["success", "failed", "skipped"]
    assert [states[f"each.stop[{n}]"] for n in range(3)] == ["success", "success", "skipped"]
    assert [states[f"each.odd.on_failure[{n}]"] for n in range(3)] == ["skipped", "success", "skipped"]
    assert (states["on_failure"], states["on_success"]) == ("success", "skipped")
    assert json.loads(tower.command("artifact", "get", "whole/1", "train")) == "0.5 Size.LARGE 0.95 {'n': 1}"
    lines = sorted(log.read_text().splitlines())
    assert lines == [
        "each.odd[1] failed two", "odd 1", "run failed each.odd: 1 of its instances did not succeed",
        "start 1", "start 2", "stop c1", "stop c2",
    ]  # fmt: skip
    (why,) = json.loads(tower.command("why", "whole/1", "each.weigh[2]", "--json"))
    assert why["reason"] == "condition row.n < 3 is false (3)"
    shown = json.loads(tower.command("artifact", "show", "whole/1", "train", "--json"))
    assert shown["attestations"]

    log.unlink()
    (tmp_path / "mended").touch()
    tower.command("retry", "whole/1", "each.odd[1]")
    states = tower.states("whole/1")
    assert [states[f"each.odd[{n}]"] for n in range(3)] == ["success", "success", "skipped"]
    assert (states["on_failure"], states["on_success"]) == ("skipped", "success")
    assert log.read_text().splitlines() == ["start 2", "odd 2", "stop c2", "run success "]


def test_the_other_arm_and_a_value_that_cannot_be_compared(tower: Home, tmp_path: Path):
    (tmp_path / "mended").touch()
    tower.command("run", str(tmp_path / "pipeline.py"), "-p", "high=0.5")
    states = tower.states("whole/1")
    assert (states["train"], states["note"]) == ("skipped", "success")
    assert json.loads(tower.command("artifact", "get", "whole/1", "note")) == 0.7


def test_a_flow_has_handlers(tower: Home, tmp_path: Path):
    (tmp_path / "flows.py").write_text(FLOW)
    tower.command("run", str(tmp_path / "flows.py"))
    states = tower.states("main/1")
    assert (states["main.on_failure"], states["main.on_success"]) == ("skipped", "success")
    tower.command("run", str(tmp_path / "flows.py"), "-p", "n=1", expect=1)
    states = tower.states("main/2")
    assert (states["main"], states["main.on_failure"], states["main.on_success"]) == ("failed", "success", "skipped")
    assert "main failed" in tower.command("logs", "main/2", "main.on_failure")
