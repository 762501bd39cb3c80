"""Amounts of resources as YuniKorn writes them, held as integers; and the one table between its names and ours.

Rules (YuniKorn, "Partition and Queue Configuration", resources):

1. A quantity is an integer and a suffix: k M G T P E are powers of 1000, Ki Mi Gi Ti Pi Ei powers of 1024.
2. `vcore` is counted in thousandths: `90` is 90000, `500m` is 500. `memory` is counted in bytes.
3. `nvidia.com/gpu` is counted in thousandths of a device too, so that shares of one device add up exactly: `8` is 8000
   and `500m` is half a device. In YuniKorn it is a plain count; whatever is valid there means the same here.
4. Everything else is a plain count: `pods`, `ephemeral-storage`, `hugepages-2Mi` and whatever has a domain
   (`example.com/fpga`). Any other name is refused, so that a misspelt one is no resource that nobody ever has.
5. No amount is negative, has a fraction or exceeds a signed integer of 64 bits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from clearance.errors import UsageError, nearest

Amounts = Mapping[str, int]

VCORE = "vcore"
MEMORY = "memory"
GPU = "nvidia.com/gpu"
OURS = {"cpu": VCORE, "memory": MEMORY, "gpu": GPU}

LARGEST = 2**63 - 1

_THOUSANDTHS = frozenset({VCORE, GPU})
_COUNTED = ("pods", "ephemeral-storage")
_THEIRS = {theirs: ours for ours, theirs in OURS.items()}
_EXTENDED = re.compile(
    r"(hugepages-[0-9]+[KMG]i|[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/[A-Za-z0-9][A-Za-z0-9._-]{0,62})\Z"
)
_SUFFIXES = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip
_LARGEST_FIRST = sorted(_SUFFIXES.items(), key=lambda each: -each[1])
_LETTERS = "".join(_SUFFIXES)
_QUANTITY = re.compile(r"([+-]?)([0-9]{1,40})([A-Za-z]*)\Z")


def check_name(name: str, where: str = "resources", value: object = None) -> str:
    """Returns the name of a resource.

    Args:
        name: in YuniKorn's words.
        where: the dotted path of the map that it stands in, for the message.
        value: what stands there, for the message; None: left out.

    Raises:
        UsageError: a name that is none of ours and none of the forms of rule 4.
    """
    if name in _THEIRS or name in _COUNTED or _EXTENDED.match(name):
        return name
    at = f"{where}.{name}" if value is None else f"{where}.{name} is {value!r}"
    if name in OURS:
        raise UsageError(f"{at}: there is no resource {name!r} here; write {OURS[name]!r}")
    raise UsageError(
        f"{at}: there is no resource {name!r}{nearest(name, (*_THEIRS, *_COUNTED))}; "
        f"write {', '.join((*_THEIRS, *_COUNTED))}, or a name with a domain such as 'example.com/fpga'"
    )


def parse_quantity(name: str, value: int | str, where: str = "resources") -> int:
    """Returns an amount in the unit of the resource: thousandths of `vcore` and GPU, bytes, or a count.

    Args:
        name: of the resource.
        value: an integer, or text such as `"700Gi"`, `"500m"`.
        where: the dotted path of the map that it stands in, for the message.

    Raises:
        UsageError: an unknown name, or a value that is negative, has a fraction, an unknown suffix, or is too large.
    """
    check_name(name, where, value)
    text = "" if isinstance(value, bool) else str(value)
    if " " in text or "\t" in text:
        text = re.sub(r"[ \t]+", "", text)
    match = _QUANTITY.match(text)
    if match is None:
        raise UsageError(f"{_at(name, value, where)}: {_mend(name, text)}")
    sign, digits, suffix = match.groups()
    millis = name in _THOUSANDTHS
    if suffix == "m" and millis:
        amount = int(digits)
    elif suffix in _SUFFIXES:
        amount = int(digits) * _SUFFIXES[suffix] * (1000 if millis else 1)
    elif suffix == "m":
        theirs = " and ".join(sorted(_THOUSANDTHS, reverse=True))
        raise UsageError(f"{_at(name, value, where)}: only {theirs} have thousandths ('m')")
    else:
        known = [each for each in _SUFFIXES if each]
        meant = "".join(f"; did you mean {each!r}?" for each in known if each.lower() == suffix.lower())
        mend = meant or "; use " + ", ".join(known)
        raise UsageError(f"{_at(name, value, where)}: there is no suffix {suffix!r}{mend}")
    if sign == "-" and amount:
        raise UsageError(f"{_at(name, value, where)}: it is negative; write 0 or more")
    if amount > LARGEST:
        unit = " thousandths" if millis else ""
        raise UsageError(f"{_at(name, value, where)}: it is more than 2**63 - 1{unit}; write less")
    return amount


def _at(name: str, value: object, where: str) -> str:
    return f"{where}.{name} is {value!r}"


def format_quantity(name: str, amount: int) -> str:
    """Returns an amount as `parse_quantity` reads it: `90`, `500m`, `700Gi`; a negative one keeps its sign."""
    if name in _THOUSANDTHS:
        return str(amount // 1000) if amount % 1000 == 0 else f"{amount}m"
    if name != MEMORY or not amount:
        return str(amount)
    exact = (f"{amount // unit}{suffix}" for suffix, unit in _LARGEST_FIRST if amount % unit == 0)
    return min(exact, key=lambda text: len(text.rstrip(_LETTERS)))


def format_amounts(amounts: Amounts) -> str:
    """Returns `vcore=4 memory=16Gi`, in the order of the map; `nothing` when it is empty."""
    return " ".join(f"{name}={format_quantity(name, amount)}" for name, amount in amounts.items()) or "nothing"


def to_yunikorn(quantities: Amounts) -> dict[str, int]:
    """Returns what `Resources.quantities` gives under YuniKorn's names; the units are the same.

    Raises:
        UsageError: a name that is not in the table.
    """
    for name in quantities:
        if name not in OURS:
            raise UsageError(f"there is no resource {name!r}{nearest(name, OURS)}; use {', '.join(OURS)}")
    return {OURS[name]: amount for name, amount in quantities.items()}


def from_yunikorn(amounts: Amounts) -> dict[str, int]:
    """Returns amounts under the names of `Resources.quantities`; the inverse of `to_yunikorn`.

    Raises:
        UsageError: a name that is not in the table.
    """
    for name in amounts:
        if name not in _THEIRS:
            raise UsageError(f"a task cannot ask for {name!r}{nearest(name, _THEIRS)}; it asks for {', '.join(OURS)}")
    return {_THEIRS[name]: amount for name, amount in amounts.items()}


def add(one: Amounts, other: Amounts) -> dict[str, int]:
    """Returns the sum; a name that is absent counts 0."""
    total = dict(one)
    for name, amount in other.items():
        total[name] = total.get(name, 0) + amount
    return total


def subtract(one: Amounts, other: Amounts) -> dict[str, int]:
    """Returns the difference, which may be negative; a name that is absent counts 0."""
    left = dict(one)
    for name, amount in other.items():
        left[name] = left.get(name, 0) - amount
    return left


def multiply(amounts: Amounts, times: int) -> dict[str, int]:
    """Returns so many times as much of each."""
    return {name: amount * times for name, amount in amounts.items()}


def fits(asked: Amounts, limit: Amounts) -> bool:
    """Whether what is asked is within the limit; a name that the limit lacks is not limited."""
    return all(name not in limit or amount <= limit[name] for name, amount in asked.items())


def exceeding(asked: Amounts, limit: Amounts) -> tuple[str, ...]:
    """Returns the names of which more is asked than the limit has, in the order of what is asked."""
    return tuple(name for name, amount in asked.items() if name in limit and amount > limit[name])


def minimum(one: Amounts, other: Amounts) -> dict[str, int]:
    """Returns the tighter of two limits; a name that only one has is limited by that one."""
    tighter = dict(one)
    for name, amount in other.items():
        tighter[name] = min(tighter.get(name, amount), amount)
    return tighter


def share(used: Amounts, whole: Amounts) -> float:
    """Returns the largest used part of the whole over its resources; used of what is 0 counts as 1 and more.

    Args:
        used: by name.
        whole: a guarantee or a capacity; names that it lacks do not count.
    """
    largest = 0.0
    for name, amount in used.items():
        if amount > 0 and name in whole:
            largest = max(largest, amount / whole[name] if whole[name] > 0 else float(max(amount, 1)))
    return largest


def _mend(name: str, text: str) -> str:
    if re.fullmatch(r"[+-]?[0-9]*\.[0-9]+[A-Za-z]*", text):
        if name in _THOUSANDTHS:
            return "a fraction is written in thousandths, '500m' for a half"
        return "it has a fraction; write a whole number of a smaller unit, '1536Mi' for one and a half Gi"
    return f"it is no quantity; write a whole number and, if you like, one of {', '.join(filter(None, _SUFFIXES))}"
