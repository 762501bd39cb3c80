"""Ready-made tasks: what is done often, a file each, over one contract; where it runs is the engine's business."""

from clearance.operators.approval import approval
from clearance.operators.bash import bash
from clearance.operators.container import container
from clearance.operators.http import http
from clearance.operators.notebook import notebook
from clearance.operators.python import python
from clearance.operators.sensor import file_sensor, http_sensor, sensor, sql_sensor, time_sensor
from clearance.operators.sql import sql
from clearance.operators.ssh import ssh
from clearance.operators.trigger import trigger_dag
from clearance.operators.wait import wait_for

__all__ = [
    "approval",
    "bash",
    "container",
    "file_sensor",
    "http",
    "http_sensor",
    "notebook",
    "python",
    "sensor",
    "sql",
    "sql_sensor",
    "ssh",
    "time_sensor",
    "trigger_dag",
    "wait_for",
]
