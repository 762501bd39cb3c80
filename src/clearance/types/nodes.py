"""Virtual nodes, as a setting writes them: `2x1cpu`, `small=2x1cpu+2Gi,big=1x4cpu+16Gi+2gpu`.

Rules:

1. The setting is groups with commas between: `[NAME=]COUNTxAMOUNT[+AMOUNT]…`. The nodes of a group are `NAME-0`,
   `NAME-1`, …; without a name `local`. Groups of one name are counted on.
2. An amount is CPUs (`1cpu`, `0.5cpu`), memory in bytes with a suffix (`2Gi`, `512M`), or whole GPUs (`2gpu`), each
   once. CPUs must be there: a node without any takes no task.
3. What is offered may be more than the machine has: a virtual node is a number to decide with.
"""

from __future__ import annotations

import re

import msgspec

from clearance.errors import GraphError, UsageError
from clearance.types.resources import parse_memory, parse_millis

MOST = 1000
FORM = "write [NAME=]COUNTxAMOUNT+AMOUNT…, such as 2x1cpu or big=2x4cpu+16Gi+2gpu"
_GROUP = re.compile(r"(?:(?P<name>[^=]*)=\s*)?(?P<count>[0-9]{1,9})x(?P<amounts>.*)\Z", re.DOTALL)
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?\Z")


class VirtualNode(msgspec.Struct, frozen=True):
    """What one offers.

    Attributes:
        name: unique among them.
        cpu_millis: thousandths of a CPU.
        memory: bytes; None where nothing is said.
        gpus: whole devices.
    """

    name: str
    cpu_millis: int
    memory: int | None = None
    gpus: int = 0


def is_name(text: str) -> bool:
    """Whether a group of nodes may have this name."""
    return _NAME.match(text) is not None


def parse_nodes(text: str) -> tuple[VirtualNode, ...]:
    """Reads the setting; nothing for an empty one.

    Raises:
        UsageError: it is not as the rules say, or asks for over 1,000 nodes.
    """
    found: list[VirtualNode] = []
    numbers: dict[str, int] = {}
    for group in text.split(",") if text.strip() else ():
        match = _GROUP.match(group.strip())
        if match is None:
            raise UsageError(f"nodes: {group.strip()!r} is no group of nodes: {FORM}")
        name = "local" if match["name"] is None else match["name"].strip()
        if not _NAME.match(name):
            raise UsageError(f"nodes: {name!r} in {group.strip()!r} is no name: use a-z, 0-9 and dashes, 52 at most")
        count = int(match["count"])
        if not 1 <= count <= MOST - len(found):
            raise UsageError(
                f"nodes: {group.strip()!r} asks for {count} nodes: at least 1, and {MOST} in all, are possible"
            )
        cpu_millis, memory, gpus = _amounts(match["amounts"], group.strip())
        for number in range(numbers.get(name, 0), numbers.get(name, 0) + count):
            found.append(VirtualNode(f"{name}-{number}", cpu_millis, memory, gpus))
        numbers[name] = numbers.get(name, 0) + count
    return tuple(found)


def _amounts(text: str, group: str) -> tuple[int, int | None, int]:
    """Returns thousandths of a CPU, bytes, and devices."""
    given: dict[str, int] = {}
    for amount in map(str.strip, text.split("+")):
        kind = "gpu" if amount.endswith("gpu") else "cpu" if amount.endswith("cpu") else "memory"
        if kind in given:
            raise UsageError(f"nodes: {group!r} says {kind} twice: say it once")
        try:
            if kind == "memory":
                if not amount[-1:].isalpha():
                    raise GraphError(f"{amount!r} has no unit")
                given[kind] = parse_memory(amount)
            elif not re.fullmatch(r"[0-9]+(\.[0-9]+)?", number := amount[:-3].strip()):
                raise GraphError(f"{amount!r} is no number of {kind}s")
            else:
                given[kind] = parse_millis(number, kind)
        except GraphError as error:
            raise UsageError(f"nodes: {group!r}: {error}: {FORM}") from None
    if not given.get("cpu"):
        raise UsageError(f"nodes: {group!r} has no CPUs, so it takes no task: add some, such as 1cpu")
    if given.get("gpu", 0) % 1000:
        raise UsageError(f"nodes: {group!r} has a part of a GPU: a node has whole ones, a task may ask for a part")
    return given["cpu"], given.get("memory"), given.get("gpu", 0) // 1000
