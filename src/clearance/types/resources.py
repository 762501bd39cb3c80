"""What a task asks for: CPUs, memory, GPUs and named extended resources, held as integers.

Quantities follow Kubernetes: CPUs are kept in thousandths (`0.5`, `"500m"`), memory in bytes
(`"2Gi"`, `"512M"`, an integer). An unknown name is an error, never a resource that waits for ever.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from clearance.errors import GraphError, nearest

_SUFFIX = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)\Z")
_LIMIT = 2**63 - 1


def parse_memory(value: int | str, where: str = "memory") -> int:
    """Returns bytes.

    Raises:
        GraphError: negative, not a number, an unknown suffix, or beyond 2**63 - 1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise GraphError(f"{where} is {value!r}: write bytes as an integer, or text such as '2Gi'")
    if isinstance(value, str):
        match = _QUANTITY.match(value.strip())
        if not match or match[2] not in _SUFFIX:
            raise GraphError(f"{where} is {value!r}: write a number and one of {', '.join(filter(None, _SUFFIX))}")
        number = math.floor(float(match[1]) * _SUFFIX[match[2]])
    else:
        number = value
    if not 0 <= number <= _LIMIT:
        raise GraphError(f"{where} is {value!r}: it must lie between 0 and 2**63 - 1 bytes")
    return number


def parse_millis(value: float | str, where: str = "cpu") -> int:
    """Returns thousandths: 1 and "1" are 1000, "500m" is 500.

    Raises:
        GraphError: negative, NaN, finer than a thousandth, or no number.
    """
    try:
        if isinstance(value, bool):
            raise ValueError
        if isinstance(value, str) and value.endswith("m"):
            millis = float(value[:-1])
        else:
            millis = float(value) * 1000
    except (TypeError, ValueError):
        raise GraphError(f"{where} is {value!r}: write a number, or thousandths such as '500m'") from None
    if not 0 <= millis <= 1e12 or abs(millis - round(millis)) > 1e-6:
        raise GraphError(f"{where} is {value!r}: it must be a number from 0 in steps of a thousandth")
    return round(millis)


@dataclass(frozen=True, init=False)
class Resources:
    """What one process of a task asks for.

    Args:
        cpu: CPUs, in steps of a thousandth; default 1.
        memory: bytes, or text such as `"2Gi"`; 0 means not declared.
        gpu: GPUs; a fraction is a share of one device.

    Attributes:
        cpu_millis: thousandths of a CPU.
        memory: bytes.
        gpu_millis: thousandths of a GPU.

    Raises:
        GraphError: an unknown name or a quantity that is no quantity.
    """

    cpu_millis: int
    memory: int
    gpu_millis: int

    def __init__(self, cpu: float | str = 1, memory: int | str = 0, gpu: float | str = 0, **unknown: object) -> None:
        if unknown:
            name = next(iter(unknown))
            raise GraphError(f"unknown resource {name!r}{nearest(name, ('cpu', 'memory', 'gpu'))}")
        object.__setattr__(self, "cpu_millis", parse_millis(cpu))
        object.__setattr__(self, "memory", parse_memory(memory))
        object.__setattr__(self, "gpu_millis", parse_millis(gpu, "gpu"))

    def quantities(self) -> dict[str, int]:
        """Returns what is asked, by name: `cpu` and `gpu` in thousandths, `memory` in bytes; zeros left out."""
        asked = {"cpu": self.cpu_millis, "memory": self.memory, "gpu": self.gpu_millis}
        return {name: amount for name, amount in asked.items() if amount}
