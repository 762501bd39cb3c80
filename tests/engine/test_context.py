from __future__ import annotations

import subprocess
import sys

import pytest

from clearance.engine.context import context
from clearance.errors import ClearanceError


@pytest.mark.parametrize("name", ["run", "task", "attempt", "rank", "directory", "checkpoint_dir", "grace"])
def test_outside_a_task_every_attribute_says_that_no_task_runs(name: str) -> None:
    with pytest.raises(ClearanceError, match="no task is running here"):
        getattr(context, name)


def test_ready_outside_a_service_says_so() -> None:
    with pytest.raises(ClearanceError, match="no task is running here"):
        context.ready({})


def test_context_is_a_name_of_the_package() -> None:
    code = "import clearance, sys; clearance.context; sys.exit('msgspec' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
