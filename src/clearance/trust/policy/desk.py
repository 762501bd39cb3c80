"""The trust desk: says yes, or names the rule that stands against it.

| rule | asks |
|---|---|
| `inputs-signed` | every input that a task made has provenance about exactly its bytes, signed by this installation |
| `model-signed` | a model that is to be served has a signature of this installation over exactly its files |

The desk decides and does no I/O: what verifies is given to it, so that its answers can be tested as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from clearance.errors import Refused
from clearance.types.digest import Digest

if TYPE_CHECKING:
    from clearance.store.tree import Manifest

INPUTS_SIGNED = "inputs-signed"
MODEL_SIGNED = "model-signed"


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """The desk's answer.

    Attributes:
        allowed: yes or no.
        rule: which rule stands against it; empty when allowed.
        reason: one line for people: what is wrong and the mend; empty when allowed.
    """

    allowed: bool
    rule: str = ""
    reason: str = ""


class Input(msgspec.Struct, frozen=True):
    """One input artifact of a task.

    Attributes:
        name: the parameter, or `name[3]` for a member of a list.
        digest: of the artifact.
        task: id of the task that made it; empty when no task did.
        envelope: its provenance; None when there is none.
    """

    name: str
    digest: Digest
    task: str = ""
    envelope: bytes | None = None


class Verifier(Protocol):
    """What the desk needs of `attest.Attestor`; both raise `Refused`."""

    def verify(self, envelope: bytes, digest: Digest) -> Any:
        """Checks a provenance envelope."""

    def verify_model(self, bundle: bytes, manifest: Manifest) -> Any:
        """Checks a model's signature."""


GRANTED = Verdict(True)


class TrustDesk:
    """Judges by what it is given; remembers which envelopes it has verified.

    Args:
        verifier: verifies signatures.
        memory: how many verified (artifact, envelope) pairs to remember, so that a wide fan-out verifies once.
    """

    def __init__(self, verifier: Verifier, memory: int = 10_000) -> None:
        self._verifier = verifier
        self._memory = memory
        self._verified: dict[tuple[Digest, bytes], None] = {}

    def judge_inputs(self, inputs: Iterable[Input]) -> Verdict:
        """Applies `inputs-signed` to the inputs of a task."""
        for item in inputs:
            if not item.task:
                continue
            where = f"input {item.name!r} of task {item.task!r} ({item.digest})"
            if item.envelope is None:
                return Verdict(False, INPUTS_SIGNED, f"{where} has no provenance: clear {item.task!r} to make it again")
            if (item.digest, item.envelope) in self._verified:
                continue
            reason = _refusal(self._verifier.verify, item.envelope, item.digest)
            if reason:
                return Verdict(False, INPUTS_SIGNED, f"{where}: {reason}; clear {item.task!r} to make it again")
            if len(self._verified) >= self._memory:
                del self._verified[next(iter(self._verified))]
            self._verified[item.digest, item.envelope] = None
        return GRANTED

    def judge_model(self, name: str, manifest: Manifest, bundle: bytes | None) -> Verdict:
        """Applies `model-signed` to a model that is to be served.

        Args:
            name: of the model or endpoint, for the reason.
            manifest: the model's files.
            bundle: its OpenSSF Model Signing bundle; None when there is none.
        """
        if bundle is None:
            return Verdict(False, MODEL_SIGNED, f"the model of {name!r} has no signature: clear the task that made it")
        reason = _refusal(self._verifier.verify_model, bundle, manifest)
        return Verdict(False, MODEL_SIGNED, f"the model of {name!r}: {reason}") if reason else GRANTED


def _refusal(verify: Callable[..., Any], *arguments: Any) -> str:
    try:
        verify(*arguments)
    except Refused as error:
        return str(error)
    return ""
