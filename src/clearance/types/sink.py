"""Where the control plane tells what happens: webhooks, Slack, mail, OpenLineage, OpenTelemetry.

Rules:

1. What is secret (a token, a password, a URL that is one) is a reference (`Secret.parse`), never a value.
2. A token, a password or a body travels in the clear on this machine only: `https` and TLS elsewhere.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from clearance.errors import UsageError, nearest
from clearance.types.secret import Secret
from clearance.types.states import RunState, TaskState

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_EVENT = re.compile(r"[a-z_*?]+(\.[a-z_*?]+)?\Z")
_ADDRESS = re.compile(r"[^\s@<>,]+@[^\s@<>,]+\Z")
RUN_EVENTS = ("run.created", *(f"run.{state}" for state in RunState))
TASK_EVENTS = tuple(f"task.{state}" for state in TaskState)
DEFAULT_EVENTS = ("run.failed", "run.cancelled", "deadline_missed", "approval")


class _Sink(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What every sink has.

    Attributes:
        name: by which deliveries and commands know it; one may be replaced by another of its name.
        dags: patterns of the names of DAGs (`*` and `?`).
        attempts: how often a delivery is tried before it is given up.
        timeout: seconds that one try may take.
        authority: file with the certificate authorities to trust; empty for the system's.
    """

    name: str
    dags: tuple[str, ...] = ("*",)
    attempts: int = 10
    timeout: float = 10.0
    authority: str = ""

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise ValueError(f"name {self.name!r}: use up to 64 letters, digits and . _ -")
        if not 1 <= self.attempts <= 100:
            raise ValueError(f"attempts is {self.attempts}: use 1 to 100")
        if not 0.1 <= self.timeout <= 120:
            raise ValueError(f"timeout is {self.timeout}: use seconds between 0.1 and 120")
        if self.authority and not Path(self.authority).is_absolute():
            raise ValueError(f"authority {self.authority!r}: write an absolute path")
        self.check()

    def check(self) -> None:
        """Checks what a kind has of its own; raises `ValueError`."""

    @property
    def kind(self) -> str:
        """The word for its kind in `clearance.toml`."""
        return str(self.__struct_config__.tag)

    def wants_dag(self, dag: str) -> bool:
        """True where the events of this DAG go here."""
        return any(fnmatchcase(dag, pattern) for pattern in self.dags)


class _Notice(_Sink, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A sink for people: it is told of chosen events.

    Attributes:
        events: patterns: `run.failed`, `task.*`, `approval`, `deadline_missed`, `asset`, …
    """

    events: tuple[str, ...] = DEFAULT_EVENTS

    def check(self) -> None:
        known = (*RUN_EVENTS, *TASK_EVENTS)
        for pattern in self.events:
            strict = pattern.startswith(("run.", "task."))
            if not _EVENT.match(pattern) or (strict and not any(fnmatchcase(name, pattern) for name in known)):
                raise ValueError(f"event {pattern!r} is none{nearest(pattern, known)}: see docs/reference/events.md")

    def wants_event(self, names: list[str]) -> bool:
        """True where an event of one of these names is told."""
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.events)


class Webhook(_Notice, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="kind",
              tag="webhook"):  # fmt: skip
    """A POST of JSON.

    Attributes:
        url: `https://…`, or `http://` on this machine.
        secret: reference to the key of the signature; empty for none.
        token: reference to a bearer token; empty for none.
    """

    url: str
    secret: str = ""
    token: str = ""

    def check(self) -> None:
        super().check()
        check_url(self.url)
        _check_secrets(self.secret, self.token)


class Slack(_Notice, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="kind",
            tag="slack"):  # fmt: skip
    """A message to an incoming webhook of Slack; `url` is a reference, since who knows that URL can write."""

    url: str

    def check(self) -> None:
        super().check()
        if urlsplit(self.url).scheme in ("http", "https"):
            raise ValueError("the URL of an incoming webhook is a secret: give it by reference, for example env:SLACK")
        _check_secrets(self.url)


class Mail(_Notice, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="kind",
           tag="smtp"):  # fmt: skip
    """A mail.

    Attributes:
        host: the mail server.
        port: 0 for the usual one: 465 for `tls`, 587 for `starttls`, 25 for `none`.
        security: `starttls`, `tls`, or `none` on this machine alone.
        sender: address it comes from.
        to: addresses.
        user: to log in with; empty for no login.
        password: reference to the password.
    """

    host: str
    port: int = 0
    security: Literal["starttls", "tls", "none"] = "starttls"
    sender: str
    to: tuple[str, ...]
    user: str = ""
    password: str = ""

    def check(self) -> None:
        super().check()
        for address in (self.sender, *self.to):
            if not _ADDRESS.match(address):
                raise ValueError(f"{address!r} is no mail address")
        if not self.to:
            raise ValueError("to is empty: name at least one address")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port is {self.port}: use 1 to 65535")
        if self.security == "none" and not is_loopback(self.host):
            raise ValueError(f"security = 'none' to {self.host!r} would send in the clear: use starttls or tls")
        if bool(self.user) != bool(self.password):
            raise ValueError("user and password belong together: give both or none")
        _check_secrets(self.password)


class Lineage(_Sink, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="kind",
              tag="openlineage"):  # fmt: skip
    """OpenLineage run events.

    Attributes:
        url: where each is posted, for example `https://marquez.example.org/api/v1/lineage`; or
        file: absolute path of a file to which each is appended as a line.
        token: reference to a bearer token; empty for none.
        namespace: of the jobs, and of datasets that are artifacts.
    """

    url: str = ""
    file: str = ""
    token: str = ""
    namespace: str = "clearance"

    def check(self) -> None:
        if bool(self.url) == bool(self.file):
            raise ValueError("give url or file, one of them")
        if self.url:
            check_url(self.url)
        elif not Path(self.file).is_absolute():
            raise ValueError(f"file {self.file!r}: write an absolute path")
        if not self.namespace.strip():
            raise ValueError("namespace is empty: leave it out for 'clearance'")
        _check_secrets(self.token)


class Otel(_Sink, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="kind",
           tag="otel"):  # fmt: skip
    """OpenTelemetry spans over OTLP/HTTP.

    Attributes:
        url: of the traces, for example `http://127.0.0.1:4318/v1/traces`.
        token: reference to a bearer token; empty for none.
        service: `service.name` of the spans.
    """

    url: str
    token: str = ""
    service: str = "clearance"

    def check(self) -> None:
        check_url(self.url)
        _check_secrets(self.token)


Sink = Webhook | Slack | Mail | Lineage | Otel
_encoder = msgspec.json.Encoder()


def parse(value: Any) -> tuple[Sink, ...]:
    """Reads the list `[[notify]]` of `clearance.toml`, or its JSON text.

    Raises:
        UsageError: which entry is wrong, and how.
    """
    try:
        data = msgspec.json.decode(value) if isinstance(value, str) else value
        found = msgspec.convert(data, tuple[Sink, ...])
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise UsageError(f"notify: {error}") from None
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"notify: two entries have the name {name!r}: give each its own")
    return found


def text(sinks: tuple[Sink, ...]) -> str:
    """Returns the JSON text that `parse` reads."""
    return _encoder.encode(sinks).decode()


def check_url(url: str) -> None:
    """Refuses a URL that would send in the clear over the network, or that holds a password; raises `ValueError`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url {url!r}: write https://HOST/PATH")
    if parts.username or parts.password:
        raise ValueError("the url holds a user or password: give a token by reference instead")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError(f"{parts.scheme}://{parts.hostname} would send in the clear: use https://")


def is_loopback(host: str) -> bool:
    """True for a name or address of this machine."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_secrets(*references: str) -> None:
    for reference in references:
        if reference:
            try:
                Secret.parse(reference)
            except UsageError as error:
                raise ValueError(str(error)) from None
