"""A command that runs for a task: its output streams to the task's log, and it ends with the attempt.

The child stays in the attempt's process group, so that a notice and the kill reach it without our help.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from clearance.errors import Skip
from clearance.operators.contract import OperatorFailed

TEXT_LIMIT = 1 << 20


def run(
    arguments: Sequence[str],
    *,
    what: str,
    environment: Mapping[str, str] | None = None,
    directory: str | None = None,
    output: Path | None = None,
    skip_on: Sequence[int] = (),
    stdin: int = subprocess.DEVNULL,
) -> bytes:
    """Runs a command to its end and returns the end of what it printed, at most `TEXT_LIMIT` bytes and one.

    Args:
        arguments: the program and its arguments; no shell reads them.
        what: runs, for messages.
        environment: variables beyond those of this process.
        directory: in which it runs; default this one.
        output: where its standard output goes instead of the log.
        skip_on: exit codes that skip the task.
        stdin: descriptor of its standard input.

    Raises:
        Skip: an exit code of `skip_on`.
        OperatorFailed: it cannot be started, or ended with another code than 0.
    """
    kept = bytearray()
    sys.stdout.flush()
    try:
        if output is not None:
            with output.open("wb") as file:
                process = _start(arguments, environment, directory, file.fileno(), stdin)
        else:
            process = _start(arguments, environment, directory, subprocess.PIPE, stdin)
    except OSError as error:
        raise OperatorFailed(f"{what}: {arguments[0]!r} cannot be started: {error.strerror}") from None
    try:
        if process.stdout is not None:
            while chunk := os.read(process.stdout.fileno(), 65536):
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
                kept += chunk
                if len(kept) > 4 * TEXT_LIMIT:
                    del kept[: -(TEXT_LIMIT + 1)]
        code = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if code in skip_on:
        raise Skip(f"{what} ended with exit code {code}")
    if code:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise OperatorFailed(f"{what} {how}")
    return bytes(kept[-(TEXT_LIMIT + 1) :])


def _start(
    arguments: Sequence[str], environment: Mapping[str, str] | None, directory: str | None, stdout: int, stdin: int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(arguments), env={**os.environ, **(environment or {})}, cwd=directory, stdin=stdin, stdout=stdout
    )


def text(data: bytes, what: str) -> str:
    """Returns what was printed as text.

    Raises:
        OperatorFailed: it is longer than a text result may be, or no UTF-8.
    """
    if len(data) > TEXT_LIMIT:
        raise OperatorFailed(f"{what} printed more than {TEXT_LIMIT} bytes: use result='file', or result='last_line'")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise OperatorFailed(f"{what} printed something else than UTF-8 text: use result='file'") from None


def last_line(data: bytes, what: str) -> str:
    """Returns the last line that holds anything, or an empty text."""
    tail = data[-TEXT_LIMIT:].rstrip()
    return text(tail[tail.rfind(b"\n") + 1 :], what).strip()
