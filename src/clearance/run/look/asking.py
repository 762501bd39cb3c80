"""What people are asked: tasks that wait for a decision, read-only."""

from __future__ import annotations

from typing import Any

from clearance.run.rows import label_of
from clearance.store.database import Database
from clearance.types.deferral import asked


def approvals(database: Database, run: str = "", limit: int = 50) -> list[dict[str, Any]]:
    """Returns the tasks that wait for a person's decision, the longest waiting first.

    Args:
        database: open for reading.
        run: id of the one run that is meant; empty for all.
        limit: at most so many.

    Returns:
        Of each `run`, `task`, `message`, `approvers` (empty for anybody), `since` and `deadline` (seconds since 1970;
        None for none).
    """
    found = []
    for id, task, scope, position, since, deadline, details in database.rows("approvals_waiting", run, run, limit):
        question = asked(details)
        found.append(
            {
                "run": id, "task": label_of(task, scope, position), "message": question.message,
                "approvers": list(question.approvers), "since": since, "deadline": deadline,
            }
        )  # fmt: skip
    return found
