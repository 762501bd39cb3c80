"""OpenLineage run events (spec 2-0-2), as plain data. Pure: what is known goes in, JSON-compatible data comes out.

Source: https://openlineage.io/spec/2-0-2/OpenLineage.json and the facets' own schemas, whose versions stand in
`_FACETS`; dataset names follow the naming rules of the specification (`s3://bucket` and key, `file` and path, …). Run
ids are UUIDs of version 7 (RFC 9562) whose time is that of the run and whose other bits are a digest: the same run and
launch have the same id always.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import clearance
from clearance.types.artifact import Artifact

SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
PRODUCER = f"https://clearance.dev/{clearance.__version__}"
_FACETS = {
    "errorMessage": ("ErrorMessageRunFacet", "1-0-1"),
    "parent": ("ParentRunFacet", "1-2-0"),
    "nominalTime": ("NominalTimeRunFacet", "1-0-1"),
    "processing_engine": ("ProcessingEngineRunFacet", "1-1-1"),
    "executionParameters": ("ExecutionParametersRunFacet", "1-0-0"),
    "jobType": ("JobTypeJobFacet", "2-0-4"),
    "sourceCodeLocation": ("SourceCodeLocationJobFacet", "1-1-0"),
    "documentation": ("DocumentationJobFacet", "1-1-0"),
    "ownership": ("OwnershipJobFacet", "1-0-1"),
    "version": ("DatasetVersionDatasetFacet", "1-0-1"),
    "dataSource": ("DatasourceDatasetFacet", "1-0-1"),
    "storage": ("StorageDatasetFacet", "1-0-1"),
    "datasetType": ("DatasetTypeDatasetFacet", "1-0-1"),
    "outputStatistics": ("OutputStatisticsOutputDatasetFacet", "1-0-2"),
}
FILES = {"file": "FILE", "tree": "TREE", "dataset": "DATASET", "model": "MODEL"}
Data = dict[str, Any]


def run_event(
    kind: str, at: float, run: Data, job: Data, inputs: list[Data] | None = None, outputs: list[Data] | None = None
) -> Data:
    """Returns one event.

    Args:
        kind: `START`, `RUNNING`, `COMPLETE`, `FAIL` or `ABORT`.
        at: seconds since 1970.
        run: of `run_of`.
        job: of `job_of`.
        inputs: datasets.
        outputs: datasets.
    """
    return {
        "eventType": kind, "eventTime": time_of(at), "producer": PRODUCER, "schemaURL": SPEC, "run": run, "job": job,
        "inputs": inputs or [], "outputs": outputs or [],
    }  # fmt: skip


def run_id(created_at: float, name: str) -> str:
    """Returns the UUID (version 7) of what is named, in a run that was created at this time."""
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:10])
    value = (int(created_at * 1000) & (1 << 48) - 1) << 80 | digest
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return str(UUID(int=value))


def run_of(id: str, **facets: Data | None) -> Data:
    """Returns a run with the facets that are not None; each is without its `_producer` and `_schemaURL`."""
    engine = {"name": "clearance", "version": clearance.__version__, "openlineageAdapterVersion": clearance.__version__}
    return {"runId": id, "facets": _facets(processing_engine=engine, **facets)}


def job_of(namespace: str, name: str, kind: str, **facets: Data | None) -> Data:
    """Returns a job of `kind` `DAG` or `TASK` with the facets that are not None."""
    job_type = {"processingType": "BATCH", "integration": "CLEARANCE", "jobType": kind}
    return {"namespace": namespace, "name": name, "facets": _facets(jobType=job_type, **facets)}


def parent(id: str, namespace: str, name: str) -> Data:
    """Returns the facet `parent`: of a task its run, of a run the task that asked for it; that is the root too."""
    whole = {"run": {"runId": id}, "job": {"namespace": namespace, "name": name}}
    return whole | {"root": whole}


def error(message: str, traceback: str) -> Data:
    """Returns the facet `errorMessage`."""
    said = {"message": message, "programmingLanguage": "python"}
    return said | {"stackTrace": traceback} if traceback else said


def nominal_time(start: float, end: float) -> Data:
    """Returns the facet `nominalTime` of a data interval."""
    return {"nominalStartTime": time_of(start), "nominalEndTime": time_of(end)}


def source(bundle: str, path: str, version: str) -> Data:
    """Returns the facet `sourceCodeLocation`: the source bundle by its digest (RFC 6920), the file in it."""
    algorithm, _, digits = bundle.partition(":")
    coded = base64.urlsafe_b64encode(bytes.fromhex(digits)).decode().rstrip("=")
    name = {"sha256": "sha-256"}.get(algorithm, algorithm)
    said = {"type": "clearance-bundle", "url": f"ni:///{name};{coded}", "version": version}
    return said | {"path": path} if path else said


def artifact(namespace: str, name: str, stored: Artifact, blobs: str, output: bool) -> Data | None:
    """Returns the dataset that an artifact of files is; None for any other value.

    Args:
        namespace: of the sink.
        name: `DAG.TASK`; each of its versions is one digest.
        stored: what is known of it.
        blobs: where the bytes lie: a directory or a URL.
        output: with the facets of an output.
    """
    if stored.serializer not in FILES:
        return None
    where = blobs if "://" in blobs else f"file://{blobs}"
    kind = FILES[stored.serializer]
    facets = _facets(
        version={"datasetVersion": stored.digest},
        dataSource={"name": "clearance blobs", "uri": where},
        storage={"storageLayer": urlsplit(where).scheme, "fileFormat": stored.serializer},
        datasetType={"datasetType": "MODEL" if kind == "MODEL" else "FILE", "subType": kind},
    )
    made: Data = {"namespace": namespace, "name": name, "facets": facets}
    if output:
        statistics: Data = {"size": stored.size}
        rows = stored.metadata.get("rows")
        if isinstance(rows, int) and not isinstance(rows, bool):
            statistics["rowCount"] = rows
        made["outputFacets"] = _facets(outputStatistics=statistics)
    return made


def asset(uri: str, key: str | None = None) -> Data:
    """Returns the dataset that an asset is, by its URI; `key` names the partition that is meant."""
    parts = urlsplit(uri)
    path = unquote(parts.path)
    namespace = f"{parts.scheme}://{parts.netloc}" if parts.netloc else parts.scheme
    name = path if not parts.netloc else path.strip("/")
    query = f"?{parts.query}" if parts.query else ""
    facets = _facets(
        dataSource={"name": namespace, "uri": uri}, version={"datasetVersion": key} if key is not None else None
    )
    return {"namespace": namespace, "name": (name or "/") + query, "facets": facets}


def time_of(at: float) -> str:
    """Returns ISO 8601 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _facets(**facets: Data | None) -> Data:
    made = {}
    for name, data in facets.items():
        if data is not None:
            kind, version = _FACETS[name]
            url = f"https://openlineage.io/spec/facets/{version}/{kind}.json#/$defs/{kind}"
            made[name] = {"_producer": PRODUCER, "_schemaURL": url, **data}
    return made
