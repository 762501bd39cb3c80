"""A house for endpoints: one installation with a signed model, and replicas as real processes."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from clearance.store import tree
from clearance.store.blobs import LocalBlobs, open_blobs
from clearance.store.serializers import dump
from clearance.trust.attest import Attestor
from clearance.trust.provision import Provision, provision, service_config
from clearance.types.references import Model

PREDICTORS = """
import time
from dataclasses import dataclass

import numpy
from clearance.errors import UsageError

@dataclass
class Row:
    age: int
    name: str = ""

def total(model):
    weight = float((model.path / "weight.txt").read_text())
    def answer(rows: list[Row]) -> dict:
        if rows and rows[0].name == "boom":
            raise RuntimeError("secret internals")
        if rows and rows[0].name == "bad":
            raise UsageError("no such name")
        if rows and rows[0].name.startswith("sleep"):
            time.sleep(float(rows[0].name[5:]))
        return {"total": weight * sum(row.age for row in rows), "array": numpy.float32([1, 2])}
    return answer

def unwritable(model):
    return lambda value: object()

def coroutine(model):
    async def answer(value):
        return value
    return answer

def none(model):
    return None
"""


@dataclass
class House:
    """One installation with a signed model and what a replica needs."""

    root: Path
    provision: Provision
    config: dict[str, Any]
    blobs: LocalBlobs
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, **changed: Any) -> Replica:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(self.config | changed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"src:{self.root / 'code'}"},
        )
        self.running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("READY "):
            return Replica(process, {}, self)
        return Replica(process, json.loads(line.removeprefix("READY ")), self)


PROGRAM = """
import json, sys
from clearance.serve.replica import main
main(json.loads(sys.argv[1]), ready=lambda info: print("READY", json.dumps(info), flush=True))
print("RETURNED")
"""


@dataclass
class Replica:
    process: subprocess.Popen[str]
    info: dict[str, Any]
    house: House

    @property
    def token(self) -> str:
        return self.house.provision.token_file.read_text().strip()

    def client(self, **settings: Any) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.house.provision.authority))
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=self.info["url"], verify=context, headers=headers, timeout=10, **settings)

    def stop(self) -> tuple[int, str, str]:
        self.process.send_signal(signal.SIGTERM)
        out, error = self.process.communicate(timeout=20)
        return self.process.returncode, out, error


def build(root: Path, files: dict[str, str]) -> House:
    home = root / "home"
    (root / "code").mkdir()
    (root / "code" / "pipeline_code.py").write_text(PREDICTORS)
    work = root / "work"
    (work / "model").mkdir(parents=True)
    for name, text in files.items():
        (work / "model" / name).write_text(text)
    blobs = LocalBlobs(home / "blobs")
    artifact = dump(Model(work / "model", metadata={"metrics": {"auc": 1}}), Model, blobs, work)
    assert artifact is not None
    attestor = Attestor(home)
    assert artifact.inline is not None
    signature = root / "model.sig"
    signature.write_bytes(attestor.sign_model("demo", tree.decode(artifact.inline)))
    made = provision("demo", home)
    service = {"name": "demo", "predictor": "pipeline_code:total", "model": artifact.digest}
    config = service_config(
        service,
        artifact,
        made,
        blobs=str(home / "blobs"),
        signature=signature,
        public_key=attestor.public_key_file,
    )
    store = open_blobs(str(home / "blobs"))
    assert isinstance(store, LocalBlobs)
    return House(root, made, config, store)
