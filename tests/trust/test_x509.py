from __future__ import annotations

import datetime
import os
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from clearance.trust.keys import private_key
from clearance.trust.x509 import ServerFiles, authority_file, server_files

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def files(tmp_path: Path) -> ServerFiles:
    (tmp_path / "server").mkdir()
    return server_files(tmp_path, tmp_path / "server", NOW)


def test_openssl_accepts_the_chain_strictly(files: ServerFiles) -> None:
    for purpose in ("-verify_hostname=localhost", "-verify_ip=127.0.0.1", "-verify_ip=::1"):
        option, _, name = purpose.partition("=")
        done = subprocess.run(
            ["openssl", "verify", "-x509_strict", "-purpose", "sslserver"]  # noqa: RUF005
            + ["-CAfile", files.authority, option, name, files.certificate],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert os.stat(files.key).st_mode & 0o777 == 0o600


def test_extensions_are_those_of_a_short_lived_server(files: ServerFiles) -> None:
    found = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
    extensions = found.extensions
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert len(names.get_values_for_type(x509.IPAddress)) == 2
    own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == own.digest
    assert found.not_valid_after_utc - found.not_valid_before_utc < datetime.timedelta(days=91)
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.path_length == 0


def test_a_certificate_is_kept_until_it_ends_soon(tmp_path: Path, files: ServerFiles) -> None:
    first = files.certificate.read_bytes()
    assert (
        server_files(tmp_path, tmp_path / "server", NOW + datetime.timedelta(days=50)).certificate.read_bytes() == first
    )
    later = NOW + datetime.timedelta(days=70)
    renewed = server_files(tmp_path, tmp_path / "server", later).certificate.read_bytes()
    assert renewed != first
    authority = files.authority.read_bytes()
    much_later = NOW + datetime.timedelta(days=5 * 365 - 30)
    server_files(tmp_path, tmp_path / "server", much_later)
    assert files.authority.read_bytes() != authority
    files.certificate.write_text("nonsense")
    server_files(tmp_path, tmp_path / "server", NOW)
    assert files.certificate.read_bytes().startswith(b"-----BEGIN")


def test_the_authority_cannot_speak_for_other_hosts(tmp_path: Path, files: ServerFiles) -> None:
    """Whoever stole its key signs a certificate for example.org: OpenSSL refuses it by the name constraint."""
    key = private_key(tmp_path / "trust" / "authority.key")
    authority = x509.load_pem_x509_certificate(authority_file(tmp_path).read_bytes())
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    stolen = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - datetime.timedelta(minutes=1))
        .not_valid_after(NOW + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("example.org")]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "stolen.pem").write_bytes(stolen.public_bytes(Encoding.PEM))
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", files.authority, tmp_path / "stolen.pem"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "permitted subtree violation" in done.stderr + done.stdout


def test_python_completes_a_handshake_by_name_and_by_address(files: ServerFiles) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    client = ssl.create_default_context(cafile=str(files.authority))
    for name in ("localhost", "127.0.0.1", "::1"):
        left, right = socket.socketpair()
        thread = threading.Thread(target=lambda end=right: server.wrap_socket(end, server_side=True).close())
        thread.start()
        with client.wrap_socket(left, server_hostname=name) as connection:
            assert connection.version() == "TLSv1.3"
        thread.join()
        right.close()
