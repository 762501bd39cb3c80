"""`container`: a command in a container of podman or docker, shut in unless something is opened.

    test = container("test", "registry.example/tool@sha256:…", ["pytest", "/in/0"], mounts=[sources], output=True)

Rules:

1. No network, no capability, no new privileges, unless the task says otherwise; what is mounted is read-only, but for
   one folder, `/out`, which becomes the result.
2. An image is named by its digest. A tag can come to mean another image, so it must be allowed (`allow_tag`); an image
   that was built on this machine (`localhost/…`) need not be.
3. The container has the attempt's name and ends with it; one that an earlier attempt of the same task has left behind
   is removed first.
"""

from __future__ import annotations

import os
import re
import resource as rlimits
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from clearance.errors import GraphError, UsageError
from clearance.graph.options import options
from clearance.graph.origin import call_site
from clearance.operators import process
from clearance.operators.contract import (
    OperatorFailed,
    attempt,
    check_choice,
    names_of,
    operator,
    secrets_of,
    text_of,
    values_of,
)
from clearance.types.references import File, Tree
from clearance.types.secret import Secret

PROGRAMS = ("podman", "docker")
LABEL = "clearance.task"
REMOVAL = 1.5  # seconds that it may take to remove a container
_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}\Z")
_RESULTS = {"last_line": str, "text": str, "none": None}


def container(
    name: str,
    image: str,
    arguments: Sequence[Any] = (),
    *,
    mounts: Sequence[Any] = (),
    output: bool = False,
    env: Mapping[str, Any] | None = None,
    network: str = "none",
    user: str = "",
    allow_tag: bool = False,
    program: str = "",
    result: str = "last_line",
    skip_on: int | Sequence[int] = 99,
    **how: Any,
) -> Any:
    """Makes a task that runs a command in a container; its output is the task's log.

    Args:
        name: id of the task.
        image: `NAME@sha256:…`, or `localhost/NAME:TAG` for one that was built here.
        arguments: what runs in it, constants or results; files and trees must be among `mounts` instead.
        mounts: files or trees, results of tasks: `/in/0`, `/in/1`, … in the container, read-only.
        output: whether there is a folder `/out` to write to, which is then the result, a `Tree`.
        env: variables: constants, results or `Secret`s, which appear in no command line.
        network: `none`, or what `--network` of the program takes.
        user: as `--user` takes it; default the image's.
        allow_tag: whether an image may be named by a tag that can move.
        program: `podman` or `docker`; default the first that is installed.
        result: `last_line` or `text` of its output, or `none`; without `output`.
        skip_on: exit codes after which the task is skipped.
        **how: options of the task; `resources` are also the limits of the container.

    Raises:
        GraphError: an image that is named by a tag, or an option that is none.
    """
    site = call_site()[0]
    check_choice("result", result, tuple(_RESULTS))
    if program:
        check_choice("program", program, PROGRAMS)
    if not image or image.startswith("-") or any(letter.isspace() for letter in image):
        raise GraphError(f"task {name!r} ({site}): {image!r} is no name of an image")
    if not (_DIGEST.match(image) or image.startswith("localhost/") or allow_tag):
        raise GraphError(
            f"task {name!r} ({site}): image {image!r} is named by a tag, which can come to mean another image: "
            "name it by digest, NAME@sha256:…, or say allow_tag=True"
        )
    resources = how.get("resources")
    limits = options(resources=resources).resources if resources is not None else {}
    configuration = {
        "image": image, "arguments": list(arguments), "mounts": list(mounts), "output": output,
        "names": names_of(env), "values": values_of(env), "secrets": secrets_of(env), "network": network, "user": user,
        "program": program, "result": result, "skip_on": [skip_on] if isinstance(skip_on, int) else list(skip_on),
        "cpu_millis": limits.get("cpu", 0), "memory": limits.get("memory", 0),
    }  # fmt: skip
    return operator(name, run_container, Tree if output else _RESULTS[result], configuration, how)


def run_container(
    image: str,
    arguments: list[Any],
    mounts: list[Any],
    output: bool,
    names: list[str],
    values: list[Any],
    secrets: dict[str, Secret],
    network: str,
    user: str,
    program: str,
    result: str,
    skip_on: list[int],
    cpu_millis: int,
    memory: int,
) -> Any:
    """Runs in the attempt's process: see `container`."""
    context = attempt()
    tool = _tool(program)
    task = f"{context.run}.{context.task}.{context.instance}"
    own = f"clearance-{context.attempt}"
    variables = {name: text_of(value) for name, value in zip(names, values, strict=True)}
    variables |= {name: secret.reveal() for name, secret in secrets.items()}
    command = [
        tool, "run", "--rm", "--name", own, "--label", f"{LABEL}={task}", "--network", network,
        "--cap-drop", "all", "--security-opt", "no-new-privileges",
    ]  # fmt: skip
    if image.startswith("localhost/"):
        command += ["--pull", "never"]
    for variable in variables:
        command += ["--env", variable]  # the value is in the environment of the program, not in its command line
    if user:
        command += ["--user", user]
    if cpu_millis:
        command += ["--cpus", f"{cpu_millis / 1000:g}"]
    if memory:
        command += ["--memory", str(memory)]
    for index, value in enumerate(mounts):
        if not isinstance(value, File | Tree):
            raise OperatorFailed(f"mount {index} is of type {type(value).__qualname__}: pass a File or a Tree")
        command += ["--volume", f"{_plain(value.path)}:/in/{index}:ro"]
    made = Path.cwd() / "out"
    if output:
        made.mkdir()
        command += ["--volume", f"{_plain(made)}:/out:rw"]
    command += [image, *(text_of(each) for each in arguments)]
    if memory:  # it is the container's, not of the program that starts it
        _, hard = rlimits.getrlimit(rlimits.RLIMIT_DATA)
        rlimits.setrlimit(rlimits.RLIMIT_DATA, (hard, hard))
    _remove(tool, _left(tool, task))

    with _Notice(context.grace):
        try:
            printed = process.run(command, what=f"container {image}", environment=variables, skip_on=skip_on)
        finally:
            _remove(tool, [own])
    if output:
        return Tree(made)
    if result == "none":
        return None
    return process.last_line(printed, image) if result == "last_line" else process.text(printed, image)


class _Notice:
    """Leaves the container, which is told of a notice by the program, nearly all of the grace period to end by itself.

    Args:
        grace: seconds between the notice and the kill.
    """

    def __init__(self, grace: float) -> None:
        self._left = max(0.1, grace - REMOVAL)

    def __enter__(self) -> None:
        self._before = [
            (signal.SIGTERM, signal.signal(signal.SIGTERM, self._told)),
            (signal.SIGALRM, signal.signal(signal.SIGALRM, self._over)),
        ]

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before:
            signal.signal(number, handler)

    def _told(self, number: int, frame: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._left)

    def _over(self, number: int, frame: Any) -> NoReturn:
        raise SystemExit(128 + signal.SIGTERM)


def _tool(program: str) -> str:
    for each in [program] if program else PROGRAMS:
        if found := shutil.which(each):
            return found
    raise UsageError(f"{program or 'podman or docker'} is not installed where tasks run: install it")


def _plain(path: Path) -> str:
    """Returns a path that can stand before the colon of a volume."""
    text = str(path)
    if ":" in text or "," in text:
        raise OperatorFailed(f"{text} cannot be mounted: its path holds a colon or a comma")
    return text


def _left(tool: str, task: str) -> list[str]:
    done = subprocess.run(
        [tool, "ps", "--all", "--quiet", "--filter", f"label={LABEL}={task}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise OperatorFailed(f"{os.path.basename(tool)}: {done.stderr.strip() or 'does not answer'}")
    return done.stdout.split()


def _remove(tool: str, containers: list[str]) -> None:
    """Kills and removes containers; one that is gone already is no error."""
    if containers:
        for verb in (["kill"], ["rm", "--force"]):  # `rm` alone lets a first process that ignores notice wait
            subprocess.run([tool, *verb, *containers], capture_output=True, check=False)
