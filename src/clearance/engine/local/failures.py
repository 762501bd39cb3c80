"""What is said of an exception of the user's code: its type, its message, and a traceback without our own frames."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import Any

from clearance.engine.base import Failure
from clearance.errors import Defer
from clearance.types.masking import masker
from clearance.types.serialisable import qualified

_QUIET = ("clearance.errors.Skip", "clearance.errors.Defer", "clearance.errors.Evicted", "exit")
_OURS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_USERS = tuple(_OURS + room + os.sep for room in ("workloads",))


def describe(error: BaseException, rank: int) -> Failure:
    """Describes an exception of the task; frames of Clearance itself are left out of the traceback."""
    if isinstance(error, SystemExit):
        code = masker.text(repr(error.code))
        return Failure("exit", f"the task called sys.exit({code}): a task ends by returning", rank=rank)
    kind = type(error)
    lines = str(error).strip().splitlines() or [""]
    message = masker.text("\n".join(lines[:2]))[:2000]
    return Failure(
        qualified(kind),
        message,
        tuple(qualified(base) for base in kind.__mro__),
        masker.text(_traceback(error)),
        rank,
        _waits_for(error),
    )


def show(failure: Failure | None) -> None:
    """Writes the traceback of a failure to standard error, so that it stands at the end of the log."""
    if failure is not None and failure.kind not in _QUIET:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(failure.traceback)


def _waits_for(error: BaseException) -> dict[str, Any]:
    """Returns what a `Defer` waits for, also one of the user's own class, whose data may be anything."""
    data = getattr(error, "data", None) if isinstance(error, Defer) else None
    return {str(name): masker.value(value) for name, value in data.items()} if isinstance(data, dict) else {}


def _traceback(error: BaseException) -> str:
    try:
        described = traceback.TracebackException.from_exception(error, compact=True)
        seen: list[traceback.TracebackException] = [described]
        while seen:
            one = seen.pop()
            kept = [frame for frame in one.stack if not _is_ours(frame.filename)]
            one.stack = traceback.StackSummary.from_list(kept or list(one.stack)[-1:])
            seen += [other for other in (one.__cause__, one.__context__) if other is not None]
        return "".join(described.format())
    except Exception as trouble:
        return f"{type(error).__name__}: {error} (its traceback cannot be shown: {trouble})"


def _is_ours(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or (filename.startswith(_OURS) and not filename.startswith(_USERS))
