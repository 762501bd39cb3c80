"""Secrets that stand in files: passwords, keys, tokens. A finding says what kind and where, never the secret.

Rules:

1. `detect-secrets` looks, with all its detectors of secrets; our own patterns stand beside it for what it does not
   know. Nothing is asked of a network, and no comment in a file switches it off.
2. Before it looks, it must find a secret that is put before it: a scanner that finds nothing there is blind, and its
   silence would count for nothing. A crash is a refusal.
3. Of a secret only its kind, line and length are kept. A hash would do for guessing a short one.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clearance.trust.refusal import Rejected
from clearance.trust.scan.finding import Finding, Severity, in_order
from clearance.trust.scan.reading import Text

_HEURISTICS = (
    "is_sequential_string", "is_potential_uuid", "is_likely_id_string", "is_templated_secret",
    "is_prefixed_with_dollar_sign", "is_indirect_reference", "is_not_alphanumeric_string",
)  # fmt: skip
# kinds that are guessed from how random or how named a text is
_GUESSED = frozenset({"Secret Keyword", "Base64 High Entropy String", "Hex High Entropy String"})
_LEFT_OUT = frozenset({"IPPublicDetector"})  # an address is no secret
_OWN = {
    "Hugging Face Token": re.compile(r"\bhf_[A-Za-z]{34}\b"),
    "Anthropic Key": re.compile(r"\bsk-ant-[A-Za-z0-9_-]{32,}"),
    "Google API Key": re.compile(r"\bAIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    "Google OAuth Secret": re.compile(r"\bGOCSPX-[A-Za-z0-9_-]{28}\b"),
    "GitHub Fine-grained Token": re.compile(r"\bgithub_pat_[A-Za-z0-9_]{82}\b"),
    "Weights & Biases Key": re.compile(r"(?i)\bWANDB_API_KEY\b\W{1,8}([0-9a-f]{40})\b"),
}
_LONGEST, _OVERLAP = 4000, 500  # characters of a line; a secret is shorter than the overlap
_CANARY = "AKIA" + "Z7QXKD4MWB2RTLPC"
_MEND = "take it out and replace it at its issuer, since it has been written down; name it by Secret('env:…') instead"
_busy = threading.Lock()  # the settings of detect-secrets are those of the whole process


def scan_secrets(files: Iterable[Text]) -> tuple[Finding, ...]:
    """Returns the secrets that stand in files.

    Raises:
        Rejected: `scanner-blind`, `scanner-crashed`.
        ModuleNotFoundError: `detect-secrets` is not installed.
    """
    found: dict[tuple[str, int, int], Finding] = {}
    with _busy, _scanner() as scan, tempfile.TemporaryDirectory(prefix="clearance-scan-") as folder:
        canary = Text("a test of itself", "canary.py", f"key = '{_CANARY}'\n".encode())
        if not _theirs(scan, folder, canary):
            raise Rejected("scanner-blind", "detect-secrets does not find a secret that is there: install it again")
        for file in files:
            for kind, line, size in [*_own(file), *_theirs(scan, folder, file)]:
                finding = _finding(kind, line, size, file.where)
                here = found.get((file.where, line, size))
                if here is None or finding.severity.rank > here.severity.rank:
                    found[file.where, line, size] = finding
    return in_order(found.values())


def _finding(kind: str, line: int, size: int, where: str) -> Finding:
    rule = "secret-" + re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-")
    severity = Severity.MEDIUM if kind in _GUESSED else Severity.HIGH
    return Finding(rule, severity, where, line, f"{kind} of {size} characters", _MEND)


def _own(file: Text) -> Iterator[tuple[str, int, int]]:
    for number, line in _pieces(_decode(file.data)):
        for kind, pattern in _OWN.items():
            for match in pattern.finditer(line):
                yield kind, number, len(match[match.re.groups])


def _theirs(scan: Any, folder: str, file: Text) -> list[tuple[str, int, int]]:
    pieces = _pieces(_decode(file.data))
    path = _write(folder, file.name, "".join(f"{piece}\n" for _, piece in pieces))
    try:
        return [(each.type, pieces[each.line_number - 1][0], len(each.secret_value)) for each in scan(path)]
    except Exception as error:  # whatever it is, nobody has looked at this file; its text may hold the secret
        raise Rejected(
            "scanner-crashed", f"detect-secrets failed on {file.where} with {type(error).__name__}", file.where
        ) from None


@contextmanager
def _scanner() -> Iterator[Any]:
    from detect_secrets.core import scan
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.settings import get_settings, transient_settings

    detectors: Iterable[type] = get_mapping_from_secret_type_to_class().values()
    plugins = [{"name": each.__name__} for each in detectors if each.__name__ not in _LEFT_OUT]
    filters = [{"path": f"detect_secrets.filters.heuristic.{name}"} for name in _HEURISTICS]
    with transient_settings({"plugins_used": plugins, "filters_used": filters}):
        get_settings().disable_filters(
            "detect_secrets.filters.allowlist.is_line_allowlisted",
            "detect_secrets.filters.common.is_invalid_file",
            "detect_secrets.filters.common.is_ignored_due_to_verification_policies",
            "detect_secrets.filters.heuristic.is_non_text_file",
        )
        yield scan.scan_file


def _write(folder: str, name: str, text: str) -> str:
    """Writes a file with the same suffix, by which configuration files are known, and returns its path."""
    suffix = Path(name).suffix
    file = Path(folder, "file" + (suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,8}", suffix) else ""))
    file.write_text(text, "utf-8")
    return str(file)


def _pieces(text: str) -> list[tuple[int, str]]:
    """Returns the lines with their numbers; a long one in pieces that overlap, as patterns need time by its square."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        for start in range(0, max(1, len(line) - _OVERLAP), _LONGEST - _OVERLAP):
            found.append((number, line[start : start + _LONGEST]))
    return found


def _decode(data: bytes) -> str:
    """Returns the text; bytes that are none are read as Latin-1, in which every byte is a letter."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
        text.encode("utf-8")
    except UnicodeError:
        text = data.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\n" if "\n" not in text else " ")
