from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from clearance.errors import Refused
from clearance.trust.keys import installation_key, load_public_key, parse_public_key, private_key, public_key_file


def test_the_key_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    key = installation_key(tmp_path)
    assert installation_key(tmp_path).public.pem == key.public.pem
    assert os.stat(tmp_path / "trust").st_mode & 0o777 == 0o700
    assert os.stat(tmp_path / "trust" / "installation.key").st_mode & 0o777 == 0o600
    assert load_public_key(public_key_file(tmp_path)).id == key.public.id
    assert key.public.id == hashlib.sha256(key.public.der).hexdigest()
    assert key.public.verifies(key.sign(b"x"), b"x")
    assert not key.public.verifies(key.sign(b"x"), b"y")
    assert not key.public.verifies(b"no signature", b"x")


def test_openssl_reads_the_key_and_agrees_on_a_signature(tmp_path: Path) -> None:
    key = installation_key(tmp_path)
    (tmp_path / "signature").write_bytes(key.sign(b"data"))
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-verify", public_key_file(tmp_path), "-signature", tmp_path / "signature"],
        input=b"data",
        capture_output=True,
        check=False,
    )
    assert done.stdout == b"Verified OK\n"
    text = subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "trust" / "installation.key", "-noout", "-text"],
        capture_output=True,
        check=True,
    ).stdout
    assert b"P-256" in text


def test_many_processes_at_once_end_with_one_key(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from clearance.trust.keys import installation_key; import sys\n"
        "print(installation_key(Path(sys.argv[1])).public.id)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": "src"}
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(6)]
    assert len({process.communicate()[0] for process in running}) == 1
    assert sorted(path.name for path in (tmp_path / "trust").iterdir()) == ["installation.key", "installation.pub"]


def test_keys_that_others_may_read_are_refused_with_the_mend(tmp_path: Path) -> None:
    installation_key(tmp_path)
    path = tmp_path / "trust" / "installation.key"
    path.chmod(0o640)
    with pytest.raises(Refused, match="chmod 600"):
        installation_key(tmp_path)
    path.chmod(0o600)
    (tmp_path / "trust").chmod(0o755)
    with pytest.raises(Refused, match="chmod 700"):
        installation_key(tmp_path)
    (tmp_path / "trust").chmod(0o700)
    other = tmp_path / "elsewhere"
    path.rename(other)
    path.symlink_to(other)
    with pytest.raises(Refused, match="symbolic link"):
        installation_key(tmp_path)


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    for data in (
        b"",
        b"nonsense",
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    ):
        path = tmp_path / "key"
        path.write_bytes(data)
        path.chmod(0o600)
        with pytest.raises(Refused, match="restore it"):
            private_key(path)
    with pytest.raises(Refused, match="no public key"):
        parse_public_key(b"nonsense")
    koblitz = ec.generate_private_key(ec.SECP256K1()).public_key()
    pem = koblitz.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(Refused, match="P-256, P-384 or P-521"):
        parse_public_key(pem)
    with pytest.raises(Refused, match="cannot read"):
        load_public_key(tmp_path / "missing")
