from __future__ import annotations

import subprocess
import sys

import pytest

from clearance.engine.context import context
from clearance.errors import ClearanceError


@pytest.mark.parametrize(
    "name", ["run", "task", "attempt", "rank", "directory", "checkpoint_dir", "grace", "node", "evicting"]
)
def test_outside_a_task_every_attribute_says_that_no_task_runs(name: str) -> None:
    with pytest.raises(ClearanceError, match="no task is running here"):
        getattr(context, name)


def test_ready_outside_a_service_says_so() -> None:
    with pytest.raises(ClearanceError, match="no task is running here"):
        context.ready({})


def test_context_is_a_name_of_the_package() -> None:
    code = "import clearance, sys; clearance.context; sys.exit('msgspec' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_that_nobody_started_knows_why():
    from datetime import UTC, datetime

    from clearance.engine.context import Context, Facts
    from clearance.types.cause import Cause, Trigger

    one = Context()
    one._enter(Facts(attempt="a.0", cause=Cause(kind="schedule", start=0.0, end=3600.5)))
    assert one.data_interval is not None
    assert one.data_interval.start == datetime(1970, 1, 1, tzinfo=UTC)
    assert (one.data_interval.end - one.data_interval.start).total_seconds() == 3600.5
    assert (one.events, one.key) == ((), None)
    event = Trigger(7, "s3://lake/a", 1.0, "eu")
    one._enter(Facts(attempt="a.0", cause=Cause(kind="asset", key="eu", events=(event,), request=3)))
    assert (one.data_interval, one.events, one.key) == (None, (event,), "eu")
    one._enter(Facts(attempt="a.0"))
    assert (one.data_interval, one.events, one.key) == (None, (), None)


def test_the_notice_is_taken_over_at_the_first_look_and_given_back_at_the_end():
    import signal

    from clearance.engine.context import Context, Facts

    one = Context()
    before = signal.getsignal(signal.SIGTERM)
    one._enter(Facts(attempt="a.0"))
    assert signal.getsignal(signal.SIGTERM) == before
    assert not one.evicting
    signal.raise_signal(signal.SIGTERM)
    assert one.evicting
    one._enter(None)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_first_look_in_a_thread_says_where_to_look():
    from concurrent.futures import ThreadPoolExecutor

    from clearance.engine.context import Context, Facts

    one = Context()
    one._enter(Facts(attempt="a.0"))
    with ThreadPoolExecutor(1) as threads:
        error = threads.submit(lambda: one.evicting).exception()
    assert isinstance(error, ClearanceError)
    assert "in the main thread" in str(error)
