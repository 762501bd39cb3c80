"""Key sets of identity providers, read from a file or over https, and kept for a while.

A key that is not known makes the set be fetched again, at most once a minute: providers change their keys without
notice, and whoever sends junk must not make us fetch for each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from clearance.errors import Refused
from clearance.trust import jwt, strict
from clearance.trust.identity import Provider
from clearance.trust.jwt import Claims, Jwk
from clearance.trust.refusal import Rejected

TTL = 3600.0
AGAIN = 60.0
TIMEOUT = 10.0
LIMIT = 1 << 20


def load_provider(path: Path) -> Provider:
    """Reads the description of a provider: a JSON object with the fields of `identity.Provider`.

    Raises:
        Refused: it cannot be read, or is none.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Refused(f"cannot read the identity provider {path}: {error.strerror}") from None
    return strict.decode(data, Provider, f"identity provider {path}")


class Tokens:
    """Verifies tokens of one provider.

    Args:
        provider: whose.
        fetch: returns the bytes at an address.
    """

    def __init__(self, provider: Provider, fetch: Callable[[str], bytes] | None = None) -> None:
        self._provider = provider
        self._fetch = fetch or read_keys
        self._keys: list[Jwk] = []
        self._at = float("-inf")

    def verify(self, token: str, now: float) -> Claims:
        """Returns what a token says.

        Raises:
            Rejected: as `jwt.verify` says.
            Refused: the key set cannot be had.
        """
        if now - self._at > TTL:
            self._load(now)
        given = self._provider
        try:
            return jwt.verify(token, self._keys, given.issuer, given.audience, now)
        except Rejected as error:
            if error.code != "token-key" or now - self._at < AGAIN:
                raise
        self._load(now)
        return jwt.verify(token, self._keys, given.issuer, given.audience, now)

    def _load(self, now: float) -> None:
        self._keys = jwt.parse_keys(self._fetch(self._provider.keys))
        self._at = now


def read_keys(address: str) -> bytes:
    """Returns the key set at a path or an https address.

    Raises:
        Refused: another scheme, or it cannot be read.
    """
    if urlsplit(address).scheme in ("", "file"):
        path = Path(address.removeprefix("file://"))
        try:
            return path.read_bytes()
        except OSError as error:
            raise Refused(f"cannot read the key set {path}: {error.strerror}") from None
    if urlsplit(address).scheme != "https":
        raise Refused(f"the key set {address} must be a file or https: over http anybody may put in keys")
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as reply:  # noqa: S310
            data: bytes = reply.read(LIMIT + 1)
            moved = urlsplit(reply.url).scheme != "https"
    except (urllib.error.URLError, OSError) as error:
        raise Refused(f"cannot fetch the key set {address}: {error}") from None
    if len(data) > LIMIT or moved:
        raise Refused(f"the key set {address} is larger than 1 MiB, or leads to http: it is not read")
    return data
