"""What one provenance statement costs: encode and sign, and verify, in CPU microseconds after warm-up.

Prints `key: value` lines. `floor` is the bare P-256 signature of cryptography.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import show

from clearance.trust.attest import Attestor
from clearance.trust.environment import environment_lock
from clearance.trust.keys import installation_key
from clearance.trust.provenance import Facts
from clearance.types.digest import digest_of

COUNT = 2000


def microseconds(function: Callable[[], object]) -> float:
    """Returns CPU microseconds of one call, over many."""
    for _ in range(100):
        function()
    start = time.process_time()
    for _ in range(COUNT):
        function()
    return (time.process_time() - start) / COUNT * 1e6


def main() -> None:
    digest = digest_of(b"artifact")
    facts = Facts(
        run="run", dag="dag", task="task", attempt="run.task.1", function="pipeline:task", bundle=digest,
        dag_version=digest, environment=digest, parameters={"rate": 0.1, "epochs": 3},
        inputs={"data": digest, "model": digest}, started="2026-01-01T00:00:00Z", finished="2026-01-01T00:00:01Z",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        attestor = Attestor(Path(folder))
        envelope = attestor.attest(digest, facts)
        key = installation_key(Path(folder))
        signing = microseconds(lambda: attestor.attest(digest, facts))
        show("trust.provenance.encode_and_sign_us", signing, "<= 150", signing <= 150)
        show("trust.provenance.floor_us", microseconds(lambda: key.sign(b"x" * 1500)))
        show("trust.provenance.verify_us", microseconds(lambda: attestor.verify(envelope, digest)))
    start = time.perf_counter()
    environment_lock()
    show("trust.environment_lock_ms", (time.perf_counter() - start) * 1e3)


if __name__ == "__main__":
    main()
