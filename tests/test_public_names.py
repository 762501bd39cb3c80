"""The names that `clearance` exports, and that a pipeline file can rely on."""

import subprocess
import sys

import pytest

ORDERS = [
    "import clearance; import clearance.graph.dag; import clearance.graph.task",
    "import clearance.graph.task; import clearance.graph.dag; import clearance",
    "from clearance.graph.loading import load; import clearance",
]


@pytest.mark.parametrize("order", ORDERS)
def test_dag_and_task_are_objects_in_whatever_order_the_rooms_are_imported(order):
    code = f"{order}\nassert type(clearance.dag).__name__ == 'function' and callable(clearance.task)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_clearance_imports_no_room():
    code = "import clearance, sys; print([name for name in sys.modules if name.startswith('clearance.')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
