"""Searching logs: of real tasks with the real command, of random frames, and of the control plane."""

from __future__ import annotations

import json
import re
import stat
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.engine.local.frames import STDERR, STDOUT, Frame, Log, encode
from clearance.errors import UsageError
from clearance.run.look import logsearch
from clearance.run.look.logline import LEVELS, Line, Query, fields_of, level_of, query
from clearance.run.telemetry import journal
from clearance.store.outbox import Event
from support.runs import Home

PIPELINE = """
import json, logging, sys
from clearance import dag, task

@task
def talks(n: int) -> int:
    print(f"epoch {n} begins")
    print(json.dumps({"level": "WARNING", "message": "slow disk", "disk": {"name": "sda"}, "n": n}))
    print("ERROR:root:it went wrong", file=sys.stderr)
    return n

@task(retries=1)
def fails() -> int:
    print("about to fail")
    raise ValueError("no")

@dag
def talking():
    talks.map(n=[1, 2, 3])

bad = dag("bad", fails)
"""


@pytest.fixture(scope="module")
def talked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Two runs, which no test changes."""
    tmp_path = tmp_path_factory.mktemp("talked")
    home = Home(tmp_path / "home")
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    home.command("run", f"{tmp_path / 'pipeline.py'}:talking")
    home.command("run", f"{tmp_path / 'pipeline.py'}:bad", expect=1)
    yield home
    home.kill_all()


def found(home: Home, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in home.command("logs", *arguments, "--json").splitlines()]


def test_lines_are_found_across_runs_with_where_they_come_from(talked: Home):
    lines = found(talked, "--search", "epoch")
    assert [line["text"] for line in lines] == ["epoch 1 begins", "epoch 2 begins", "epoch 3 begins"]
    assert lines[1] | {"at": 0} == {
        "at": 0, "run": "talking/1", "dag": "talking", "task": "talks[1]", "attempt": 1, "stream": "stdout",
        "text": "epoch 2 begins",
    }  # fmt: skip
    tries = found(talked, "--search", "about to")
    assert [(line["run"], line["attempt"]) for line in tries] == [("bad/1", 1), ("bad/1", 2)]
    assert [line["run"] for line in found(talked, "--regex", "epoch 1|about")] == ["bad/1", "bad/1", "talking/1"]
    printed = talked.command("logs", "--regex", "^epoch [23]")
    assert "talking/1 talks[1] attempt 1 stdout: epoch 2 begins" in printed


def test_levels_and_fields_of_json_lines_are_known(talked: Home):
    assert [line["text"] for line in found(talked, "--level", "error")] == ["ERROR:root:it went wrong"] * 3
    assert len(found(talked, "--level", "warning")) == 6
    (line,) = found(talked, "--field", "disk.name=sda", "--field", "n=2")
    assert line["task"] == "talks[1]"
    assert line["fields"]["message"] == "slow disk"
    assert found(talked, "--field", "disk.name=sdb") == []


def test_a_search_is_narrowed_by_dag_run_task_and_time(talked: Home):
    assert found(talked, "--search", "e", "--dag", "bad")[0]["run"] == "bad/1"
    assert {line["task"] for line in found(talked, "--run", "talking/1", "--task", "talks[2]")} == {"talks[2]"}
    assert len(found(talked, "talking/1", "talks", "--search", "epoch")) == 3
    assert len(found(talked, "--search", "epoch", "--since", "1h")) == 3
    assert found(talked, "--search", "epoch", "--since", "2100-01-01") == []
    first, second, more = talked.command("logs", "--search", "epoch", "--limit", "2").splitlines()
    assert ("epoch 1" in first, "epoch 2" in second, "there are more" in more) == (True, True, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--regex", "("], "--regex"),
        (["--level", "eror"], "did you mean 'error'"),
        (["--field", "x"], "name=value"),
        (["--since", "yesterday"], "how long ago"),
        (["--search", "x", "--follow"], "cannot be used in a search"),
        (["--search", "x", "--run", "tolking/1"], "did you mean"),
        ([], "--search TEXT"),
        (["talking/1"], "--search TEXT"),
    ],
)
def test_what_cannot_be_searched_is_said(talked: Home, arguments: list[str], said: str):
    assert said in talked.command("logs", *arguments, expect=2)


def test_the_control_plane_writes_a_log_of_its_own(talked: Home):
    events = [line["fields"]["event"] for line in found(talked, "--control")]
    assert events.count("leading") == 2
    assert {"run.created", "run.success", "run.failed", "task.up_for_retry", "task.failed", "stopped"} <= set(events)
    errors = found(talked, "--control", "--level", "error")
    assert {line["fields"]["event"] for line in errors} == {"task.failed", "run.failed"}
    assert stat.S_IMODE((talked.path / journal.NAME).stat().st_mode) == 0o600
    assert "run.failed" in talked.command("logs", "--control", "--search", "run.failed")


def test_the_control_log_is_rotated_and_the_oldest_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal, "LARGEST", 2000)
    writer = journal.Journal(tmp_path, 1)
    for number in range(400):
        writer.take([Event(float(number), number, -1, "created", {"dag": "x"}, 1)])
    sizes = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    assert set(sizes) <= {file.name for file in journal.files(tmp_path)}
    assert max(sizes.values()) < 2200
    lines = list(logsearch.search_control(tmp_path, Query()))
    assert lines[-1].fields is not None
    seen = sorted(int(line.run) for line in lines)
    assert seen == list(range(400 - len(seen), 400))


WORDS = st.text(alphabet="ab\n", max_size=12).map(str.encode)
PIECES = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([STDOUT, STDERR]), WORDS), max_size=30)


@given(pieces=PIECES)
def test_lines_are_whole_however_they_were_cut_into_frames(tmp_path_factory, pieces):
    file = tmp_path_factory.mktemp("frames") / "x.frames"
    file.write_bytes(b"".join(encode(Frame(n, stream, rank, data)) for n, (rank, stream, data) in enumerate(pieces)))
    got: dict[tuple[int, int], list[bytes]] = {}
    for _, rank, stream, line in logsearch.lines(file):
        got.setdefault((rank, stream), []).append(line)
    for rank in (0, 1):
        for stream in (STDOUT, STDERR):
            whole = b"".join(data for r, s, data in pieces if (r, s) == (rank, stream))
            expected = whole.split(b"\n")[: -1 if whole.endswith(b"\n") or not whole else None]
            assert got.get((rank, stream), []) == expected


def test_memory_is_bounded_by_a_piece_of_the_log_and_long_lines_are_cut(tmp_path: Path):
    log = Log(str(tmp_path / "x.frames"))
    for _ in range(512):
        log.append(STDOUT, 0, b"x" * 65000)
    log.append(STDOUT, 0, b"\nend\n")
    log.close()
    tracemalloc.start()
    count, longest, last = 0, 0, b""
    for _, _, _, line in logsearch.lines(tmp_path / "x.frames"):
        count, longest, last = count + 1, max(longest, len(line)), line
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (longest, last) == (logsearch.LONGEST, b"end")
    assert count == -(-512 * 65000 // logsearch.LONGEST) + 1
    assert peak < 8 << 20


@given(text=st.text())
def test_any_text_is_a_line(text: str):
    fields = fields_of(text)
    level = level_of(text, fields)
    assert level == "" or level in LEVELS
    assert Query().holds(Line(at=1.0, text=text, fields=fields, level=level))


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ('{"level": "Error"}', "error"), ('{"severity": "CRITICAL"}', "critical"), ('{"level": 30}', "warn"),
        ('{"levelname": "DEBUG"}', "debug"), ("WARNING:root:x", "warning"), ("[INFO] x", "info"),
        ("ERRORS are many", ""), ('{"level": true}', ""), ("plain", ""),
    ],
)  # fmt: skip
def test_levels_are_read_in_the_ways_in_which_they_are_written(text: str, level: str):
    assert level_of(text, fields_of(text)) == level


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(UsageError, match=re.escape("--regex '['")):
        query(regex="[")
