"""`Dag.test`: in process, through the real state machine, with time skipped; and that it agrees with a real run."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clearance.errors import GraphError, Refused, UsageError
from clearance.testing import FakeClock, approve, arrives, ends, in_turn, reject
from clearance.types.card import Markdown
from run import rehearsed as pipeline


@pytest.fixture(autouse=True)
def _no_calls():
    pipeline.CALLS.clear()


def test_the_functions_are_run_and_values_go_through_the_serializers():
    done = pipeline.sums.test(count=4)
    assert done.state == "success"
    assert done.order == ["numbers", "half[0]", "half[1]", "half[2]", "half[3]", "total", "keep"]
    assert done[pipeline.half] == [0.0, 0.5, 1.0, 1.5]
    assert done["half[3]"] == 1.5
    assert done["total"] == pipeline.Report(3.0, 4)
    assert done["keep"].path.read_text() == "3.0"
    assert done.cards("keep") == [Markdown("kept")]
    assert ["numbers", *(f"half {x}" for x in range(4))] == pipeline.CALLS


def test_no_database_no_process_and_no_home_are_needed(monkeypatch, tmp_path):
    monkeypatch.setenv("CLEARANCE_HOME", str(tmp_path / "home"))
    before = os.getcwd()
    assert pipeline.place.test()["where"] == "True"
    assert os.getcwd() == before
    assert not (tmp_path / "home").exists()


def test_a_mock_is_a_value_a_function_or_an_exception():
    done = pipeline.sums.test({pipeline.half: lambda x: x * 1.0, "half[1]": 9.5, "keep": None})
    assert done["half"] == [0.0, 9.5, 2.0]
    assert done["keep"] is None
    assert pipeline.CALLS == ["numbers"]
    broken = pipeline.sums.test({"numbers": ValueError("no numbers")})
    assert broken.state == "failed"
    assert broken.states == {"numbers": "failed", **dict.fromkeys(["half", "total", "keep"], "upstream_failed")}
    assert broken.failures["numbers"].message == "no numbers"
    with pytest.raises(UsageError, match="ValueError: no numbers"):
        broken.result("numbers")


def test_a_mock_must_fit_what_the_task_is_annotated_to_return():
    done = pipeline.sums.test({"half": "half"})
    assert done.failures["half[0]"].kind == "clearance.errors.NotSerialisable"


def test_a_value_that_cannot_travel_fails_as_in_a_run():
    done = pipeline.bad.test()
    assert done.states == {"object_": "failed", "misfit": "failed"}
    assert "cannot travel" in done.failures["object_"].message


def test_retries_take_no_time_but_count():
    clock = FakeClock()
    done = pipeline.sums.test({"half": in_turn(OSError("1"), OSError("2"), lambda x: float(x))}, clock=clock, count=1)
    assert done.order.count("half[0]") == 3
    assert done.attempts["half[0]"] == 3
    assert clock.now == datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=3), "3600 s, then twice as long"
    assert [each.state for each in done.decisions if each.task == "half[0]"] == [
        "awaiting_clearance", "up_for_retry", "awaiting_clearance", "up_for_retry", "awaiting_clearance", "success",
    ]  # fmt: skip
    over = pipeline.sums.test({"half": OSError("again")}, count=1)
    assert (over.state, over.order.count("half[0]")) == ("failed", 3)


def test_skips_and_trigger_rules_are_those_of_a_run():
    assert pipeline.branches.test()["join"] == [1, None]
    done = pipeline.branches.test(way="right")
    assert (done.states["left"], done.states["right"], done["join"]) == ("skipped", "success", [None, 2])
    neither = pipeline.branches.test(way="up")
    assert (neither.states["join"], neither.state) == ("skipped", "success")


def test_groups_are_mapped():
    done = pipeline.grouped.test(xs=[2, 4])
    assert done["gather"] == 6.0
    assert done.states["each.total[1]"] == "success"
    assert done["each.half[1]"] == 2.0


def test_approvals_are_given_by_mocks():
    assert pipeline.asks.test({"release": approve()})["ship"] == "mia"
    assert pipeline.asks.test({"release": approve(by="mia", note="good")})["release"]["note"] == "good"
    refused = pipeline.asks.test({"release": reject(note="not today")})
    assert "not today" in refused.failures["release"].message
    with pytest.raises(Refused, match="mia or group:leads, not tom"):
        pipeline.asks.test({"release": approve(by="tom")})


def test_an_approval_that_nobody_gives_runs_into_its_timeout_at_once():
    clock = FakeClock()
    assert pipeline.asks.test(clock=clock).states["release"] == "failed"
    assert clock.now == datetime(2026, 1, 3, tzinfo=UTC)


def test_sensors_are_looked_at_as_time_is_skipped():
    clock = FakeClock()
    done = pipeline.waits.test(clock=clock)
    assert done["arrived"] == "here"
    assert done.order.count("arrived") == 6
    assert done.attempts["arrived"] == 1, "waiting uses no retry"
    assert clock.now == datetime(2026, 1, 2, tzinfo=UTC), "the new year's sensor goes by the clock of the test"
    late = pipeline.too_late.test()
    assert late.state == "failed"
    assert late.order.count("never") == 7


def test_assets_that_the_run_writes_wake_what_waits_for_them():
    done = pipeline.writes.test({"other": arrives()})
    assert done.written[0][0] == "write"
    assert done["wait_for_images"]["asset"] == "s3://lake/images"
    assert done["other"]["asset"] == "s3://lake/other"
    with pytest.raises(UsageError, match=r"other waits for an event of asset s3://lake/other: mock it"):
        pipeline.writes.test()


def test_runs_that_are_waited_for_end_as_mocks_say():
    assert pipeline.starts.test({"train": ends()})["train"]["state"] == "success"
    assert pipeline.starts.test({"train": ends("failed")}).state == "failed"
    with pytest.raises(UsageError, match="waits for run"):
        pipeline.starts.test()
    with pytest.raises(UsageError, match="the mock is of 'approval'"):
        pipeline.starts.test({"train": approve()})


def test_a_task_that_waits_for_ever_is_an_error():
    with pytest.raises(UsageError, match="never comes to an end"):
        pipeline.endless.test()


def test_the_data_interval_is_the_tests():
    day = (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
    assert pipeline.daily.test(interval=day)["interval"] == [str(each) for each in day]
    assert pipeline.daily.test()["interval"] == []
    with pytest.raises(UsageError, match="has no zone"):
        pipeline.daily.test(interval=(datetime(2026, 3, 1), datetime(2026, 3, 2)))


def test_wrong_mocks_and_parameters_are_refused_before_anything_runs():
    with pytest.raises(UsageError, match="did you mean 'numbers'"):
        pipeline.sums.test({"numbres": 1})
    with pytest.raises(UsageError, match="is no task of dag 'sums'"):
        pipeline.sums.test({pipeline.choose: 1})
    with pytest.raises(GraphError, match="did you mean 'count'"):
        pipeline.sums.test(cuont=1)
    with pytest.raises(UsageError, match="needs an outcome"):
        in_turn()
    assert pipeline.CALLS == []


def test_a_failing_assert_in_a_mock_is_a_failure_and_an_interrupt_is_not():
    def fake(x: int) -> float:
        assert x < 0, "x is small"
        return 0.0

    assert "x is small" in pipeline.sums.test({"half": fake}).failures["half[0]"].message

    def interrupted(x: int) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.sums.test({"half": interrupted})


def test_many_instances():
    done = pipeline.sums.test({"half": 1.0}, count=3000)
    assert done["total"] == pipeline.Report(3000.0, 3000)


def test_it_comes_to_what_a_real_run_comes_to(home, tmp_path):
    (tmp_path / "rehearsed.py").write_text(Path(pipeline.__file__).read_text())
    for name, parameters, expect in (("sums", {}, 0), ("branches", {"way": "right"}, 0), ("bad", {}, 1)):
        given = [part for key, value in parameters.items() for part in ("-p", f"{key}={value}")]
        home.command("run", f"rehearsed.py:{name}", *given, expect=expect)
        tested = getattr(pipeline, name).test(**parameters)
        assert tested.states == home.states(f"{name}/1")
        assert tested.state == home.show(f"{name}/1")["state"]


def test_a_clock_stands_until_it_is_moved():
    clock = FakeClock(datetime(2026, 5, 1, 12, tzinfo=UTC))
    assert clock() == clock()
    assert clock.advance("1h30m") == datetime(2026, 5, 1, 13, 30, tzinfo=UTC)
    assert clock.advance(timedelta(minutes=30)).hour == 14
    assert clock.move(datetime(2026, 1, 1, tzinfo=UTC)) == clock.now
    for wrong in (lambda: clock.advance(timedelta(-1)), lambda: FakeClock(datetime(2026, 1, 1))):
        with pytest.raises(UsageError):
            wrong()
