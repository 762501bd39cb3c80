"""Signing models: a stored one from its digests, and a loose directory beside the reference signer `model_signing`.

Prints `key: value` lines. The peer is `model_signing` of the environment that `CLEARANCE_MODEL_SIGNING` names (a
folder made with `pip install model-signing==1.1.1 pyopenssl`); ours and the peer take turns on the same files, which
are in the page cache. `GIGABYTES` says how large the directory is (default 4).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import statistics
import time

from bench.common import Cost, fresh_home, measured, show

from clearance.trust import oms
from clearance.trust.keys import SigningKey, new_key
from clearance.types.digest import Digest, digest_of

ROUNDS = 3


def stored(count: int, key: SigningKey) -> float:
    """Returns CPU milliseconds of signing a stored model of that many files."""
    files: dict[str, Digest] = {f"layers/{number:05}.safetensors": digest_of(b"%d" % number) for number in range(count)}
    oms.sign("model", files, key)
    times = []
    for _ in range(50):
        start = time.process_time()
        oms.sign("model", files, key)
        times.append(time.process_time() - start)
    return statistics.median(times) * 1e3


def loose(folder: Path, gigabytes: float, peer: Path) -> None:
    model = folder / "model"
    model.mkdir()
    block = os.urandom(1 << 20)
    for number in range(8):
        with (model / f"shard-{number}.bin").open("wb") as file:
            for at in range(round(gigabytes * 1024 / 8)):
                file.write(at.to_bytes(8) + block[8:])
    key = folder / "key.pem"
    key.write_bytes(SigningKey(new_key()).private_pem())
    key.chmod(0o600)
    environment = dict(os.environ) | {"CLEARANCE_HOME": str(folder / "home")}
    signature = folder / "model.sig"
    own = [sys.executable, "-m", "clearance.cli", "trust", "sign", str(model), "--key", str(key), "-o", str(signature)]
    theirs = [str(peer), "sign", "key", str(model), "--private_key", str(key), "--signature", str(signature)]
    found: dict[str, list[Cost]] = {"own": [], "peer": []}
    subprocess.run(["cat", *map(str, model.iterdir())], stdout=subprocess.DEVNULL, check=True)
    for _ in range(ROUNDS):
        for name, line in (("own", own), ("peer", theirs)):
            signature.unlink(missing_ok=True)
            cost = measured(line, environment, watch=True)
            assert cost.code == 0, line
            found[name].append(cost)
    wall, cpu = (
        [statistics.median(getattr(each, kind) for each in found[name]) for name in ("own", "peer")]
        for kind in ("wall", "cpu")
    )
    show("trust.sign.loose_wall_s", wall[0])
    show("trust.sign.loose_wall_ratio", wall[1] / wall[0], ">= 0.95", wall[1] / wall[0] >= 0.95)
    show("trust.sign.loose_cpu_ratio", cpu[1] / cpu[0], ">= 0.95", cpu[1] / cpu[0] >= 0.95)
    peak = max(each.pss for each in found["own"]) / 2**20
    show("trust.sign.loose_peak_mib", peak, "<= 100", peak <= 100)
    show("trust.sign.loose_peer_peak_mib", max(each.pss for each in found["peer"]) / 2**20)


def main() -> None:
    key = SigningKey(new_key())
    for count, bar in ((5, 1.0), (1000, 5.0)):
        cost = stored(count, key)
        show(f"trust.sign.stored_{count}_files_ms", cost, f"<= {bar:g}", cost <= bar)
    peer = Path(os.environ.get("CLEARANCE_MODEL_SIGNING", "bench/.peers/model-signing")) / "bin" / "model_signing"
    if not peer.exists():
        print(f"not measured: no model_signing at {peer}: set CLEARANCE_MODEL_SIGNING")
        return
    with fresh_home() as home:
        home.mkdir()
        loose(home, float(os.environ.get("GIGABYTES", "4")), peer)


if __name__ == "__main__":
    main()
