"""What distributions and models say of their licences, read from their own files.

Rules:

1. A distribution: `License-Expression` (PEP 639) alone where it is there. Else the field `License` where it is a known
   short name, and the classifiers: everything that they name holds together (`AND`), since nobody says that one may
   choose. A text of several lines is not guessed at.
2. A model: the front matter of README.md and the metadata of each safetensors header; all that they name holds
   together. A field that stands twice, and a file that cannot be read, are refused.
"""

from __future__ import annotations

import importlib.metadata
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from clearance.errors import ClearanceError, Refused
from clearance.store.blobs import open_regular
from clearance.trust import strict
from clearance.trust.refusal import Rejected
from clearance.trust.scan.hub import HUB, spdx_of
from clearance.trust.scan.licences import Declared, parse

MOST_CARD = 4 * 2**20
MOST_HEADER = 100_000_000  # what the safetensors format allows
_CLASSIFIERS = {
    "Academic Free License (AFL)": "LicenseRef-AFL-family",
    "Apache Software License": "Apache-2.0",
    "BSD License": "LicenseRef-OSI-BSD",
    "Blue Oak Model License (BlueOak-1.0.0)": "BlueOak-1.0.0",
    "Boost Software License 1.0 (BSL-1.0)": "BSL-1.0",
    "Eclipse Public License 2.0 (EPL-2.0)": "EPL-2.0",
    "European Union Public Licence 1.2 (EUPL 1.2)": "EUPL-1.2",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "GNU General Public License (GPL)": "LicenseRef-gpl-family",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v2 (LGPLv2)": "LGPL-2.0-only",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "GNU Library or Lesser General Public License (LGPL)": "LicenseRef-lgpl-family",
    "Historical Permission Notice and Disclaimer (HPND)": "HPND",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 1.1 (MPL 1.1)": "MPL-1.1",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "PostgreSQL License": "PostgreSQL",
    "Python License (CNRI Python License)": "CNRI-Python",
    "Python Software Foundation License": "PSF-2.0",
    "SIL Open Font License 1.1 (OFL-1.1)": "OFL-1.1",
    "The Unlicense (Unlicense)": "Unlicense",
    "Universal Permissive License (UPL)": "UPL-1.0",
    "University of Illinois/NCSA Open Source License": "NCSA",
    "Zero-Clause BSD (0BSD)": "0BSD",
    "Zope Public License": "ZPL-2.1",
    "zlib/libpng License": "Zlib",
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "CC0-1.0",
}
_NAMES = {
    "mit": "MIT", "mit license": "MIT", "the mit license": "MIT", "the mit license (mit)": "MIT", "expat": "MIT",
    "apache": "LicenseRef-Apache-family", "apache 2": "Apache-2.0", "apache 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0", "apache license 2.0": "Apache-2.0", "apache license, version 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0", "apache license": "LicenseRef-Apache-family",
    "apache 2.0 license": "Apache-2.0", "apache software license": "LicenseRef-Apache-family",
    "apache software license 2.0": "Apache-2.0", "apache v2": "Apache-2.0", "apache v2.0": "Apache-2.0",
    "asl 2.0": "Apache-2.0", "bsd": "LicenseRef-bsd-family", "bsd license": "LicenseRef-bsd-family",
    "new bsd": "BSD-3-Clause", "new bsd license": "BSD-3-Clause", "modified bsd": "BSD-3-Clause",
    "modified bsd license": "BSD-3-Clause", "bsd 3-clause": "BSD-3-Clause", "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd": "BSD-3-Clause", "3-clause bsd license": "BSD-3-Clause", "bsd 2-clause": "BSD-2-Clause",
    "bsd 2-clause license": "BSD-2-Clause", "simplified bsd": "BSD-2-Clause", "isc license": "ISC",
    "isc license (iscl)": "ISC", "mpl 2.0": "MPL-2.0", "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psf": "PSF-2.0", "psf license": "PSF-2.0", "python software foundation license": "PSF-2.0",
    "gpl": "LicenseRef-gpl-family", "gplv2": "GPL-2.0-only", "gplv3": "GPL-3.0-only", "gpl v3": "GPL-3.0-only",
    "gplv3+": "GPL-3.0-or-later", "lgpl": "LicenseRef-lgpl-family", "lgplv3": "LGPL-3.0-only",
    "lgplv3+": "LGPL-3.0-or-later", "agplv3": "AGPL-3.0-only", "public domain": "LicenseRef-public-domain",
}  # fmt: skip
# a family, and the beginning of the ids that say more precisely what it says
_FAMILIES = {
    "LicenseRef-OSI-BSD": ("BSD-", "0BSD"), "LicenseRef-bsd-family": ("BSD-", "0BSD", "LicenseRef-OSI-BSD"),
    "LicenseRef-gpl-family": ("GPL-",), "LicenseRef-lgpl-family": ("LGPL-",), "LicenseRef-AFL-family": ("AFL-",),
    "LicenseRef-Apache-family": ("Apache-",),
}  # fmt: skip


def read_declared(path: Path | None = None) -> tuple[Declared, ...]:
    """Reads what something says of its licences.

    Args:
        path: a folder of installed distributions, a model's folder, a safetensors file or a card (`*.md`); by default
            what this interpreter imports.

    Raises:
        Rejected: `licences-none`: nothing there could have a licence; `licence-malformed`.
    """
    if path is None or (path.is_dir() and any(path.glob("*.dist-info"))):
        found = sorted(_distributions(None if path is None else [str(path)]), key=lambda each: each.name)
    else:
        found = [_model(path)]
    if not found:
        raise Rejected("licences-none", f"{path} holds neither distributions nor a model", str(path))
    return tuple(found)


def of_metadata(expression: str, text: str, classifiers: Iterable[str]) -> tuple[str, str]:
    """Returns the SPDX expression of a distribution's metadata, and what it says where that is not understood."""
    if expression.strip():
        return (expression, "") if parse(expression)[0] is not None else ("", expression)
    named = [_CLASSIFIERS.get(each, "?" + each) for each in _approved(classifiers)]
    text = text.strip()
    short = text if "\n" not in text and text.upper() not in ("", "UNKNOWN", "NONE") else ""
    if short:
        mapped = _NAMES.get(" ".join(short.lower().split()).removesuffix("."), short)
        named.append(mapped if parse(mapped)[0] is not None else "?" + short)
    unknown = [each[1:] for each in named if each.startswith("?")]
    known = [each for each in dict.fromkeys(named) if not each.startswith("?")]
    if unknown and (not known or not short or unknown[-1] != short):
        return "", unknown[-1]
    return join(known), ""


def join(expressions: Iterable[str]) -> str:
    """Returns the expressions joined by AND, without families of which another says more."""
    found = list(dict.fromkeys(each for each in expressions if each))
    precise = [
        each for each in found
        if not any(other.startswith(_FAMILIES.get(each, ())) for other in found if other != each)
    ]  # fmt: skip
    return precise[0] if len(precise) == 1 else " AND ".join(f"({each})" if " " in each else each for each in precise)


def read_card(text: str, where: str) -> tuple[str, str, int]:
    """Reads the licence of a card's front matter.

    Args:
        text: of the card.
        where: its name in messages.

    Returns:
        An SPDX expression, the words where they are not understood, and the line.

    Raises:
        Rejected: `licence-malformed`.
    """
    import yaml

    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    match = re.match(r"---[ \t]*\n(.*?)^---[ \t]*$", text, re.DOTALL | re.MULTILINE)
    if match is None:
        return "", "", 0
    try:
        node = yaml.compose(match[1], Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _malformed(where, f"its front matter is no YAML: {str(error).splitlines()[0]}") from None
    if node is None:
        return "", "", 0
    if not isinstance(node, yaml.MappingNode):
        raise _malformed(where, "its front matter is no mapping")
    fields: dict[str, Any] = {}
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in ("license", "license_name"):
            if key.value in fields:
                raise _malformed(where, f"{key.value!r} stands twice")
            fields[key.value] = value
    if "license" not in fields:
        return "", "", 0
    value, name = fields["license"], fields.get("license_name")
    items = value.value if isinstance(value, yaml.SequenceNode) else [value]
    if not all(isinstance(each, yaml.ScalarNode) for each in items):
        raise _malformed(where, "`license` is neither a text nor a list of texts")
    other = name.value if isinstance(name, yaml.ScalarNode) else ""
    mapped = [_named(each.value, other) for each in items]
    line = value.start_mark.line + 2
    if not mapped or not all(mapped):
        return "", ", ".join(each.value for each in items), line
    return join(mapped), "", line


def read_header(file: IO[bytes], where: str) -> dict[str, Any]:
    """Returns the metadata of a safetensors file.

    Raises:
        Rejected: `licence-malformed`: the header cannot be read.
    """
    begin = file.read(8)
    size = struct.unpack("<Q", begin)[0] if len(begin) == 8 else MOST_HEADER + 1
    if size > MOST_HEADER:
        raise _malformed(where, "it is no safetensors file: its header has no possible length")
    try:
        header: Any = strict.parse(file.read(size), f"header of {where}")
    except Refused as error:
        raise _malformed(where, str(error)) from None
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict):
        raise _malformed(where, "its header holds no metadata of the right form")
    return metadata


def _distributions(path: list[str] | None) -> Iterator[Declared]:
    seen: set[str] = set()
    found = importlib.metadata.distributions() if path is None else importlib.metadata.distributions(path=path)
    for each in found:
        metadata = each.metadata
        name = re.sub(r"[-_.]+", "-", _field(metadata, "Name") or "?").lower()
        if name in seen:
            continue
        seen.add(name)
        expression, said = of_metadata(
            _field(metadata, "License-Expression"), _field(metadata, "License"),
            metadata.get_all("Classifier") or [],
        )  # fmt: skip
        where = str(getattr(each, "_path", name))
        yield Declared(name, _field(metadata, "Version"), where, 0, expression, said)


def _field(metadata: importlib.metadata.PackageMetadata, name: str) -> str:
    return str((metadata.get_all(name) or [""])[0])


def _model(path: Path) -> Declared:
    files = sorted(_model_files(path)) if path.is_dir() else [path]
    if not files:
        raise Rejected("licences-none", f"{path} holds neither distributions nor a model with a card", str(path))
    found: list[str] = []
    said: list[str] = []
    place: tuple[str, int] | None = None
    for file in files:
        try:
            with open_regular(file) as opened:
                if file.suffix == ".safetensors":
                    value = str(read_header(opened, str(file)).get("license", ""))
                    expression, line = _named(value), 0
                    words = "" if expression else value
                else:
                    data = opened.read(MOST_CARD + 1)
                    if len(data) > MOST_CARD:
                        raise _malformed(str(file), f"it has more than {MOST_CARD} bytes")
                    expression, words, line = read_card(data.decode(), str(file))
        except Rejected:
            raise
        except (OSError, UnicodeDecodeError, ClearanceError) as error:
            raise _malformed(str(file), str(error)) from None
        if expression or words:
            place = place or (str(file), line)
            found.append(expression)
            said += [words] if words else []
    where, line = place or (str(path), 0)
    expression = "" if said else join(found)
    return Declared(path.name, "", where, line, expression, ", ".join(said))


def _named(id: str, name: str = "") -> str:
    """Returns the expression for a licence id: a hub's, one of SPDX, or a reference to another."""
    if id.lower() not in HUB:
        tree, unknown = parse(id)
        if tree is not None and not unknown:
            return id
    return spdx_of(id, name)


def _model_files(path: Path) -> Iterator[Path]:
    yield from (file for file in path.iterdir() if file.name.lower() == "readme.md")
    yield from path.rglob("*.safetensors")


def _approved(classifiers: Iterable[str]) -> Iterator[str]:
    """Yields the last part of each classifier of a licence; `OSI Approved` alone says nothing."""
    for each in classifiers:
        parts = each.split(" :: ")
        if parts[0] == "License" and parts[-1] not in ("License", "OSI Approved"):
            yield parts[-1]


def _malformed(where: str, reason: str) -> Rejected:
    return Rejected("licence-malformed", f"{where}: {reason}", where)
