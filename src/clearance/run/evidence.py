"""What the controller signs and what it asks before it uses an input: the border between `run` and `trust`.

The control plane signs, in this process, never the task's; the key and `cryptography` are loaded at the first result.
"""

from __future__ import annotations

import datetime
import itertools
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from clearance.errors import Refused, UsageError
from clearance.graph.binding import steps
from clearance.run.arguments import Arguments
from clearance.run.clearance import Verdict
from clearance.run.instance import Instance
from clearance.run.stored import Stored as Rows
from clearance.settings import Settings
from clearance.trust.environment import EnvironmentLock, environment_lock
from clearance.types.artifact import Argument, Artifact, Listed, Projected, Stored
from clearance.types.digest import Digest, digest_of
from clearance.types.references import Endpoint

if TYPE_CHECKING:
    from clearance.run.policies import Policies
    from clearance.store.blobs import Blobs
    from clearance.trust.attest import Attestor
    from clearance.trust.policy import TrustDesk

JUDGED = 250  # inputs in a turn: some 30 ms
NAMED = 1000  # inputs that are named one by one in a provenance
NO_INPUTS = Verdict("granted", "it has no inputs from tasks", rule="inputs-signed")
PROVENANCE, MODEL_SIGNATURE = "provenance", "model-signature"


class Evidence:
    """Signs results and judges inputs.

    Args:
        settings: where the key and the blobs are.
        envelopes: returns the provenance envelopes stored for a digest.
        stored: what is committed of runs.
        clock: seconds since 1970.

    Attributes:
        arguments: where arguments come from.
        policies: asked besides the desk's own rules; None where no policy is set.
    """

    def __init__(
        self, settings: Settings, envelopes: Any, stored: Rows, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._clock = clock
        self.policies: Policies | None = None
        self.arguments = Arguments(self.read, stored, settings.map_limit)
        self._envelopes = envelopes
        self._blobs: Blobs | None = None
        self._attestor: Attestor | None = None
        self._desk: TrustDesk | None = None
        self._environment: EnvironmentLock | None = None
        self._fresh: dict[Digest, bytes] = {}

    def read(self, artifact: Artifact) -> bytes:
        """Returns the serialised bytes of an artifact, verified.

        Raises:
            Corrupt: they do not have its digest.
        """
        if artifact.inline is not None:
            return artifact.inline
        return self.blobs.get_bytes(artifact.digest)

    @property
    def blobs(self) -> Blobs:
        """The blobs of this installation."""
        if self._blobs is None:
            from clearance.store.blobs import open_blobs

            self._blobs = open_blobs(self._settings.blobs)
        return self._blobs

    @property
    def attestor(self) -> Attestor:
        """The signer of this installation."""
        if self._attestor is None:
            from clearance.trust.attest import Attestor

            self._attestor = Attestor(self._settings.home, self._settings.key_passphrase)
        return self._attestor

    def environment(self) -> EnvironmentLock:
        """Returns the lock of the installed distributions, read once."""
        if self._environment is None:
            self._environment = environment_lock()
        return self._environment

    def attest(
        self, instance: Instance, artifact: Artifact, started: float, finished: float
    ) -> list[tuple[Digest, str, bytes]]:
        """Signs what an instance returned.

        Returns:
            Subject, kind and envelope of each attestation: provenance, and for a model its signature.
        """
        from clearance.trust.provenance import Facts

        run, spec = instance.run, instance.spec
        facts = Facts(
            run=run.id, dag=run.graph.dag, task=spec.id, instance=instance.position, attempt=instance.attempt,
            number=instance.attempts, function=spec.function,
            bundle=Digest(run.bundle), dag_version=Digest(run.version),
            environment=Digest(run.environment), parameters=run.graph.parameters,
            inputs=_digests(named_inputs(self.arguments.of(instance))),
            isolation=spec.isolation, started=_rfc3339(started), finished=_rfc3339(finished),
        )  # fmt: skip
        envelope = self.attestor.attest(artifact, facts)
        self._remember(artifact.digest, envelope)
        signed = [(artifact.digest, PROVENANCE, envelope)]
        if artifact.serializer == "model":
            from clearance.store import tree

            bundle = self.attestor.sign_model(f"{run.graph.dag}/{instance.label}", tree.decode(self.read(artifact)))
            signed.append((artifact.digest, MODEL_SIGNATURE, bundle))
        return signed

    def judge(self, instance: Instance, given: dict[str, Argument]) -> Iterator[Verdict | None]:
        """Applies the trust desk's rules to the inputs of an instance, some at a time: None while there are more."""
        named = named_inputs(given)
        if not named:
            yield NO_INPUTS
            return
        from clearance.trust.policy import Input, TrustDesk

        if self._desk is None:
            self._desk = TrustDesk(self.attestor)
        waiting = iter(named.items())
        judged, warnings = 0, dict[str, None]()
        while some := list(itertools.islice(waiting, JUDGED)):
            if judged:
                yield None
            judged += len(some)
            inputs = [
                Input(name, artifact.digest, instance.spec.id, self._envelope(artifact.digest))
                for name, artifact in some
            ]
            verdict = self._desk.judge_inputs(inputs)
            if not verdict.allowed:
                yield Verdict("denied", verdict.reason, rule=verdict.rule)
                return
            denied, warned = self._ask_policy(instance, "use", some)
            if denied is not None:
                yield denied
                return
            warnings.update(dict.fromkeys(warned))
        told = f"{judged} signed by this installation"
        if self.policies is not None:
            told += f"; policy {self.policies.name} allows it"
            told += f", and warns: {', '.join(warnings)}" if warnings else ""
        yield Verdict("granted", told, rule="inputs-signed")

    def _ask_policy(
        self, instance: Instance, action: str, some: list[tuple[str, Artifact]]
    ) -> tuple[Verdict | None, tuple[str, ...]]:
        if self.policies is None:
            return None, ()
        asked = [(name, artifact, self._envelope(artifact.digest)) for name, artifact in some]
        return self.policies.judge(instance.run.principal, action, asked, self._clock())

    def service_config(self, instance: Instance, endpoint: Endpoint) -> dict[str, Any]:
        """Returns the config of the service an endpoint asks for, with what its replica needs to prove and to be.

        Raises:
            UsageError: a name that is not accepted, or a model that is no input of the task.
            Refused: the model has no signature of this installation over exactly its files, or the policy denies it.
        """
        from clearance.store import tree
        from clearance.trust.keys import write_whole
        from clearance.trust.oms import key_of
        from clearance.trust.policy import TrustDesk
        from clearance.trust.provision import provision, service_config

        assert endpoint.service is not None
        found = [each for each in named_inputs(self.arguments.of(instance)).values() if each.digest == endpoint.model]
        if not found:
            raise UsageError(f"endpoint {endpoint.name!r} serves a model that is no input of {instance.spec.id!r}")
        model = found[0]
        signature = self._envelopes(model.digest, MODEL_SIGNATURE)
        verdict = TrustDesk(self.attestor).judge_model(endpoint.name, tree.decode(self.read(model)), signature)
        if not verdict.allowed or signature is None:
            raise Refused(f"{verdict.rule}: {verdict.reason}")
        denied, _ = self._ask_policy(instance, "serve", [(endpoint.name, model)])
        if denied is not None:
            raise Refused(f"{denied.rule}: {denied.reason}")
        provided = provision(endpoint.name, self._settings.home)
        file, key = (provided.token_file.with_name(name) for name in ("model.sig", "signer.pub"))
        write_whole(file, signature, 0o600)
        write_whole(key, key_of(signature, self.attestor.verifiers()).pem, 0o644)
        return service_config(
            endpoint.service.config, model, provided,
            blobs=self._settings.blobs, signature=file, public_key=key,
        )  # fmt: skip

    def forget_verified(self) -> None:
        """Verifies again what was verified before: a key is not trusted any more."""
        self._desk = None

    def token_file(self, name: str) -> str:
        """Returns the file that holds the bearer token of an endpoint."""
        return str(self._settings.home / "endpoints" / name / "token")

    def _envelope(self, digest: Digest) -> bytes | None:
        found = self._fresh.get(digest)
        if found is None:
            stored = self._envelopes(digest, PROVENANCE)
            if stored is None:
                return None
            found = self._remember(digest, stored)
        return found

    def _remember(self, digest: Digest, envelope: bytes) -> bytes:
        if len(self._fresh) >= 10_000:
            del self._fresh[next(iter(self._fresh))]
        self._fresh[digest] = envelope
        return envelope


def named_inputs(given: dict[str, Argument]) -> dict[str, Artifact]:
    """Returns every artifact among the arguments: `name`, `name[3]` in a list, `name.score` for a part of it."""
    found: dict[str, Artifact] = {}
    waiting = list(given.items())
    while waiting:
        name, argument = waiting.pop()
        if isinstance(argument, Stored):
            found[name] = argument.artifact
        elif isinstance(argument, Projected):
            found[name + steps(argument.path)] = argument.artifact
        elif isinstance(argument, Listed):
            waiting.extend((f"{name}[{position}]", item) for position, item in enumerate(argument.items))
    return found


def _digests(named: dict[str, Artifact]) -> dict[str, Digest]:
    """Returns the digest of each input; of more than `NAMED` from one list, one digest over theirs, a line each."""
    if len(named) <= NAMED:
        return {name: found.digest for name, found in named.items()}
    lists: dict[str, list[tuple[str, Digest]]] = {}
    for name, found in named.items():
        lists.setdefault(name.partition("[")[0], []).append((name, found.digest))
    made: dict[str, Digest] = {}
    for name, members in lists.items():
        if len(members) <= NAMED:
            made.update(members)
        else:
            made[f"{name}[*]"] = digest_of("".join(f"{digest}\n" for _, digest in sorted(members)).encode())
    return made


def _rfc3339(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
