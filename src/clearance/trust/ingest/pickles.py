"""Recognises pickles anywhere and says what they would do, without doing it.

A walk over the opcodes as the unpickler would take them (the table is that of Python's `pickletools`), with the depth
of its stack, since it stops where the stack runs out; and up to the first opcode that is none, since everything before
that has been executed by then. A pickle without an end is therefore a pickle all the same.
"""

from __future__ import annotations

import pickletools
import re
from typing import BinaryIO

import msgspec

_TABLE = {ord(each.code): each for each in pickletools.opcodes}
_PROTOCOL = max(each.proto for each in pickletools.opcodes)
_CALLS = {"REDUCE", "OBJ", "INST", "NEWOBJ", "NEWOBJ_EX", "BUILD"}
_EXTENSIONS = {"EXT1", "EXT2", "EXT4"}
_SIZES = {
    pickletools.TAKEN_FROM_ARGUMENT1: (1, False), pickletools.TAKEN_FROM_ARGUMENT4: (4, True),
    pickletools.TAKEN_FROM_ARGUMENT4U: (4, False), pickletools.TAKEN_FROM_ARGUMENT8U: (8, False),
}  # fmt: skip
_STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"}
_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_NUMBERS = {"INT", "LONG", "FLOAT", "PUT", "GET"}
_NUMBER = re.compile(rb"[\s\w.+-]+")
_STEPS = 2_000_000  # opcodes that are walked; more is a refusal of its own
_KEPT = 1024
_SHOWN = 50


class Walk(msgspec.Struct):
    """What the unpickler would do.

    Attributes:
        imports: `module.name` of what it would look up, in order; `?` where it is computed.
        calls: how many opcodes would call something.
        ended: whether its end was reached.
        marked: whether it says of itself that it is one (protocol 2 and later).
        size: bytes that were walked.
        tired: whether it has more opcodes than are walked.
    """

    imports: list[str]
    calls: int = 0
    ended: bool = False
    marked: bool = False
    size: int = 0
    tired: bool = False

    @property
    def live(self) -> bool:
        """Whether this is a pickle, or something that works as one."""
        return self.marked or self.tired or (bool(self.imports) and (self.ended or self.calls > 0))


def walk(file: BinaryIO, start: int = 0) -> Walk:
    """Walks from an offset as the unpickler would.

    Args:
        file: can be sought; where it stands afterwards is not said.
        start: offset in bytes.
    """
    end = file.seek(0, 2)
    file.seek(start)
    found = Walk([])
    depth: list[int] = [0]  # of the stack, above each mark
    strings: list[str] = []  # the last two that were pushed
    memo: dict[int, str | None] = {}
    top: str | None = None  # what was pushed last, where it is a text
    for step in range(_STEPS):
        code = file.read(1)
        opcode = _TABLE.get(code[0]) if code else None
        if opcode is None:
            break
        name = opcode.name
        argument = _argument(file, opcode, end)
        if argument is None or not _moves(depth, opcode):
            break
        if name == "PROTO":
            if argument[0] > _PROTOCOL:
                break
            found.marked |= step == 0
        elif name in ("GLOBAL", "INST"):
            module, _, attribute = argument.decode("utf-8", "replace").partition("\n")
            found.imports.append(f"{module}.{attribute}")
        elif name == "STACK_GLOBAL":
            found.imports.append(".".join(strings[-2:]) if len(strings) > 1 else "?")
        elif name in _EXTENSIONS:
            found.imports.append("?")
        if name in _PUTS or name == "MEMOIZE":
            memo[_place(name, argument) if argument else len(memo)] = top
            continue
        top = argument.decode("utf-8", "replace") if name in _STRINGS else None
        if name in _GETS:
            top = memo.get(_place(name, argument))
        if top is not None:
            strings = [*strings[-1:], top]
        if name in _CALLS:
            found.calls += 1
        if name == "STOP":
            found.ended = True
            break
    else:
        found.tired = True
    found.size = file.tell() - start
    del found.imports[_SHOWN:]
    return found


def _argument(file: BinaryIO, opcode: pickletools.OpcodeInfo, end: int) -> bytes | None:
    """Returns what follows an opcode (the beginning of it, where it is long); None where that cannot be."""
    kind = opcode.arg
    if kind is None:
        return b""
    if kind.n == pickletools.UP_TO_NEWLINE:
        lines = [_line(file) for _ in range(2 if opcode.name in ("GLOBAL", "INST") else 1)]
        if None in lines or (opcode.name in _NUMBERS and not _NUMBER.fullmatch(lines[0] or b"")):
            return None
        return b"\n".join(line for line in lines if line is not None)
    if kind.n >= 0:
        argument = file.read(kind.n)
        return argument if len(argument) == kind.n else None
    width, signed = _SIZES[kind.n]
    length = int.from_bytes(file.read(width), "little", signed=signed)
    at = file.tell()
    if length < 0 or at + length > end:
        return None
    argument = file.read(min(length, _KEPT))
    file.seek(at + length)
    return argument


def _place(name: str, argument: bytes) -> int:
    """Returns the place in the memo that an opcode names."""
    if name in ("PUT", "GET"):
        return int(argument) if argument.isdigit() else -1
    return int.from_bytes(argument, "little")


def _line(file: BinaryIO) -> bytes | None:
    """Returns the beginning of a line, which is read to its end; None where it has none."""
    line = part = file.readline(_KEPT)
    while part and not part.endswith(b"\n"):
        part = file.readline(_KEPT)
    return line.rstrip(b"\n") if part else None


def _moves(depth: list[int], opcode: pickletools.OpcodeInfo) -> bool:
    """Changes the depths as an opcode does; False where the stack would run out."""
    before, after = opcode.stack_before, opcode.stack_after
    if opcode.name == "MARK":
        depth.append(0)
        return True
    if opcode.name == "POP" and not depth[-1] and len(depth) > 1:  # it takes the mark away
        depth.pop()
        return True
    needed = len(before)
    if pickletools.markobject in before:
        if len(depth) < 2:
            return False
        depth.pop()
        needed = before.index(pickletools.markobject)
    if depth[-1] < needed:
        return False
    depth[-1] += len(after) - needed
    return True
