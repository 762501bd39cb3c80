"""`clearance cluster submit JOB.yaml`: one command as a job, which is a DAG run of one task."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from clearance.errors import UsageError, nearest

PIPELINE = '''"""One command as a job: its parameters are what `clearance cluster submit` read."""

from typing import Any

from clearance import dag
from clearance.operators import bash


@dag
def job(name: str, command: list[str], env: dict[str, str], how: dict[str, Any]):
    bash(name, command, env=env, result="none", **how)
'''
_KEYS = {
    "name": str, "command": list, "queue": str, "priority": int, "members": int, "resources": dict, "estimate": str,
    "timeout": str, "retries": int, "env": dict,
}  # fmt: skip
_NAMES = {"members": "gang", "estimate": "expect"}


@click.command()
@click.argument("file", metavar="JOB.yaml")
@click.option("--detach", is_flag=True, help="Print the run's id and leave; it goes on in the background.")
@click.option("--run-id", default="", metavar="ID", help="Name the run; the same id again goes on with it.")
@click.option("--json", "as_json", is_flag=True, help="Print the finished run as JSON.")
def submit(file: str, detach: bool, run_id: str, as_json: bool) -> None:
    """Submit the job in a file, as a DAG run of one task, and wait for its end.

    The file says `name` and `command` (a list), and may say `queue`, `priority`, `members` (a gang), `resources` (of
    each member), `estimate` and `timeout` ("1h"), `retries`, `env`.
    """
    from clearance.cli.progress import progress
    from clearance.cli.run import finish
    from clearance.graph.bundle import make_bundle, unpack
    from clearance.run.host.embedded import ask, run_to_end
    from clearance.run.host.messages import Accepted, Submit
    from clearance.settings import load
    from clearance.types.digest import hex_of

    settings = load()
    parameters = {name: json.dumps(value) if name != "name" else value for name, value in read_job(file).items()}
    settings.make_home()
    made = settings.home / "jobs" / "job.py"
    made.parent.mkdir(mode=0o700, exist_ok=True)
    made.write_text(PIPELINE)
    bundle = make_bundle(made)
    unpack(bundle.data, settings.home / "bundles" / hex_of(bundle.digest), bundle.digest)
    request = Submit(bundle.digest, f"{bundle.module}:job", parameters, run_id)
    if detach:
        reply = ask(settings, request)
        assert isinstance(reply, Accepted)
        click.echo(reply.run)
        return
    view = progress(as_json)
    began = time.time()
    try:
        id, state, _ = run_to_end(settings, request, view.show)
    finally:
        view.close()
    finish(settings, id, state, as_json, began)


def read_job(file: str) -> dict[str, Any]:
    """Returns the parameters of the job's DAG.

    Raises:
        UsageError: the file cannot be read, or is no job.
    """
    import yaml

    try:
        found = yaml.safe_load(Path(file).read_text())
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: it is no YAML: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{file}: write name: and command:, as in `clearance cluster submit --help`")
    for key, value in found.items():
        if key not in _KEYS:
            raise UsageError(f"{file}: unknown key {key!r}{nearest(str(key), _KEYS)}")
        if not isinstance(value, _KEYS[key]) or isinstance(value, bool):
            raise UsageError(f"{file}: {key} is {value!r}: write a {_KEYS[key].__name__}")
    for key in ("name", "command"):
        if not found.get(key):
            raise UsageError(f"{file}: {key} is missing")
    if not all(isinstance(part, str) for part in found["command"]):
        raise UsageError(f"{file}: command is {found['command']!r}: write each argument as text, a number in quotes")
    env = {str(name): str(value) for name, value in found.get("env", {}).items()}
    how = {
        _NAMES.get(key, key): value for key, value in found.items() if key not in ("name", "command", "env")
    }  # fmt: skip
    return {"name": found["name"], "command": found["command"], "env": env, "how": how}
