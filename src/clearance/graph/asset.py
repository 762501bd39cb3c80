"""`asset("s3://lake/a")`: a thing that DAGs make and wait for, known by its URI.

Rules (RFC 3986, section 6.2.2), so that one thing has one name:

1. A scheme is needed. Scheme and host are in small letters; `.` and `..` in a path are resolved; a slash at the end is
   dropped; `%7E` is `~`, other escapes have capital letters, and what is not ASCII is escaped.
2. A fragment names a part of a thing and is refused; so is a user or password, which would be stored and shown.
"""

from __future__ import annotations

import re
from typing import Any

from clearance.errors import GraphError
from clearance.graph.origin import call_site
from clearance.graph.schedule import Asset

_LONGEST = 1500
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):(.*)", re.DOTALL)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~\-]|%[0-9A-Fa-f]{2})*)(:[0-9]*)?")
_USER = re.compile(r"//[^/?#]*@")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_LOOSE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BARE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-/]*")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\"<>\\^`{|}]")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def asset(uri: str) -> Asset:
    """Names an asset.

    Args:
        uri: a scheme and what it wants, for example `s3://lake/images`, `file:///data/x.csv`, `postgresql://db/t`.

    Raises:
        GraphError: no scheme, a fragment, a password, or a character that no URI has; with file and line.
    """
    try:
        return Asset(normal(uri))
    except GraphError as error:
        raise GraphError(f"{call_site()[0]}: asset {error}") from None


def normal(uri: Any, bare: bool = False) -> str:
    """Returns the one form in which this URI is stored and compared.

    Args:
        uri: the URI.
        bare: a bare name such as `orders` is one too: in recorded traces and in simulations, never in a pipeline.

    Raises:
        GraphError: what is wrong with it.
    """
    if bare and isinstance(uri, str) and len(uri) <= _LONGEST and _BARE.fullmatch(uri):
        return uri
    if not isinstance(uri, str):
        raise GraphError(f"{uri!r} is no text: write a URI, for example 's3://lake/a'")
    shown = repr(uri) if len(uri) <= 80 else repr(uri[:77] + "…")
    if len(uri) > _LONGEST:
        raise GraphError(f"{shown} has {len(uri)} characters: at most {_LONGEST}")
    match = _SCHEME.fullmatch(uri)
    drive = match is not None and len(match[1]) == 1 and not match[2].startswith("//")
    if match is None or drive:
        local = drive or uri.startswith("/")
        path = uri.replace("\\", "/").lstrip("/")
        mend = f"{'file:///' if local else 's3://'}{path or 'lake/a'}"
        raise GraphError(f"{shown} has no scheme: write for example {mend!r}")
    scheme, rest = match[1].lower(), match[2]
    if _USER.match(rest):
        raise GraphError(f"'{scheme}://…' holds a user or password, which would be stored and shown: leave it out")
    if "#" in rest:
        raise GraphError(
            f"{shown} has a fragment, {'#' + rest.partition('#')[2]!r}, which names a part of a thing: leave it out, "
            f"write {uri.partition('#')[0][:80]!r}, and name the part in the path or by an event's key"
        )
    if bad := _FORBIDDEN.search(rest) or _LOOSE_PERCENT.search(rest):
        raise GraphError(f"{shown} holds {bad[0]!r}, which no URI may: write %{ord(bad[0]):02X}")
    try:
        rest = _ESCAPE.sub(_escape, "".join(one if one.isascii() else _percent(one) for one in rest))
    except UnicodeEncodeError:
        raise GraphError(f"{shown} holds a character that is no Unicode text: escape its bytes as %XX") from None
    path, question, query = rest.partition("?")
    authority = ""
    if path.startswith("//"):
        host, slash, below = path[2:].partition("/")
        authority, path = f"//{_host(shown, host)}", slash + below
    elif scheme == "file" and path.startswith("/"):
        authority = "//"
    if path.startswith("/"):
        path = _resolved(path)
    if not authority.strip("/") and not path.strip("/"):
        raise GraphError(f"{shown} names nothing: write what comes after {scheme}:, for example {scheme}://lake/a")
    return f"{scheme}:{authority}{path}{question and query and '?' + query}"


def wait_key(asset: str, key: str | None = None) -> str:
    """Returns the name under which a task waits for an event of an asset: `ASSET`, or `ASSET#KEY` for a partition.

    Raises:
        GraphError: no URI.
    """
    return normal(asset) if key is None else f"{normal(asset)}#{key}"


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _escape(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0].upper()


def _host(shown: str, host: str) -> str:
    if not _HOST.fullmatch(host):
        raise GraphError(f"{shown} has the host {host!r}: write letters, digits, '.', '-' and '_'")
    return _ESCAPE.sub(lambda escape: escape[0].upper(), host.lower()).removesuffix(":")


def _resolved(path: str) -> str:
    """Returns a path without `.`, `..` and a slash at its end."""
    kept: list[str] = []
    for part in path.split("/")[1:]:
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    while kept and not kept[-1]:
        kept.pop()
    return "".join(f"/{part}" for part in kept)
