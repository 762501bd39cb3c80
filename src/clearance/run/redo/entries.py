"""What is remembered of the cache, and why a task was or was not taken from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from clearance.errors import UsageError
from clearance.run import rows
from clearance.run.look import views
from clearance.store.database import Database
from clearance.types.artifact import Artifact
from clearance.types.digest import digest_of

LOOKED_AT = 1000
_json = msgspec.json.Encoder(order="deterministic")


class Fields(msgspec.Struct, frozen=True):
    """What the key is made of; everything but `function`, `version` and `serializer` is a digest or empty.

    Attributes:
        function: `module:name`.
        code: of the function and what it uses.
        files: of the other files of the bundle, where the code reads them.
        version: declared.
        parameters: of each constant argument, by name.
        inputs: of each argument that is or holds what a task returned, by name.
        environment: of the lock.
        serializer: how the result is written: our format's number and the annotation.
        context: of what the code asks the context.
    """

    function: str
    code: str
    files: str
    version: str
    parameters: dict[str, str]
    inputs: dict[str, str]
    environment: str
    serializer: str
    context: str


class Entry(msgspec.Struct, frozen=True):
    """A result that may be taken again, as it is stored; `run` and `task` made it."""

    digest: str
    function: str
    fields: str
    result: bytes | None
    artifact: str
    evidence: int
    builder: str
    run: str
    task: str
    created_at: float
    used_at: float

    @property
    def decoded(self) -> Artifact | None:
        """The result; None where the task returned None."""
        return None if self.result is None else rows.artifact_decoder.decode(bytes(self.result))


class Lookup(msgspec.Struct, frozen=True):
    """What an instance asked of the cache last; `outcome` is `hit` or `miss`."""

    run: int
    number: int
    digest: str
    fields: str
    outcome: str
    reason: str
    from_run: str
    from_task: str
    at: float


def key_of(fields: Fields) -> str:
    """Returns the key."""
    return digest_of(_json.encode(fields))


def entries(database: Database, limit: int) -> list[dict[str, Any]]:
    """Returns the entries that were used last."""
    found = [Entry(*row) for row in database.rows("cache_entries", limit)]
    return [
        {
            "key": each.digest, "function": each.function, "run": each.run, "task": each.task,
            "artifact": each.artifact, "size": 0 if each.decoded is None else each.decoded.size,
            "evidence": each.evidence, "builder": each.builder,
            "created_at": each.created_at, "used_at": each.used_at,
        }
        for each in found
    ]  # fmt: skip


def explain(database: Database, run: str, task: str) -> dict[str, Any]:
    """Returns what an instance asked of the cache, what came of it, and how it differs from the nearest entry.

    Returns:
        `run`, `task`, `key`, `outcome`, `reason`, `from` (run and task that made it, of a hit), `nearest` (of a miss:
        run and task), and `differs`, a list of `field`, `name`, `what`.

    Raises:
        UsageError: no such run or task, or it never asked.
    """
    row, instance = views.find(database, run, task)
    found = database.rows("cache_lookup_get", row.number, instance.number)
    if not found:
        raise UsageError(
            f"{run} {instance.label} has asked nothing of the cache: it has no cache=True, or has not come so far"
        )
    lookup = Lookup(*found[0])
    told: dict[str, Any] = {
        "run": run, "task": instance.label, "key": lookup.digest, "outcome": lookup.outcome, "reason": lookup.reason,
        "from": None, "nearest": None, "differs": [],
    }  # fmt: skip
    if lookup.outcome == "hit":
        return told | {"from": {"run": lookup.from_run, "task": lookup.from_task}}
    if lookup.reason:
        return told
    mine = msgspec.json.decode(lookup.fields, type=Fields)
    known = [Entry(*each) for each in database.rows("cache_entries_of", mine.function, lookup.at, LOOKED_AT)]
    others = [each for each in known if (each.run, each.task) != (run, instance.label)]
    if not others:
        return told | {"reason": f"there is no result of {mine.function} yet"}
    decoded = [(each, msgspec.json.decode(each.fields, type=Fields)) for each in others]
    nearest, theirs = min(decoded, key=lambda pair: len(_differing(mine, pair[1])))
    differs = [_described(database, field, name, mine, theirs) for field, name in _differing(mine, theirs)]
    return told | {"nearest": {"run": nearest.run, "task": nearest.task}, "differs": differs}


def _differing(mine: Fields, theirs: Fields) -> list[tuple[str, str]]:
    """Returns field and name of whatever differs; the name is empty for a field that is one digest."""
    found: list[tuple[str, str]] = []
    for field in Fields.__struct_fields__:
        left, right = getattr(mine, field), getattr(theirs, field)
        if isinstance(left, dict):
            found += [(field, name) for name in sorted({*left, *right}) if left.get(name) != right.get(name)]
        elif left != right:
            found.append((field, ""))
    return found


def _described(database: Database, field: str, name: str, mine: Fields, theirs: Fields) -> dict[str, str]:
    left, right = getattr(mine, field), getattr(theirs, field)
    if name:
        left, right = left.get(name), right.get(name)
        what = "changed" if left and right else ("is new" if left else "is gone")
    elif field == "code":
        what = changes(_parts(database, right), _parts(database, left))
    elif field == "environment":
        what = changes(lock_of(database, right), lock_of(database, left))
    elif field in ("version", "serializer"):
        what = f"{right or 'none'} → {left or 'none'}"
    else:
        what = "changed"
    return {"field": field, "name": name, "what": what}


def changes(old: dict[str, str], new: dict[str, str]) -> str:
    """Returns in one line what is new, gone or changed between two lists of names and values."""
    told = []
    for name in sorted({*old, *new}):
        if name not in old:
            told.append(f"{name} is new")
        elif name not in new:
            told.append(f"{name} is gone")
        elif old[name] != new[name]:
            short = len(old[name]) < 16
            told.append(f"{name} {old[name]} → {new[name]}" if short else f"{name} changed")
    return _shortened(told) or "changed"


def _shortened(told: Iterable[str], most: int = 10) -> str:
    told = list(told)
    return ", ".join(told[:most]) + (f" and {len(told) - most} more" if len(told) > most else "")


def _parts(database: Database, code: str) -> dict[str, str]:
    found = database.rows("cache_code_get", code)
    return msgspec.json.decode(found[0][0], type=dict[str, str]) if found else {}


def lock_of(database: Database, digest: str) -> dict[str, str]:
    """Returns the distributions of an environment, and its interpreter as `python`, by name."""
    found = database.rows("environment_get", digest)
    lines = str(found[0][0]).splitlines() if found else []
    named = {name: version for line in lines for name, equal, version in [line.partition("==")] if equal}
    return named | ({"python": lines[0].removeprefix("# ")} if lines and lines[0].startswith("# ") else {})
