"""A secret by reference: where it is, never what it is.

A reference is data: it stands in the graph, in parameters, in `dag show`. The value exists only in the process of
the task that reveals it, and is masked in whatever that process writes. The code that reads a source is found by
name when it is first needed, so that this floor imports nothing above it.
"""

from __future__ import annotations

import importlib
import re
from typing import Any, Literal

import msgspec

from clearance.errors import UsageError

RESOLVER = "clearance.engine.secrets"
SOURCES = ("env", "file", "keyring", "vault")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class Secret(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reference to a secret.

    Attributes:
        source: `env`, `file`, `keyring` or `vault`.
        name: a variable; an absolute path; the service; the path below `/v1/`.
        field: of a keyring, the user; of a Vault secret, the field; else empty.
    """

    source: Literal["env", "file", "keyring", "vault"]
    name: str
    field: str = ""

    @classmethod
    def env(cls, name: str) -> Secret:
        """Returns a reference to an environment variable of the task's process.

        Raises:
            UsageError: this is no name of a variable.
        """
        if not _VARIABLE.match(name):
            raise UsageError(f"{name[:3]}… is no name of an environment variable: give the name, not the secret")
        return cls("env", name)

    @classmethod
    def file(cls, path: str) -> Secret:
        """Returns a reference to a file's text, without the newline at its end.

        Raises:
            UsageError: the path is not absolute.
        """
        if not str(path).startswith("/"):
            raise UsageError("the path of a secret must be absolute: tasks run in directories of their own")
        return cls("file", str(path))

    @classmethod
    def keyring(cls, service: str, user: str) -> Secret:
        """Returns a reference to a password in the keyring of the machine."""
        return cls("keyring", service, user)

    @classmethod
    def vault(cls, path: str, field: str = "value") -> Secret:
        """Returns a reference to a field of a secret behind Vault's HTTP interface, at `VAULT_ADDR`.

        Args:
            path: below `/v1/`, for example `secret/data/training`.
            field: which of its fields.
        """
        return cls("vault", path.strip("/"), field)

    @classmethod
    def parse(cls, text: str) -> Secret:
        """Reads `env:NAME`, `file:/path`, `keyring:service#user` or `vault:path#field`, as a parameter is given.

        Raises:
            UsageError: it is no reference. The text is not repeated: it may be the secret itself.
        """
        source, colon, rest = text.partition(":")
        name, _, field = rest.partition("#")
        if not colon or source not in SOURCES or not name:
            raise UsageError(
                "a secret is given by reference, never by value: env:NAME, file:/path, keyring:service#user or "
                "vault:path#field"
            )
        if source == "env":
            return cls.env(rest)
        if source == "file":
            return cls.file(rest)
        return cls.keyring(name, field) if source == "keyring" else cls.vault(name, field or "value")

    def __str__(self) -> str:
        """Returns the reference as `parse` reads it."""
        return f"{self.source}:{self.name}" + (f"#{self.field}" if self.field else "")

    def reveal(self) -> str:
        """Returns the secret, which is masked from now on in what this process writes.

        Raises:
            UsageError: it is missing, or too short to be masked; the message names the reference and the mend.
        """
        resolver: Any = importlib.import_module(RESOLVER)
        value: str = resolver.reveal(self)
        return value
