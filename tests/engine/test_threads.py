"""How many threads numerical libraries are told to use."""

from __future__ import annotations

from pathlib import Path

import pytest

from clearance.engine.conformance import Bench, unpack, value_of
from clearance.engine.local.attempt import threads_of
from clearance.engine.local.engine import LocalEngine
from clearance.settings import Settings


def threads(bench: Bench, key: str, isolation: str, cpu_millis: int, **how: object) -> str:
    found = bench.run(key, "variable", isolation, name="OMP_NUM_THREADS", cpu_millis=cpu_millis, **how)
    return str(value_of(found.result))


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_one_thread_a_whole_cpu_and_never_none() -> None:
    assert [threads_of(millis) for millis in (0, 1, 999, 2999)] == [
        {}, *({"OMP_NUM_THREADS": count} for count in ("1", "1", "2"))
    ]  # fmt: skip


@pytest.mark.parametrize("isolation", ["process", "inline", "worker"])
def test_an_attempt_is_told_as_many_threads_as_it_has_cpus(home: Path, isolation: str) -> None:
    engine = LocalEngine(Settings(home=home))
    bench = Bench(engine, home, engine.adopt(1))
    assert [threads(bench, f"a{millis}.1", isolation, millis) for millis in (500, 3500, 0)] == ["1", "3", "unset"]
    assert threads(bench, "b.1", isolation, 2000, environment={"OMP_NUM_THREADS": "7"}) == "7"
    assert threads(bench, "c.1", isolation, 2000) == "2"
    engine.close(stop=True)


@pytest.mark.parametrize("isolation", ["process", "inline", "worker"])
def test_what_the_user_has_set_stands(home: Path, monkeypatch: pytest.MonkeyPatch, isolation: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    engine = LocalEngine(Settings(home=home))
    bench = Bench(engine, home, engine.adopt(1))
    assert [threads(bench, f"a{millis}.1", isolation, millis) for millis in (500, 3500)] == ["5", "5"]
    engine.close(stop=True)


def test_a_worker_in_an_interpreter_of_its_own_is_told_before_it_imports(home: Path) -> None:
    """An import that starts a thread: workers are spawned, and the import runs once more in each."""
    warm = "import os, threading\nSEEN = os.environ.get('OMP_NUM_THREADS')\n"
    warm += "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    code = "import warm\ndef seen() -> str: return str(warm.SEEN)\n"
    engine = LocalEngine(Settings(home=home))
    bench = Bench(engine, home, engine.adopt(1))
    bundle = unpack(home, {"pipeline.py": code, "warm.py": warm})
    how = {"bundle": bundle, "preload": ("warm",), "cpu_millis": 4000}
    for kind in ("process", "worker"):
        assert value_of(bench.run(f"{kind}.1", "seen", kind, **how).result) == "4"
    engine.close(stop=True)
