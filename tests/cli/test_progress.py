"""What a person sees of a large map: each tenth and what failed, not a line for each instance."""

from __future__ import annotations

from clearance.cli.progress import Lines
from clearance.store.outbox import Event


def event(kind: str, task: str, **payload) -> Event:
    return Event(at=0.0, run=1, instance=1, kind=kind, payload={"task": task, **payload})


def test_of_a_large_map_only_failures_and_each_tenth_are_told(capsys):
    view = Lines()
    view.show("d/1", [event("deferred", "m", instances=100), event("deferred", "few", instances=3)])
    for number in range(100):
        state = "failed" if number == 7 else "success"
        view.show("d/1", [event("running", f"m[{number}]"), event(state, f"m[{number}]")])
    view.show("d/1", [event("success", "few[0]"), event("failed", "m")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 10 + 1 + 2
    assert "d/1  m[7]  failed" in lines
    assert "d/1  m  50 of 100 ended" in lines
    assert "d/1  few[0]  success" in lines


def test_a_large_map_in_a_copy_of_a_group_is_told_the_same_way(capsys):
    view = Lines()
    view.show("d/1", [event("deferred", "g.m[3]", instances=60)])
    view.show("d/1", [event("success", f"g.m[3,{number}]") for number in range(60)])
    view.show("d/1", [event("success", "g.m[4,0]")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "d/1  g.m[3]  6 of 60 ended"
    assert len(lines) == 1 + 10 + 1
