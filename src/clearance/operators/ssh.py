"""`ssh`: a command on another machine, through the OpenSSH client.

    count = ssh("count", "worker@node7", ["wc", "-l", "/data/rows.csv"], identity=Secret.file("/run/secrets/key"))

Rules:

1. The host's key must be known: nothing is ever trusted at first sight. Nobody is asked for a password.
2. The command is an argument list, quoted for the shell at the other end.
3. The remote process ends with the attempt: it runs in a session of its own, which is ended when our side of the
   connection goes away, however that happens.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clearance.errors import GraphError, UsageError
from clearance.graph.origin import call_site
from clearance.operators import process
from clearance.operators.contract import OperatorFailed, attempt, check_choice, operator, text_of
from clearance.types.secret import Secret

_RESULTS = {"last_line": str, "text": str, "none": None}
_HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.\-]*@)?[A-Za-z0-9_\[][A-Za-z0-9_.:\-\]]*\Z")
UNREACHABLE = 255
# The command runs in its own session. Its guard reads our end of the connection: at its end the session is ended.
_REMOTE = """\
exec 3<&0
if command -v setsid >/dev/null 2>&1; then setsid {command} </dev/null & else {command} </dev/null & fi
child=$!
(while read -r line <&3; do :; done; kill -TERM -$child 2>/dev/null || kill -TERM $child 2>/dev/null
sleep {grace}; kill -KILL -$child 2>/dev/null || kill -KILL $child 2>/dev/null) >/dev/null 2>&1 &
guard=$!
wait $child; code=$?
kill $guard 2>/dev/null
exit $code"""


def ssh(
    name: str,
    host: str,
    arguments: Sequence[Any],
    *,
    port: int = 22,
    identity: Secret | str = "",
    known_hosts: str = "",
    result: str = "last_line",
    skip_on: int | Sequence[int] = 99,
    **how: Any,
) -> Any:
    """Makes a task that runs a command on another machine; its output is the task's log.

    Args:
        name: id of the task.
        host: `user@host` or `host`.
        arguments: the program there and its arguments, constants or results (not files, which are here).
        port: of the server.
        identity: the private key: the path of its file, or a `Secret` whose text it is; default the client's own.
        known_hosts: file of the hosts' keys; default the user's and the system's.
        result: `last_line` or `text` of its output, or `none`.
        skip_on: exit codes after which the task is skipped.
        **how: options of the task.

    Raises:
        GraphError: a host or an option that is none.
    """
    site = call_site()[0]
    check_choice("result", result, tuple(_RESULTS))
    if not isinstance(host, str) or not _HOST.match(host):
        raise GraphError(f"task {name!r} ({site}): host is {host!r}: write user@host")
    if isinstance(arguments, str) or not len(arguments):
        raise GraphError(f"task {name!r} ({site}): arguments are a list: ['wc', '-l', '/data/rows.csv']")
    configuration = {
        "host": host, "arguments": list(arguments), "port": port,
        "identity": identity if isinstance(identity, str) else "",
        "key": identity if isinstance(identity, Secret) else None,
        "known_hosts": known_hosts, "result": result,
        "skip_on": [skip_on] if isinstance(skip_on, int) else list(skip_on),
    }  # fmt: skip
    return operator(name, run_ssh, _RESULTS[result], configuration, how)


def run_ssh(
    host: str,
    arguments: list[Any],
    port: int,
    identity: str,
    key: Secret | None,
    known_hosts: str,
    result: str,
    skip_on: list[int],
) -> Any:
    """Runs in the attempt's process: see `ssh`."""
    context = attempt()
    client = shutil.which("ssh")
    if client is None:
        raise UsageError("the OpenSSH client is not installed where tasks run: install openssh-client")
    command = [
        client, "-T", "-p", str(port), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
        "-o", "ServerAliveInterval=15", "-o", "ConnectTimeout=30", "-o", "ControlPath=none",
    ]  # fmt: skip
    if known_hosts:
        command += ["-o", f"UserKnownHostsFile={known_hosts}", "-o", "GlobalKnownHostsFile=/dev/null"]
    written = _write_key(key) if key is not None else None
    if identity or written:
        command += ["-o", "IdentitiesOnly=yes", "-i", str(written or identity)]
    remote = _REMOTE.format(command=shlex.join([text_of(each) for each in arguments]), grace=max(1, int(context.grace)))
    command += ["--", host, f"exec sh -c {shlex.quote(remote)}"]
    here, there = os.pipe()
    try:
        printed = process.run(command, what=f"{arguments[0]} on {host}", skip_on=skip_on, stdin=here)
    except OperatorFailed as error:
        if str(error).endswith(f"exit code {UNREACHABLE}"):
            raise OperatorFailed(
                f"{host} cannot be reached, its key is not known, or it refuses us: see the log of this attempt"
            ) from None
        raise
    finally:
        os.close(there)
        os.close(here)
        if written is not None:
            written.unlink()
    if result == "none":
        return None
    return process.last_line(printed, host) if result == "last_line" else process.text(printed, host)


def _write_key(key: Secret) -> Path:
    path = Path.cwd() / ".identity"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key.reveal().rstrip("\n") + "\n")
    return path
