"""The benches' helpers: what they print, what they read, what they count. No figure is judged here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.run import kills

from bench import common
from clearance.graph.loading import dags_of, load_module

ROOT = Path(__file__).parents[2]
BENCHES = sorted(path for path in (ROOT / "bench/run").glob("*.py"))


def test_a_figure_prints_as_one_line_with_its_verdict(capsys):
    common.show("a.b", 1.23456)
    common.show("a.c", 2, "<= 3", True)
    common.show("a.d", "not measured: no server", ">= 3", False)
    assert capsys.readouterr().out.splitlines() == [
        "a.b: 1.235",
        "a.c: 2  (bar <= 3 reached)",
        "a.d: not measured: no server  (bar >= 3 NOT REACHED)",
    ]


def test_figures_are_read_back_from_among_other_lines():
    text = "12:00:01 | INFO | begins: now\nstep_s: 0.25\nother: text\nratio: 2.0  (bar <= 3 reached)\n"
    assert common.figures(text) == {"step_s": 0.25, "ratio": 2.0}


def test_the_cost_of_a_command_counts_its_orphans_and_its_exit_code():
    burn = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    outer = f"import os, sys\nif os.fork(): os._exit(3)\nos.setsid()\n{burn}"
    line = [sys.executable, "-c", outer]
    code = f"from bench.common import measured; c = measured({line!r}, dict(), watch=True); print(c.code, c.cpu, c.pss)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    status, cpu, pss = done.stdout.split()
    assert status == "3"
    assert float(cpu) >= 0.2
    assert int(pss) > 1e6


def test_everything_with_a_mark_is_killed_and_nothing_else():
    line = [sys.executable, "-c", "import os, time\nos.fork()\ntime.sleep(60)"]
    marked = subprocess.Popen(line, env=dict(os.environ, CLEARANCE_TEST_MARK="mine"), start_new_session=True)
    other = subprocess.Popen(line, env=dict(os.environ, CLEARANCE_TEST_MARK="mine too"), start_new_session=True)
    try:
        common.kill_everything("CLEARANCE_TEST_MARK", "mine")
        assert common.processes_with("CLEARANCE_TEST_MARK", "mine") == []
        assert other.pid in common.processes_with("CLEARANCE_TEST_MARK", "mine too")
    finally:
        common.kill_everything("CLEARANCE_TEST_MARK", "mine too")
    marked.wait()
    other.wait()


def test_marks_after_a_kill_count_as_redone_and_those_of_finished_tasks_as_lost():
    marks = [(1, 0.0), (2, 1.0), (2, 3.0), (3, 4.0), (1, 6.0), (4, 7.0)]
    tally = kills.Tally()
    kills.count(marks, [kills.Kill(2.0, 2.5, frozenset({1})), kills.Kill(5.0, 5.75, frozenset({1, 2, 3}))], tally)
    assert (tally.kills, tally.early, tally.redone, tally.most_redone, tally.lost) == (2, 0, 2, 1, 1)
    assert tally.recovery == [0.5, 0.25]


def test_a_kill_before_the_first_mark_redoes_nothing():
    tally = kills.Tally()
    kills.count([(1, 2.0)], [kills.Kill(1.0, 1.5, frozenset())], tally)
    assert (tally.early, tally.redone, tally.lost) == (1, 0, 0)


@pytest.mark.parametrize("bench", BENCHES, ids=lambda path: path.stem)
def test_every_bench_says_what_it_measures_and_compiles(bench):
    tree = compile(bench.read_text(), str(bench), "exec", dont_inherit=True)
    assert tree.co_consts[0]
    assert "__main__" in bench.read_text()


@pytest.mark.parametrize("pipeline", sorted(common.PIPELINES.glob("*.py")), ids=lambda path: path.stem)
def test_every_pipeline_of_a_bench_is_one(pipeline):
    assert dags_of(load_module(pipeline))


@pytest.mark.parametrize("pins", sorted((ROOT / "bench/run/peers").glob("*.txt")), ids=lambda path: path.stem)
def test_every_peer_is_pinned_and_has_a_script(pins):
    assert all("==" in line for line in pins.read_text().split())
    assert pins.with_suffix(".py").exists()
