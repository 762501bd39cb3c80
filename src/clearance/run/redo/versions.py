"""Versions of a DAG, and what differs between two: graph, code, environment.

A version is a graph with its source bundle; other parameters make another graph. The environment is that of the newest
run of the version.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import msgspec

from clearance.errors import UsageError, nearest
from clearance.graph.model import Graph, Node, decode
from clearance.run import rows
from clearance.run.redo.cache import folder_of
from clearance.run.redo.entries import lock_of
from clearance.store.database import Database

_PLACE = frozenset({"file", "line"})
_SHORTEST = 4


class Version(msgspec.Struct, frozen=True):
    """A version as it is listed; `runs` counts those that were made of it."""

    digest: str
    bundle: str
    module: str
    created_at: float
    runs: int


def versions(database: Database, dag: str) -> list[Version]:
    """Returns the versions of a DAG, newest first.

    Raises:
        UsageError: no version of such a DAG is stored.
    """
    found = [Version(*row) for row in database.rows("versions_of", dag)]
    if not found:
        near = nearest(dag, [name for (name,) in database.rows("version_dags")])
        raise UsageError(f"no version of a DAG {dag!r} is stored{near}: run it, or make it known")
    return found


def find(database: Database, dag: str, name: str) -> Version:
    """Returns the version that people name by the beginning of its digest, or by a run of it.

    Raises:
        UsageError: there is none, or several begin so.
    """
    known = versions(database, dag)
    run = rows.run_row(database, name)
    if run is not None:
        found = [each for each in known if each.digest == run.version]
        if not found:
            raise UsageError(f"run {name!r} is of DAG {run.dag!r}, not of {dag!r}")
        return found[0]
    digits = name.removeprefix("sha256:")
    found = [each for each in known if each.digest[7:].startswith(digits)] if len(digits) >= _SHORTEST else []
    if len(found) != 1:
        what = f"names {len(found)} versions" if found else "is no version and no run"
        raise UsageError(
            f"{name!r} {what} of DAG {dag!r}: write a run, or {_SHORTEST} or more digits as "
            f"`clearance dag versions {dag}` prints them"
        )
    return found[0]


def diff(database: Database, home: Path, dag: str, old: str, new: str) -> dict[str, Any]:
    """Returns what differs between two versions.

    Returns:
        `old` and `new` (digests); `graph`: `options` and `parameters` that differ (each `[old, new]`), tasks `added`,
        `removed` and `changed` (each field `[old, new]`); `code`: files `added`, `removed` and `changed` (a unified
        diff each); `environment`: distributions `added`, `removed` (versions) and `changed` (`[old, new]`).

    Raises:
        UsageError: a version that is not there, or whose bundle has been taken away.
    """
    left, right = find(database, dag, old), find(database, dag, new)
    graphs = [decode(bytes(database.rows("version_get", each.digest)[0][3])) for each in (left, right)]
    locks = []
    for each in (left, right):
        found = database.rows("version_environment", each.digest)
        locks.append(lock_of(database, found[0][0]) if found else None)
    return {
        "old": left.digest,
        "new": right.digest,
        "graph": _graphs(*graphs),
        "code": _code(_files(home, left), _files(home, right)),
        "environment": _named(*locks) if None not in locks else {"added": {}, "removed": {}, "changed": {}},
    }


def _graphs(old: Graph, new: Graph) -> dict[str, Any]:
    options = {
        name: [_shown(getattr(old, name)), _shown(getattr(new, name))]
        for name in Graph.__struct_fields__
        if name not in ("parameters", "nodes", "code") and getattr(old, name) != getattr(new, name)
    }
    before, after = ({node.id: node for node in graph.nodes} for graph in (old, new))
    changed = {
        id: fields for id in before if id in after and (fields := _nodes(before[id], after[id]))
    }  # fmt: skip
    names = [*old.parameters, *(name for name in new.parameters if name not in old.parameters)]
    return {
        "options": options,
        "parameters": {
            name: [old.parameters.get(name), new.parameters.get(name)]
            for name in names
            if old.parameters.get(name) != new.parameters.get(name)
        },
        "added": [id for id in after if id not in before],
        "removed": [id for id in before if id not in after],
        "changed": changed,
    }


def _nodes(old: Node, new: Node) -> dict[str, list[Any]]:
    return {
        name: [_shown(getattr(old, name)), _shown(getattr(new, name))]
        for name in Node.__struct_fields__
        if name not in _PLACE and getattr(old, name) != getattr(new, name)
    }


def _shown(value: Any) -> Any:
    return msgspec.to_builtins(value)


def _files(home: Path, version: Version) -> dict[str, bytes]:
    folder = folder_of(home, version.bundle)
    if not folder.is_dir():
        raise UsageError(f"the code of version {version.digest[:19]} is not in {folder.parent}: it was taken away")
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


def _code(old: dict[str, bytes], new: dict[str, bytes]) -> dict[str, Any]:
    changed = {name: _unified(name, old[name], new[name]) for name in old if name in new and old[name] != new[name]}
    return {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "changed": changed,
    }


def _unified(name: str, old: bytes, new: bytes) -> str:
    try:
        before, after = old.decode().splitlines(keepends=True), new.decode().splitlines(keepends=True)
    except UnicodeDecodeError:
        return f"{name}: {len(old)} bytes → {len(new)} bytes, which are no text\n"
    return "".join(difflib.unified_diff(before, after, f"a/{name}", f"b/{name}"))


def _named(old: dict[str, str] | None, new: dict[str, str] | None) -> dict[str, Any]:
    assert old is not None
    assert new is not None
    return {
        "added": {name: new[name] for name in new if name not in old},
        "removed": {name: old[name] for name in old if name not in new},
        "changed": {name: [old[name], new[name]] for name in old if name in new and old[name] != new[name]},
    }
