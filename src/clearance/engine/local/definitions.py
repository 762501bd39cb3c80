"""Definitions: the graph of a pipeline is built in a process of its own, as if it were an attempt of kind `define`."""

from __future__ import annotations

import msgspec

from clearance.engine.base import Defined, Launch
from clearance.engine.local import ipc, processes
from clearance.engine.local.running import Running
from clearance.types.artifact import Literal

DEFINITION = 60.0  # seconds that one may take


def launch_of(request: ipc.Define, number: int) -> Launch:
    """Returns the launch that builds the graph; its number makes the key unique."""
    return Launch(
        attempt=f"define-{number}",
        kind="define",
        bundle=request.bundle,
        entry=request.target,
        arguments={name: Literal(value) for name, value in request.parameters.items()},
        timeout=DEFINITION,
        grace=0.0,
        task=request.request,
    )


def answer_of(running: Running) -> Defined:
    """Returns what its process reported, or why it reported nothing."""
    launch = running.launch
    try:
        return msgspec.msgpack.decode(bytes(running.report), type=Defined)
    except msgspec.MsgspecError:
        end = running.ranks[0].end if running.ranks else None
        if running.outcome == "timeout":
            error = f"is not defined after {launch.timeout:g} s: does the code wait for something?"
        elif end is not None and end.status >= 0:
            error = f"cannot be defined: its process {processes.describe_status(end.status)[1]}"
        else:
            error = f"cannot be defined: {running.reason}"
        return Defined(launch.task, error=f"{launch.entry} {error}")
