"""The cache: a result of before is taken instead of running a task, where nothing that counts has changed.

Rules:

1. The key is the digest of `Fields`: the task's code, the files it reads, the declared version, its parameters and
   inputs by digest, the environment's lock, how its result is written, and what it asks the context for.
2. It is asked after the trust desk has allowed the inputs and before the capacity desk: a hit takes no slot.
3. Every byte of a hit is compared with its digest, what is large in a thread. What is missing or changed is a miss.
4. An entry is written in the transaction of the success that made it; a hit is written in that of its own success, and
   names the run it came from. The signature stays that of the attempt that made the result: nothing is signed anew.
5. Of instances that ask the same at the same time one runs, the others wait for it and hold no slot.
6. An entry carries the level of evidence under which it was made; a controller that asks for more does not take it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from clearance.errors import ClearanceError, Corrupt
from clearance.graph.model import Node
from clearance.run import rows
from clearance.run.clearance import Verdict, recorded
from clearance.run.instance import Instance
from clearance.run.redo.entries import Entry, Fields, Lookup, key_of
from clearance.trust.provenance import BUILDER
from clearance.types.artifact import Argument, Artifact, Listed, Literal, Projected, Stored
from clearance.types.digest import digest_of, hex_of
from clearance.types.states import TaskState

if TYPE_CHECKING:
    from clearance.run.changes import Changes
    from clearance.run.controller import Controller
    from clearance.store.blobs import Blobs

SIGNED = 1  # the level of evidence of what this installation's key has signed
SERIALISATION = "1"  # grows when the same value would be written in another way
AT_ONCE = 64 * 1024  # bytes that are compared within the turn
_json = msgspec.json.Encoder(order="deterministic")


class Cache:
    """See the module.

    Args:
        controller: which leads.
        evidence: the least level that is taken.
    """

    def __init__(self, controller: Controller, evidence: int = SIGNED) -> None:
        self._controller = controller
        self._database = controller.database
        self._evidence = evidence
        self._asked: dict[Instance, tuple[str, Fields]] = {}
        self._running: set[Instance] = set()
        self._first: dict[str, Instance] = {}
        self._others: dict[str, list[Instance]] = defaultdict(list)
        self._verifier = _Verifier()
        self._verifying: dict[int, tuple[Instance, Verdict, Entry]] = {}
        self._serial = 0
        self._bundles: dict[str, str] = {}

    def wake_with(self, descriptor: int) -> None:
        """Sets the descriptor to which a byte is written when something was compared in the thread."""
        self._verifier.wake = descriptor

    def take(self, instance: Instance, trust: Verdict, now: float) -> bool:
        """Looks whether an instance that may run needs to run.

        Returns:
            False when it must; else it has ended with success, or waits for a comparison or for another instance.
        """
        how = instance.spec.cache
        if how is None or instance in self._running or instance.run.cancelling:
            return False
        key, _ = self._key(instance)
        first = self._first.setdefault(key, instance)
        if first is not instance:
            self._others[key].append(instance)
            reason = f"{first.run.id} {first.label} makes the same result: it is waited for"
            instance.clearance = recorded("held", now, trust, Verdict("held", reason))
            return True
        entry = self._entry(key)
        reason = unfit(entry, how.max_age, now, self._evidence)
        if entry is None or reason:
            self._missed(instance, reason, now)
            return False
        artifact = entry.decoded
        if artifact is not None and artifact.inline is None and artifact.size > AT_ONCE:
            self._serial += 1
            self._verifying[self._serial] = (instance, trust, entry)
            self._verifier.ask(self._serial, artifact, self._controller.evidence.blobs)
            return True
        if trouble := "" if artifact is None else _trouble(artifact, self._controller.evidence.blobs):
            self._broken(instance, entry, trouble, now)
            return False
        self._hit(instance, entry, trust, now)
        return True

    def compared(self, now: float) -> list[tuple[Instance, Verdict]]:
        """Takes what was compared since the last turn; returns what must run after all, with the desk's verdict."""
        left = []
        for number, trouble in self._verifier.outcomes() if self._verifying else ():
            instance, trust, entry = self._verifying.pop(number)
            if instance.state is not TaskState.AWAITING_CLEARANCE:
                continue
            current = self._entry(entry.digest)
            if not trouble and current is not None and current.artifact == entry.artifact:
                self._hit(instance, entry, trust, now)
                continue
            if trouble:
                self._broken(instance, entry, trouble, now)
            else:
                self._missed(instance, f"the result of {entry.run} {entry.task} was taken away", now)
            left.append((instance, trust))
        return left

    def keep(self, instance: Instance, result: Artifact | None, now: float) -> None:
        """Writes the result of an instance that has run into the transaction of its success."""
        if instance.spec.cache is None or (result is not None and result.serializer == "endpoint"):
            return
        key, fields = self._key(instance)
        run = instance.run
        add = self._controller.ledger.add
        add("cache_code_add", fields.code, rows.json_text(run.graph.code.get(fields.code, {})))
        entry = Entry(
            digest=key, function=fields.function, fields=rows.json_text(fields),
            result=None if result is None else rows.artifact_encoder.encode(result),
            artifact="" if result is None else result.digest, evidence=SIGNED,
            builder=f"{BUILDER}/local/{instance.spec.isolation}", run=run.id, task=instance.label,
            created_at=now, used_at=now,
        )  # fmt: skip
        add("cache_entry_put", *msgspec.structs.astuple(entry))

    def committed(self, changes: Changes) -> None:
        """What changed is committed: whoever waited for one of these asks again."""
        if not self._asked:
            return
        for instance in changes.dirty:
            if instance.state.finished and (known := self._asked.pop(instance, None)):
                key = known[0]
                self._running.discard(instance)
                if self._first.get(key) is instance:
                    del self._first[key]
                    waiting = self._others.pop(key, ())
                    again = [each for each in waiting if each.state is TaskState.AWAITING_CLEARANCE]
                    self._controller.machine.changes.ready += again

    def close(self) -> None:
        """Ends the thread."""
        self._verifier.close()

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _key(self, instance: Instance) -> tuple[str, Fields]:
        known = self._asked.get(instance)
        if known is None:
            fields = self._fields(instance)
            known = self._asked[instance] = (key_of(fields), fields)
        return known

    def _fields(self, instance: Instance) -> Fields:
        assert instance.spec.cache is not None
        files = self._files(instance.run.bundle) if instance.spec.cache.files else ""
        return fields_of(instance, self._controller.evidence.arguments.of(instance), files)

    def _files(self, bundle: str) -> str:
        """Returns a digest over the files of a bundle that are not Python, by name."""
        known = self._bundles.get(bundle)
        if known is None:
            folder = folder_of(self._controller.settings.home, bundle)
            files = sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc"))
            text = "".join(f"{file.relative_to(folder)} {digest_of(file.read_bytes())}\n" for file in files)
            known = self._bundles[bundle] = digest_of(text.encode("utf-8", "surrogateescape"))
        return known

    def _entry(self, key: str) -> Entry | None:
        found = self._database.rows("cache_entry_get", key)
        return Entry(*found[0]) if found else None

    def _missed(self, instance: Instance, reason: str, now: float) -> None:
        self._running.add(instance)
        self._look_up(instance, "miss", reason, "", "", now)

    def _broken(self, instance: Instance, entry: Entry, why: str, now: float) -> None:
        """What an entry names is missing or changed: it is no entry any more."""
        reason = f"the result of {entry.run} {entry.task} cannot be taken: {why}"
        self._controller.ledger.add("cache_entry_drop", entry.digest)
        told = {"task": instance.label, "digest": entry.artifact, "reason": reason}
        self._controller.ledger.tell_of(now, instance.run, instance, "cache_broken", told)
        self._missed(instance, reason, now)

    def _hit(self, instance: Instance, entry: Entry, trust: Verdict, now: float) -> None:
        controller = self._controller
        instance.epoch += 1
        instance.clearance = recorded("granted", now, trust, None)
        told = {"task": instance.label, "from_run": entry.run, "from_task": entry.task, "digest": entry.artifact,
                "key": entry.digest}  # fmt: skip
        controller.ledger.tell_of(now, instance.run, instance, "cached", told)
        controller.ledger.add("cache_entry_use", now, entry.digest)
        self._look_up(instance, "hit", "", entry.run, entry.task, now)
        controller.reports.complete(instance, entry.decoded, now, now, cached=True)

    def _look_up(self, instance: Instance, outcome: str, reason: str, run: str, task: str, now: float) -> None:
        key, fields = self._key(instance)
        add = self._controller.ledger.add
        add("cache_code_add", fields.code, rows.json_text(instance.run.graph.code.get(fields.code, {})))
        lookup = Lookup(
            instance.run.number, instance.number, key, rows.json_text(fields), outcome, reason, run, task, now
        )
        add("cache_lookup_put", *msgspec.structs.astuple(lookup))


def fields_of(instance: Instance, given: Mapping[str, Argument], files: str) -> Fields:
    """Returns what the key of an instance is made of.

    Args:
        instance: of a task with a cache.
        given: its arguments.
        files: digest of the files of its bundle that are not Python, where its code reads them; else empty.
    """
    spec, run = instance.spec, instance.run
    assert spec.cache is not None
    parameters: dict[str, str] = {}
    inputs: dict[str, str] = {}
    for name, argument in given.items():
        (inputs if _has_artifact(argument) else parameters)[name] = _digest(argument)
    return Fields(
        function=spec.function,
        code=spec.cache.code,
        files=files,
        version=spec.cache.version,
        parameters=parameters,
        inputs=inputs,
        environment=run.environment,
        serializer=f"{SERIALISATION} {spec.returns}",
        context=_context(instance, spec),
    )


def unfit(entry: Entry | None, max_age: float, now: float, evidence: int = SIGNED) -> str:
    """Returns why an entry is not taken; nothing for one that is, and for none.

    Args:
        entry: which was found.
        max_age: how old it may be, in seconds; negative for any age.
        now: seconds since 1970.
        evidence: the least level that is taken.
    """
    if entry is None:
        return ""
    if 0 <= max_age < now - entry.created_at:
        return f"the result of {entry.run} {entry.task} is older than {max_age:g} s"
    if entry.evidence < evidence:
        return f"the result of {entry.run} {entry.task} was made under weaker evidence ({entry.evidence})"
    return ""


class _Verifier:
    """Compares bytes with digests in a thread."""

    def __init__(self) -> None:
        self.wake = -1
        self._asked: queue.SimpleQueue[tuple[int, Artifact, Blobs] | None] = queue.SimpleQueue()
        self._told: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def ask(self, number: int, artifact: Artifact, blobs: Blobs) -> None:
        """Compares an artifact; `outcomes` tells of it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="cache", daemon=True)
            self._thread.start()
        self._asked.put((number, artifact, blobs))

    def outcomes(self) -> list[tuple[int, str]]:
        """Returns the number of each artifact that was compared since the last call, and what is wrong with it."""
        found = []
        while not self._told.empty():
            found.append(self._told.get())
        return found

    def close(self) -> None:
        """Ends the thread when it has done what it was asked."""
        if self._thread is not None:
            self.wake = -1
            self._asked.put(None)

    def _run(self) -> None:
        while (asked := self._asked.get()) is not None:
            number, artifact, blobs = asked
            self._told.put((number, _trouble(artifact, blobs)))
            if self.wake >= 0:
                with contextlib.suppress(OSError):
                    os.write(self.wake, b"c")


def _trouble(artifact: Artifact, blobs: Blobs) -> str:
    """Returns what is wrong with the bytes of an artifact; nothing where all have their digests."""
    if artifact.inline is not None:
        return "" if digest_of(artifact.inline) == artifact.digest else "its bytes have changed"
    try:
        from clearance.store.serializers import reachable

        for digest in reachable(artifact, blobs):
            with blobs.open(digest) as stream:
                while stream.read(1 << 20):
                    pass
    except (ClearanceError, OSError) as error:
        return "its bytes have changed" if isinstance(error, Corrupt) else str(error)
    return ""


def _has_artifact(argument: Argument) -> bool:
    waiting = [argument]
    while waiting:
        top = waiting.pop()
        if isinstance(top, Stored | Projected):
            return True
        if isinstance(top, Listed):
            waiting += top.items
    return False


def _digest(argument: Argument) -> str:
    """Returns a digest of an argument: of a value its JSON, of an artifact its digest and how it is read."""
    return digest_of(_json.encode(_plain(argument)))


def _plain(argument: Argument) -> Any:
    if isinstance(argument, Literal):
        return ["literal", argument.value]
    if isinstance(argument, Stored):
        return ["stored", argument.artifact.serializer, argument.artifact.type, argument.artifact.digest]
    if isinstance(argument, Projected):
        return ["part", argument.artifact.digest, argument.path]
    return ["list", [_plain(item) for item in argument.items]]


def _context(instance: Instance, spec: Node) -> str:
    """Returns a digest of what the code asks of the context; nothing where it asks for nothing."""
    assert spec.cache is not None
    run, cause = instance.run, instance.run.cause
    asked: dict[str, Any] = {"gang": spec.gang} if spec.gang > 1 else {}
    for one in spec.cache.asks:
        if one == "interval":
            asked[one] = [cause.start, cause.end] if cause else None
        elif one == "events":
            asked[one] = [cause.key, [[each.asset, each.key, each.number] for each in cause.events]] if cause else None
        elif one == "run":
            asked[one] = run.id
        else:
            asked[one] = [run.key, instance.number, instance.epoch]
    return digest_of(_json.encode(asked)) if asked else ""


def folder_of(home: Path, bundle: str) -> Path:
    """Returns the folder of an unpacked bundle."""
    return home / "bundles" / hex_of(bundle)  # type: ignore[arg-type]
