"""Refusals with a reason that programs can tell apart, and the file or field that it concerns."""

from __future__ import annotations

from clearance.errors import Refused


class Rejected(Refused):
    """Something that cannot be believed.

    Attributes:
        code: the reason, for example `file-changed`; `docs/reference/refusals.md` lists them all.
        subject: the file, certificate or field that it concerns; empty for the whole.
    """

    def __init__(self, code: str, message: str, subject: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.subject = subject


def code_of(error: Refused) -> str:
    """Returns the reason of a refusal; `malformed` where it has none of its own."""
    return error.code if isinstance(error, Rejected) else "malformed"
