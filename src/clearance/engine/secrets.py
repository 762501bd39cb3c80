"""Secrets, resolved in the process of the task that needs them, and nowhere else.

Whoever reveals one has it masked first: in this process (results, failures), and, where the engine captures output,
in the process that writes the log (`masking.announce`).

A secret is looked for in the forms in which programs write it: raw, line by line, percent-encoded, JSON-escaped, and
base64 at each of the three offsets that a longer text can give it, so that `user:password` is found in a header.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import os
import re
import ssl
import urllib.parse
from collections.abc import Callable

from clearance.errors import MissingExtra, UsageError
from clearance.types import masking
from clearance.types.secret import Secret

LIMIT = 1 << 16
SHORTEST = 4
TIMEOUT = 10.0


def reveal(secret: Secret) -> str:
    """Returns the value of a reference; see `Secret.reveal`."""
    value = _READERS[secret.source](secret)
    if len(value) < SHORTEST:
        raise UsageError(f"the secret {secret} cannot be masked, with under {SHORTEST} characters: take a longer one")
    _mask(value)
    return value


def _mask(value: str) -> None:
    forms = forms_of(value)
    if not forms <= masking.masker.forms:
        masking.announce(sorted(forms))
        masking.masker.add(forms)


def forms_of(value: str) -> set[bytes]:
    """Returns every form of a secret, as bytes, that is looked for."""
    texts = {value, *value.splitlines(), *(line.strip() for line in value.splitlines())}
    found: set[bytes] = set()
    for text in texts:
        raw = text.encode("utf-8", "surrogateescape")
        found.add(raw)
        found |= {form.encode() for form in _escaped(text, raw)}
        found |= _base64_forms(raw)
    return {form for form in found if len(form) >= SHORTEST}


def _escaped(text: str, raw: bytes) -> set[str]:
    plain = raw.decode("utf-8", "replace")
    percent = {urllib.parse.quote(raw, safe=""), urllib.parse.quote(raw), urllib.parse.quote_plus(raw)}
    percent |= {re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), form) for form in percent}
    escaped = {json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1]}
    return percent | escaped | {form.replace("/", "\\/") for form in escaped}


def _base64_forms(raw: bytes) -> set[bytes]:
    """Returns what base64 makes of the value at each offset, without the characters that its neighbours decide."""
    found = set()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw)
        end = len(encoded) if (offset + len(raw)) % 3 == 0 else (offset + len(raw)) * 8 // 6
        core = encoded[-(-offset * 8 // 6) : end]
        if len(core) >= 2 * SHORTEST:
            found |= {core, core.replace(b"+", b"-").replace(b"/", b"_")}
    found |= {base64.b64encode(raw), base64.urlsafe_b64encode(raw)}
    return found


def _from_environment(secret: Secret) -> str:
    value = os.environ.get(secret.name)
    if value is None:
        raise UsageError(
            f"the secret {secret} is missing: export {secret.name} where the tasks are started from (a supervisor that "
            "runs already keeps the environment it was started with)"
        )
    return value


def _from_file(secret: Secret) -> str:
    try:
        with open(secret.name, encoding="utf-8") as file:
            value = file.read(LIMIT + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UsageError(f"the secret {secret} cannot be read: {reason}: make it, readable by you alone") from None
    if len(value) > LIMIT:
        raise UsageError(f"the secret {secret} is over {LIMIT} bytes long: is it the right file?")
    return value.rstrip("\r\n")


def _from_keyring(secret: Secret) -> str:
    try:
        import keyring
    except ImportError:
        raise MissingExtra("keyring", "keyring") from None
    value = keyring.get_password(secret.name, secret.field)
    if value is None:
        raise UsageError(f"the secret {secret} is missing: run `keyring set {secret.name} {secret.field}`")
    return str(value)


def _from_vault(secret: Secret) -> str:
    address = os.environ.get("VAULT_ADDR", "")
    token = os.environ.get("VAULT_TOKEN", "")
    if not address or not token:
        missing = "VAULT_ADDR" if not address else "VAULT_TOKEN"
        raise UsageError(f"the secret {secret} needs {missing} in the environment: set it to your Vault's")
    _mask(token)
    body = _ask(secret, urllib.parse.urlsplit(address), token)
    try:
        data = json.loads(body)["data"]
        if isinstance(data.get("data"), dict) and "metadata" in data:
            data = data["data"]
        value = data[secret.field]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"the secret {secret} has no field {secret.field!r}: look with `vault read`") from None
    return value if isinstance(value, str) else json.dumps(value)


def _ask(secret: Secret, address: urllib.parse.SplitResult, token: str) -> bytes:
    """Asks Vault; a redirect is not followed, since the token would go with it."""
    host = address.hostname or ""
    if address.scheme != "https" and not (address.scheme == "http" and _is_loopback(host)):
        raise UsageError(f"VAULT_ADDR must begin with https:// unless it is this machine, for {secret}")
    connection = (
        http.client.HTTPSConnection(host, address.port, timeout=TIMEOUT, context=ssl.create_default_context())
        if address.scheme == "https"
        else http.client.HTTPConnection(host, address.port, timeout=TIMEOUT)
    )
    headers = {"X-Vault-Token": token, "X-Vault-Request": "true"}
    if namespace := os.environ.get("VAULT_NAMESPACE"):
        headers["X-Vault-Namespace"] = namespace
    path = f"{address.path.rstrip('/')}/v1/{urllib.parse.quote(secret.name)}"
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read(LIMIT)
    except (OSError, http.client.HTTPException) as error:
        raise UsageError(f"the secret {secret} cannot be asked for at {host}: {error}") from None
    finally:
        connection.close()
    if answer.status != 200:
        raise UsageError(f"the secret {secret} is not given: {host} answers {answer.status} {answer.reason}")
    return body


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_READERS: dict[str, Callable[[Secret], str]] = {
    "env": _from_environment,
    "file": _from_file,
    "keyring": _from_keyring,
    "vault": _from_vault,
}
