"""The preflight job: tests a node before it takes work. It runs there as a real attempt, and fails where the node does.

Rules:

1. A command of the operator's own decides where there is one: it passes with exit status 0.
2. Else memory is written and read back, a digest is computed whose value is known, a file is written to the disk and
   read back, and where the attempt has GPUs, `nvidia-smi` must be able to list them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

from clearance.errors import ClearanceError

_MEMORY = 32 << 20
_DISK = 4 << 20
_SHOWN = 500
_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, SHA-256 of "abc"


def check(config: dict[str, Any]) -> None:
    """Tests the machine that it runs on.

    Args:
        config: `command`, the words of a command of one's own, and `gpus`, how many GPUs the attempt has.

    Raises:
        ClearanceError: it did not pass.
    """
    command = config.get("command") or ()
    if command:
        run(command)
        return
    if hashlib.sha256(b"abc").hexdigest() != _ABC:
        raise ClearanceError("preflight: a digest is wrong: the processor computes falsely")
    for pattern in (0x00, 0xFF, 0xA5):
        if bytearray([pattern]) * _MEMORY != bytes([pattern]) * _MEMORY:
            raise ClearanceError("preflight: memory does not hold what was written to it")
    block = os.urandom(_DISK)
    try:
        with tempfile.TemporaryFile(dir=os.getcwd()) as file:
            file.write(block)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            same = file.read() == block
    except OSError as error:
        raise ClearanceError(f"preflight: {os.getcwd()} cannot be written to: {error}") from None
    if not same:
        raise ClearanceError(f"preflight: {os.getcwd()} does not hold what was written to it")
    smi = shutil.which("nvidia-smi") if config.get("gpus") else None
    if smi is not None:
        run((smi, "-L"))


def run(command: Sequence[str]) -> None:
    """Runs a command to its end.

    Raises:
        ClearanceError: it cannot be run, or ends with another status than 0.
    """
    try:
        done = subprocess.run(list(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise ClearanceError(f"preflight: {command[0]} cannot be run: {error}") from None
    if done.returncode:
        told = (done.stderr or done.stdout).strip()[-_SHOWN:]
        raise ClearanceError(f"preflight: {command[0]} ended with {done.returncode}{f': {told}' if told else ''}")
