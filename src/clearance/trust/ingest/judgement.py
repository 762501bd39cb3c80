"""What a judgement says: findings about a model or a file, each with a code, and whether it may come in."""

from __future__ import annotations

import msgspec

REFUSED, NOTE = "refused", "note"


class Limits(msgspec.Struct, frozen=True):
    """How much is looked at before something is refused as too much.

    Attributes:
        depth: archives within archives.
        entries: files of a model, those within archives included.
        expanded: bytes that archives may become in all.
        ratio: how many times larger than itself an archive's member may become, beyond the first megabyte.
        header: bytes of a header: names, shapes, metadata.
        text: bytes of a document (JSON, text) that is read whole.
        message: bytes of a protobuf message; its own limit is 2 GiB.
    """

    depth: int = 6
    entries: int = 100_000
    expanded: int = 256 << 30
    ratio: int = 200
    header: int = 100 << 20
    text: int = 64 << 20
    message: int = 2 << 30


class Finding(msgspec.Struct, frozen=True):
    """One thing that was found.

    Attributes:
        code: of the rule, such as `pickle` or `archive-path`.
        severity: `refused` or `note`.
        where: the file, and behind `!` what lies inside it.
        text: what it is.
        mend: what can be done about it; empty for a note.
    """

    code: str
    severity: str
    where: str
    text: str
    mend: str = ""


class Judgement(msgspec.Struct, frozen=True):
    """What was found about a model.

    Attributes:
        subject: what was judged.
        formats: of each file that was recognised, by its path.
        findings: in the order of the files.
    """

    subject: str
    formats: dict[str, str]
    findings: tuple[Finding, ...]

    @property
    def allowed(self) -> bool:
        """Whether nothing speaks against it."""
        return not any(finding.severity == REFUSED for finding in self.findings)


class Unfit(Exception):
    """Raised by a reader: the bytes are not what the format allows, or more than a limit.

    Args:
        code: of the rule.
        text: what is wrong.
        mend: what can be done.
    """

    def __init__(self, code: str, text: str, mend: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.mend = mend or "get it anew from its publisher, as safetensors"
