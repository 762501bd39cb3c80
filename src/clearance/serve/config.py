"""The one argument of a replica: `{"config": …}`, as JSON.

`deploy` fills in what the task knows (`name`, `predictor`, `model`, `body_limit`, `concurrency`);
`trust.provision.service_config` adds what the controller knows. The bearer token itself is never in it, only its
SHA-256.
"""

from __future__ import annotations

from typing import Any

import msgspec

from clearance.errors import UsageError
from clearance.types.artifact import Artifact
from clearance.types.digest import Digest

ENTRY = "clearance.serve.replica:main"


class ReplicaConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `clearance.serve.replica:main` needs.

    Attributes:
        name: of the endpoint.
        predictor: `module:function`, imported from the source bundle.
        model: digest of the model's manifest.
        artifact: the model as the store knows it; its digest is `model`.
        blobs: where the model's files lie (`store.open_blobs`).
        signature: path of the OpenSSF Model Signing bundle.
        public_key: path of the installation's public key (PEM), by which the signature is judged.
        certificate: path of the server's certificate chain (PEM).
        key: path of its private key (PEM, 0600).
        authority: path of the authority's certificate (PEM); for whoever calls.
        token_sha256: SHA-256 of the bearer token, in hexadecimal.
        host: loopback address to bind.
        port: 0 means any free one; a controller asks for the same one again after a restart.
        takeover: whether the listening socket of the replica that runs at this port is taken, where there is one.
        body_limit: bytes that a request may have.
        body_timeout: seconds until the whole body of a request must have arrived.
        concurrency: answers that are computed at once.
        queue: requests that may wait for their turn; more are answered with 503.
        drain: seconds after SIGTERM in which requests that are in flight are still answered.
        directory: where the model's files are made, in a new folder; empty means the working directory. On the
            filesystem of the blobs they are hard links and cost nothing.
    """

    name: str
    predictor: str
    model: Digest
    artifact: Artifact
    blobs: str
    signature: str
    public_key: str
    certificate: str
    key: str
    authority: str
    token_sha256: str
    host: str = "127.0.0.1"
    port: int = 0
    takeover: bool = False
    body_limit: int = 1 << 20
    body_timeout: float = 30.0
    concurrency: int = 1
    queue: int = 64
    drain: float = 10.0
    directory: str = ""


def parse_config(config: dict[str, Any]) -> ReplicaConfig:
    """Checks a replica's argument.

    Raises:
        UsageError: a field is missing, unknown or of the wrong type; or the address is not loopback.
    """
    import ipaddress

    try:
        parsed = msgspec.convert(config, ReplicaConfig)
        loopback = ipaddress.ip_address(parsed.host).is_loopback
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"the configuration of a replica is wrong: {error}") from None
    if not loopback:
        raise UsageError(
            f"endpoint {parsed.name!r} would listen on {parsed.host}: only loopback is served, use 127.0.0.1"
        )
    return parsed
