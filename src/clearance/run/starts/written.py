"""Which assets the success of a task writes: its outlets, and what it returns of them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from clearance.graph.model import Node
from clearance.run.starts.mediator import check_asset
from clearance.types.artifact import Artifact
from clearance.types.written import Written

WRITTEN = "clearance.types.written.Written"
_written = msgspec.json.Decoder(Written)
_many = msgspec.json.Decoder(list[Written])


def written(spec: Node, result: Artifact | None, read: Callable[[Artifact], bytes]) -> list[Written]:
    """Returns the assets that the success of a task writes.

    Args:
        spec: of the task.
        result: what it returned.
        read: returns the bytes of an artifact, verified.

    Raises:
        GraphError: what it returned is no URI.
    """
    told: list[Written] = []
    if result is not None and result.type == WRITTEN:
        told = [_written.decode(read(result))]
    elif result is not None and result.type == "builtins.list" and spec.returns == f"list[{WRITTEN}]":
        told = _many.decode(read(result))
    told = [Written(check_asset(one.asset), one.key) for one in told]
    said = {one.asset for one in told}
    return [*(Written(uri) for uri in spec.outlets if uri not in said), *told]
