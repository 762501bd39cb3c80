"""`approval`: a person decides; the task waits without a process until then.

    release = approval("release", message="Ship the model?", approvers=["mia", "group:leads"], timeout="2d")

`clearance approve RUN TASK` or `clearance reject RUN TASK --reason …` decides. The decision is the task's result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clearance.errors import Defer, GraphError, Refused, Skip
from clearance.graph.duration import seconds
from clearance.graph.origin import call_site
from clearance.operators.contract import check_choice, operator, resumed, text_of


def approval(
    name: str,
    *,
    message: Any = "",
    approvers: Sequence[str] = (),
    timeout: float | str | None = None,
    on_reject: str = "fail",
    soft_fail: bool = False,
    **how: Any,
) -> Any:
    """Makes a task that waits for a person's decision.

    Args:
        name: id of the task.
        message: what is asked, a constant or a result.
        approvers: who may decide: names, or `group:NAME`; empty for anybody who may use the installation.
        timeout: seconds, or `"2d"`, from the first attempt on; then the task has failed.
        on_reject: `fail` the task, or `skip` it.
        soft_fail: whether it is skipped after the timeout, and has not failed.
        **how: options of the task.

    Returns:
        A task whose result is `{"decision", "by", "note", "at"}`.

    Raises:
        GraphError: a value that is none.
    """
    site = call_site()[0]
    check_choice("on_reject", on_reject, ("fail", "skip"))
    if isinstance(approvers, str) or not all(isinstance(each, str) and each for each in approvers):
        raise GraphError(f"task {name!r} ({site}): approvers are a list of names, or of 'group:NAME'")
    configuration = {
        "message": message, "approvers": list(approvers), "on_reject": on_reject, "soft_fail": soft_fail,
        "timeout": None if timeout is None else seconds(timeout),
    }  # fmt: skip
    return operator(name, run_approval, dict[str, str], configuration, how)


def run_approval(message: Any, approvers: list[str], on_reject: str, soft_fail: bool, timeout: float | None) -> Any:
    """Runs in the attempt's process: see `approval`."""
    after = resumed()
    told = after.payload if after is not None else None
    if told is None:
        details = {"message": text_of(message)[:2000], "approvers": approvers}
        raise Defer("approval", timeout=timeout, soft=soft_fail, details=details)
    if told["decision"] == "approved":
        return told
    reason = f"rejected by {told['by']}: {told['note']}"
    raise Skip(reason) if on_reject == "skip" else Refused(reason)
