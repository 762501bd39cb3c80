"""What the licence ids of model hubs stand for: an SPDX expression where there is one, and the conditions that it sets.

Source: https://huggingface.co/docs/hub/repositories-licenses, and the licences themselves. An id that only names a
family (`bsd`, `cc`, `gpl`) says too little: it becomes a `LicenseRef` of its own, which is allowed only by name.
"""

from __future__ import annotations

import re

import msgspec

_USE = "forbids listed uses, and so must whatever is passed on"
_NO_COMMERCE = "no commercial use"
_NO_CHANGE = "no changed copy may be passed on"
_ALIKE = "what is derived must have the same licence"
_LLAMA = "above 700 million monthly users a licence of Meta is needed; acceptable use policy; attribution"
_FAMILY = "a family: which licence is meant is not said"


class HubLicence(msgspec.Struct, frozen=True):
    """An id of a hub.

    Attributes:
        id: as it stands in a model card.
        spdx: an SPDX id, or `LicenseRef-…`.
        conditions: what it asks that a permissive licence does not.
    """

    id: str
    spdx: str
    conditions: tuple[str, ...] = ()


# ids that are those of SPDX in lower case
_SAME = (
    "Apache-2.0", "MIT", "AFL-3.0", "Artistic-2.0", "BSL-1.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear",
    "C-UDA-1.0", "CC0-1.0", "CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0", "CC-BY-4.0", "CDLA-Permissive-1.0",
    "CDLA-Permissive-2.0", "WTFPL", "ECL-2.0", "etalab-2.0", "ISC", "LPPL-1.3c", "MS-PL", "PostgreSQL", "OFL-1.1",
    "NCSA", "Unlicense", "Zlib",
)  # fmt: skip
_OTHER = (
    HubLicence("c-uda", "C-UDA-1.0"),
    HubLicence("odc-by", "ODC-By-1.0"),
    HubLicence("pddl", "PDDL-1.0"),
    HubLicence("odbl", "ODbL-1.0", (_ALIKE,)),
    HubLicence("mpl-2.0", "MPL-2.0", ("changed files keep the licence",)),
    HubLicence("epl-1.0", "EPL-1.0", (_ALIKE,)),
    HubLicence("epl-2.0", "EPL-2.0", (_ALIKE,)),
    HubLicence("eupl-1.1", "EUPL-1.1", (_ALIKE,)),
    HubLicence("eupl-1.2", "EUPL-1.2", (_ALIKE,)),
    HubLicence("osl-3.0", "OSL-3.0", (_ALIKE,)),
    HubLicence("agpl-3.0", "AGPL-3.0-only", (_ALIKE, "serving it counts as passing it on")),
    HubLicence("gpl-2.0", "GPL-2.0-only", (_ALIKE,)),
    HubLicence("gpl-3.0", "GPL-3.0-only", (_ALIKE,)),
    HubLicence("lgpl-2.1", "LGPL-2.1-only", (_ALIKE,)),
    HubLicence("lgpl-3.0", "LGPL-3.0-only", (_ALIKE,)),
    HubLicence("lgpl-lr", "LGPLLR", (_ALIKE,)),
    HubLicence("cc-by-sa-3.0", "CC-BY-SA-3.0", (_ALIKE,)),
    HubLicence("cc-by-sa-4.0", "CC-BY-SA-4.0", (_ALIKE,)),
    HubLicence("cc-by-nc-2.0", "CC-BY-NC-2.0", (_NO_COMMERCE,)),
    HubLicence("cc-by-nc-3.0", "CC-BY-NC-3.0", (_NO_COMMERCE,)),
    HubLicence("cc-by-nc-4.0", "CC-BY-NC-4.0", (_NO_COMMERCE,)),
    HubLicence("cc-by-nd-4.0", "CC-BY-ND-4.0", (_NO_CHANGE,)),
    HubLicence("cc-by-nc-nd-3.0", "CC-BY-NC-ND-3.0", (_NO_COMMERCE, _NO_CHANGE)),
    HubLicence("cc-by-nc-nd-4.0", "CC-BY-NC-ND-4.0", (_NO_COMMERCE, _NO_CHANGE)),
    HubLicence("cc-by-nc-sa-2.0", "CC-BY-NC-SA-2.0", (_NO_COMMERCE, _ALIKE)),
    HubLicence("cc-by-nc-sa-3.0", "CC-BY-NC-SA-3.0", (_NO_COMMERCE, _ALIKE)),
    HubLicence("cc-by-nc-sa-4.0", "CC-BY-NC-SA-4.0", (_NO_COMMERCE, _ALIKE)),
    HubLicence("cdla-sharing-1.0", "CDLA-Sharing-1.0", (_ALIKE,)),
    HubLicence("openrail", "LicenseRef-openrail", (_FAMILY, _USE)),
    HubLicence("openrail++", "LicenseRef-openrail-plus-plus", (_USE,)),
    HubLicence("bigscience-openrail-m", "LicenseRef-bigscience-openrail-m", (_USE,)),
    HubLicence("creativeml-openrail-m", "LicenseRef-creativeml-openrail-m", (_USE,)),
    HubLicence("bigscience-bloom-rail-1.0", "LicenseRef-bigscience-bloom-rail-1.0", (_USE,)),
    HubLicence("bigcode-openrail-m", "LicenseRef-bigcode-openrail-m", (_USE,)),
    HubLicence("deepfloyd-if-license", "LicenseRef-deepfloyd-if-license", ("research only", _NO_COMMERCE, _USE)),
    HubLicence("intel-research", "LicenseRef-intel-research", ("research only", _NO_COMMERCE)),
    HubLicence("apple-amlr", "LicenseRef-apple-amlr", ("research only", _NO_COMMERCE)),
    HubLicence("apple-ascl", "LicenseRef-apple-ascl", ("Apple's sample code licence: no patent grant",)),
    HubLicence(
        "fair-noncommercial-research-license", "LicenseRef-fair-noncommercial-research-license",
        ("research only", _NO_COMMERCE),
    ),
    HubLicence("llama2", "LicenseRef-llama2", (_LLAMA, "outputs may not improve other language models")),
    HubLicence(
        "llama3", "LicenseRef-llama3",
        (_LLAMA, "outputs may not improve other language models", "names of derived models begin with Llama 3"),
    ),
    HubLicence("llama3.1", "LicenseRef-llama3.1", (_LLAMA, "names of derived models begin with Llama")),
    HubLicence("llama3.2", "LicenseRef-llama3.2", (_LLAMA, "names of derived models begin with Llama")),
    HubLicence("llama3.3", "LicenseRef-llama3.3", (_LLAMA, "names of derived models begin with Llama")),
    HubLicence("llama4", "LicenseRef-llama4", (_LLAMA, "names of derived models begin with Llama")),
    HubLicence("gemma", "LicenseRef-gemma", (_USE, "Google may restrict use")),
    HubLicence("bsd", "LicenseRef-bsd-family", (_FAMILY,)),
    HubLicence("cc", "LicenseRef-cc-family", (_FAMILY,)),
    HubLicence("gpl", "LicenseRef-gpl-family", (_FAMILY, _ALIKE)),
    HubLicence("lgpl", "LicenseRef-lgpl-family", (_FAMILY, _ALIKE)),
    HubLicence("gfdl", "LicenseRef-gfdl-family", (_FAMILY, _ALIKE)),
)  # fmt: skip

HUB: dict[str, HubLicence] = {
    **{name.lower(): HubLicence(name.lower(), name) for name in _SAME},
    **{each.id: each for each in _OTHER},
}
CONDITIONS: dict[str, tuple[str, ...]] = {each.spdx: each.conditions for each in HUB.values() if each.conditions}
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")


def spdx_of(id: str, name: str = "") -> str:
    """Returns the SPDX expression for what a model card says; empty where it says nothing.

    Args:
        id: the field `license`.
        name: the field `license_name`, which counts where the id is `other`.
    """
    id = id.strip().lower()
    if id == "other" and name.strip():
        id = name.strip().lower()
        return HUB[id].spdx if id in HUB else reference(id)
    if id in ("", "unknown", "other", "none"):
        return ""
    return HUB[id].spdx if id in HUB else reference(id)


def reference(name: str) -> str:
    """Returns `LicenseRef-…` for a name that SPDX does not know."""
    text = _UNSAFE.sub("-", name).strip("-")
    return f"LicenseRef-{text}" if text else ""
