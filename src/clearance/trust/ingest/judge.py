"""Judges a model, file by file, by what it contains; see the rules of the room."""

from __future__ import annotations

import os
import posixpath
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from clearance.errors import UsageError
from clearance.trust.ingest import archives, onnx, pickles, texts, weights
from clearance.trust.ingest.archives import Budget
from clearance.trust.ingest.judgement import REFUSED, Finding, Judgement, Limits, Unfit

_HEAD = 512
_BINARY = {
    b"\x7fELF": "a program (ELF)", b"MZ": "a program (PE)", b"\xcf\xfa\xed\xfe": "a program (Mach-O)",
    b"\xca\xfe\xba\xbe": "a program (Mach-O or Java)", b"\x89HDF\r\n\x1a\n": "HDF5",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "LZ4", b"\0asm": "WebAssembly",
}  # fmt: skip
_UNKNOWN = "unknown-format"
_AS_SAFETENSORS = "get it as safetensors, from its publisher"


def judge_model(path: Path, limits: Limits | None = None) -> Judgement:
    """Judges a model: a file or a folder.

    Args:
        path: of it. Links in a folder are refused, not followed.
        limits: how much is looked at.

    Raises:
        UsageError: there is nothing at this path, or it cannot be read.
    """
    judge = _Judge(limits or Limits())
    try:
        for name, descriptor in _files(path):
            with os.fdopen(descriptor, "rb") as file:
                judge.outside(name, file)
    except OSError as error:
        raise UsageError(f"{error.filename or path}: {error.strerror}: choose a model that can be read") from None
    except Unfit as unfit:
        judge.refuse(unfit, str(path))
    judge.check_beside()
    return Judgement(str(path), judge.formats, tuple(judge.findings))


def _files(path: Path) -> Iterator[tuple[str, int]]:
    """Yields the name of each file and a descriptor of it; what is neither file nor folder is refused."""
    if not path.is_dir():
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Unfit("not-a-file", "it is neither a file nor a folder", "give a file or a folder")
        yield path.name, descriptor
        return
    for _, folders, names, folder in os.fwalk(path, follow_symlinks=False):
        at = os.path.relpath(os.readlink(f"/proc/self/fd/{folder}"), os.path.realpath(path))
        folders.sort()
        for name in sorted((*names, *folders)):
            shown = posixpath.normpath(f"{at}/{name}")
            kind = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            if stat.S_ISDIR(kind):
                if name == ".git":
                    raise Unfit("repository", f"{shown} is a repository, not a part of a model", "leave it out")
                continue
            if not stat.S_ISREG(kind):
                raise Unfit("not-a-file", f"{shown} is a link or a device", "put the file itself there")
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            yield shown, os.open(name, flags, dir_fd=folder)


class _Judge:
    """One judgement in the making."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.budget = Budget(limits)
        self.formats: dict[str, str] = {}
        self.findings: list[Finding] = []
        self._beside: list[tuple[str, str]] = []

    def refuse(self, unfit: Unfit, where: str) -> None:
        """Takes note of a refusal."""
        self.findings.append(Finding(unfit.code, REFUSED, where, unfit.text, unfit.mend))

    def outside(self, name: str, file: BinaryIO) -> None:
        """Judges a file of the model."""
        self.budget.entry()
        self._judge(name, name, file, 0)

    def check_beside(self) -> None:
        """Judges whether the files that models read beside themselves are there; their bytes have no format."""
        known = {finding.where for finding in self.findings if finding.code == _UNKNOWN}
        for where, path in self._beside:
            if path in known:
                self.formats[path] = "onnx-data"
                self.findings = [each for each in self.findings if (each.where, each.code) != (path, _UNKNOWN)]
            elif path not in self.formats:
                text = f"it reads {path!r}, which is not there"
                self.findings.append(Finding("onnx-external", REFUSED, where, text, "keep its data beside it"))

    def _judge(self, where: str, name: str, file: BinaryIO, depth: int) -> None:
        try:
            self.formats[where] = self._format(where, name, file, depth)
        except Unfit as unfit:
            self.refuse(unfit, where)
        except (ValueError, RecursionError, MemoryError, OverflowError, struct.error) as error:
            self.refuse(Unfit("unreadable", f"a reader gave up: {type(error).__name__}"), where)

    def _format(self, where: str, name: str, file: BinaryIO, depth: int) -> str:
        """Returns the format of a file.

        Raises:
            Unfit: it is refused.
        """
        if depth > self.limits.depth:
            raise Unfit("too-deep", f"archives are nested more than {self.limits.depth} deep", "unpack it yourself")
        if (walk := pickles.walk(file)).live:
            raise _pickle(file, walk)
        size = file.seek(0, 2)
        file.seek(0)
        head = file.read(_HEAD)
        if (packed := archives.compressed(head)) is not None:
            with archives.expanded(file, self.budget) as content:
                self._judge(f"{where}!{packed}", name.rpartition(".")[0] or name, content, depth + 1)
            return packed
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return self._archive(where, "zip", archives.zipped(file, self.budget), depth)
        if head[257:262] == b"ustar":
            return self._archive(where, "tar", archives.tarred(file, self.budget), depth)
        if archives.hides_zip(file):
            raise Unfit("archive-polyglot", "it ends as a zip does, and begins as something else")
        file.seek(0)
        return self._content(where, name, head, size, file)

    def _archive(self, where: str, kind: str, members: Iterator[tuple[str, BinaryIO]], depth: int) -> str:
        for name, content in members:
            with content:
                self._judge(f"{where}!{name}", name, content, depth + 1)
        return kind

    def _content(self, where: str, name: str, head: bytes, size: int, file: BinaryIO) -> str:
        if head.startswith(b"\x93NUMPY"):
            weights.npy(file, self.limits)
            return "npy"
        if head.startswith(b"GGUF"):
            for key, value in weights.gguf(file, self.limits).items():
                if "chat_template" in key:
                    self.findings += texts.in_template(value, where)
            return "gguf"
        for magic, what in _BINARY.items():
            if head.startswith(magic):
                raise Unfit("unread-format", f"it is {what}, which is not read here", _AS_SAFETENSORS)
        if head[8:9] == b"{" and b"\0" in head[:8]:
            weights.safetensors(file, self.limits)
            return "safetensors"
        if size <= self.limits.text:
            file.seek(0)
            data = file.read()
            if (text := texts.text_of(data)) is not None:
                return self._text(where, name, text)
        return self._message(where, size, file)

    def _text(self, where: str, name: str, text: str) -> str:
        if text.lstrip()[:1] in ("{", "[") or name.endswith(".json"):
            try:
                document = texts.json_of(text)
            except ValueError:
                if name.endswith(".json"):
                    raise Unfit("json-malformed", "it is called JSON and is none") from None
            else:
                self.findings += texts.in_json(document, where)
                return "json"
        if texts.is_code(text, name):
            raise Unfit("custom-code", "it is a program", "have it reviewed as a dependency, and leave it out here")
        if name.endswith(".jinja"):
            self.findings += texts.in_template(text, where)
        return "text"

    def _message(self, where: str, size: int, file: BinaryIO) -> str:
        """Returns the format of what may be a protobuf message."""
        if size <= self.limits.message:
            file.seek(0)
            data = memoryview(file.read())
            if onnx.looks_like(data):
                paths, domains = onnx.read(data)
                folder = posixpath.dirname(where)
                self._beside += [(where, posixpath.normpath(posixpath.join(folder, path))) for path in paths]
                told = (texts.note("onnx-domain", where, f"it has operators of {domain!r}") for domain in domains)
                self.findings += told
                return "onnx"
            if size <= self.limits.text and onnx.sentencepiece(data):
                return "sentencepiece"
        raise Unfit(_UNKNOWN, "it is in no format that is read here", _AS_SAFETENSORS)


def _pickle(file: BinaryIO, walk: pickles.Walk) -> Unfit:
    """Returns the refusal of a pickle, with what all that are stacked in the file would import."""
    imports, at, count = dict.fromkeys(walk.imports), walk.size, 1
    while walk.ended and count < 16 and (walk := pickles.walk(file, at)).size and (walk.ended or walk.live):
        imports |= dict.fromkeys(walk.imports)
        at, count = at + walk.size, count + 1
    told = f"; it would import {', '.join(list(imports)[:12])}" if imports else ""
    return Unfit("pickle", f"it is a pickle, which runs code when it is read{told}", _AS_SAFETENSORS)
