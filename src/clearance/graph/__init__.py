"""WHAT to do: tasks, DAGs and the graph they become: pure data, checked before anything runs."""

from clearance.graph.asset import asset
from clearance.graph.dag import Dag, dag
from clearance.graph.flow import Flow, flow
from clearance.graph.group import Group, group
from clearance.graph.retry import Retry
from clearance.graph.schedule import cron, every
from clearance.graph.task import Task, task
from clearance.graph.when import branch, otherwise, when
from clearance.graph.wiring import chain

__all__ = [
    "Dag", "Flow", "Group", "Retry", "Task", "asset", "branch", "chain", "cron", "dag", "every", "flow", "group",
    "otherwise", "task", "when",
]  # fmt: skip
