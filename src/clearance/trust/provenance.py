"""SLSA provenance v1: how an artifact was made, said in a form that others can check.

Source: https://slsa.dev/spec/v1.0/provenance. The build is one attempt of a task. Its type fixes what the
parameters mean: external parameters are what the user chose (the DAG, its parameters, the task), internal
ones what Clearance chose (attempt, isolation). Pure: the times are parameters.
"""

from __future__ import annotations

from typing import Any

import msgspec

from clearance.trust.statement import Subject
from clearance.types.digest import Digest, hex_of

PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://clearance.dev/build/task/v1"
BUILDER = "https://clearance.dev/builder"


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the controller knows of the attempt that made an artifact.

    Attributes:
        run: id of the run.
        dag: id of the DAG.
        task: id of the task.
        instance: index among the mapped instances; -1 when the task is not mapped.
        attempt: unique key of the attempt.
        number: which attempt of the instance it was, from 1.
        function: `module:qualified.name`.
        bundle: digest of the source bundle.
        dag_version: digest of the graph.
        environment: digest of the environment's lock.
        parameters: the DAG's parameters, JSON-compatible.
        inputs: digest of each input artifact by parameter name (`name[3]` for a member of a list).
        engine: which engine ran it.
        isolation: how it was kept apart: `process`, `worker`, `inline`.
        started: RFC 3339, UTC.
        finished: RFC 3339, UTC.
    """

    run: str
    dag: str
    task: str
    instance: int = -1
    attempt: str
    number: int = 1
    function: str = ""
    bundle: Digest
    dag_version: Digest
    environment: Digest
    parameters: dict[str, Any] = {}
    inputs: dict[str, Digest] = {}
    engine: str = "local"
    isolation: str = "process"
    started: str
    finished: str


class Resource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something the build depended on (in-toto ResourceDescriptor)."""

    name: str
    digest: dict[str, str]


class ExternalParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the user chose."""

    dag: str
    task: str
    function: str
    parameters: dict[str, Any]


class InternalParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What Clearance chose."""

    run: str
    instance: int
    number: int
    engine: str
    isolation: str


class BuildDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The inputs of the build."""

    buildType: str
    externalParameters: ExternalParameters
    internalParameters: InternalParameters
    resolvedDependencies: tuple[Resource, ...]


class Builder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is trusted to have run it and to have said so."""

    id: str


class BuildMetadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """This execution; times in RFC 3339."""

    invocationId: str
    startedOn: str
    finishedOn: str


class RunDetails(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The execution of the build."""

    builder: Builder
    metadata: BuildMetadata


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The predicate."""

    buildDefinition: BuildDefinition
    runDetails: RunDetails

    def dependency(self, name: str) -> Digest | None:
        """Returns the digest of a dependency by name: `bundle`, `dag`, `environment` or `input:NAME`."""
        for resource in self.buildDefinition.resolvedDependencies:
            if resource.name == name:
                return Digest("sha256:" + resource.digest.get("sha256", ""))
        return None


def subject_of(facts: Facts, digest: Digest) -> Subject:
    """Returns the artifact as the subject of a statement."""
    instance = f"[{facts.instance}]" if facts.instance >= 0 else ""
    return Subject(f"{facts.dag}/{facts.task}{instance}", {"sha256": hex_of(digest)})


def provenance(facts: Facts) -> Provenance:
    """Returns the predicate that says these facts."""
    dependencies = [
        _resource("bundle", facts.bundle),
        _resource("dag", facts.dag_version),
        _resource("environment", facts.environment),
        *(_resource(f"input:{name}", digest) for name, digest in sorted(facts.inputs.items())),
    ]
    return Provenance(
        BuildDefinition(
            BUILD_TYPE,
            ExternalParameters(facts.dag, facts.task, facts.function, facts.parameters),
            InternalParameters(facts.run, facts.instance, facts.number, facts.engine, facts.isolation),
            tuple(dependencies),
        ),
        RunDetails(
            Builder(f"{BUILDER}/{facts.engine}/{facts.isolation}"),
            BuildMetadata(facts.attempt, facts.started, facts.finished),
        ),
    )


def _resource(name: str, digest: Digest) -> Resource:
    return Resource(name, {"sha256": hex_of(digest)})
