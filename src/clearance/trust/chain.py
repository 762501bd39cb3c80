"""The chain of an artifact back to its sources: by its signed provenance, that of its inputs, and so on.

What cannot be verified ends the chain there, and says why. The chain is a graph: an input that two artifacts share is
one node. Cycles cannot be honest (a digest would contain itself), and are refused like any other forgery.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from clearance.errors import Refused
from clearance.trust import evidence
from clearance.trust.evidence import Entitlements
from clearance.trust.provenance import Provenance
from clearance.trust.refusal import code_of
from clearance.types.digest import Digest

SOURCES = ("bundle", "dag", "environment")


class Link(msgspec.Struct, frozen=True):
    """One artifact or source on the way.

    Attributes:
        digest: of its bytes.
        name: `dag/task` for what a task made; `bundle`, `environment` … for a source.
        depth: how many steps away from what was asked for.
        used_as: input names under which others used it; empty for what was asked for.
        made_by: builder id of its provenance; empty for a source or where there is none that holds.
        attested: names of kinds of which there is an attestation that holds.
        refused: code and reason of those that do not.
        inputs: digests that it was made of.
    """

    digest: Digest
    name: str
    depth: int
    used_as: tuple[str, ...] = ()
    made_by: str = ""
    attested: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    inputs: tuple[Digest, ...] = ()

    @property
    def is_source(self) -> bool:
        """True for what no task made: the chain ends here as it should."""
        return self.name in SOURCES


def walk(
    digest: Digest,
    envelopes: Callable[[Digest], Sequence[bytes]],
    entitled: Entitlements,
    limit: int = 1000,
) -> list[Link]:
    """Returns what an artifact was made of, nearest first, itself at the head.

    Args:
        digest: of the artifact.
        envelopes: returns every attestation that is stored for a digest.
        entitled: who may say what.
        limit: at most so many links.
    """
    found: dict[Digest, Link] = {}
    names: dict[Digest, dict[str, None]] = {digest: {}}
    waiting: deque[tuple[Digest, int]] = deque([(digest, 0)])
    while waiting and len(found) < limit:
        at, depth = waiting.popleft()
        if at in found:
            continue
        used = tuple(names[at])
        if used and not used[0].startswith("input:"):
            found[at] = Link(at, used[0], depth, used)
            continue
        link, dependencies = _link(at, depth, envelopes(at), entitled)
        found[at] = link
        for name, other in dependencies:
            names.setdefault(other, {})[name] = None
            if other not in found:
                waiting.append((other, depth + 1))
    return [
        msgspec.structs.replace(link, used_as=tuple(name.removeprefix("input:") for name in names[link.digest]))
        for link in found.values()
    ]


def _link(
    digest: Digest, depth: int, envelopes: Sequence[bytes], entitled: Entitlements
) -> tuple[Link, list[tuple[str, Digest]]]:
    made: Provenance | None = None
    name = ""
    attested: dict[str, None] = {}
    refused: list[tuple[str, str]] = []
    for envelope in envelopes:
        try:
            said = evidence.verify(envelope, digest, entitled)
        except Refused as error:
            refused.append((code_of(error), str(error)))
            continue
        attested[said.kind.name] = None
        if isinstance(said.predicate, Provenance):
            made, name = said.predicate, said.subjects[0].name
    if made is None:
        return Link(digest, "", depth, (), "", tuple(attested), tuple(refused)), []
    dependencies = [
        (each.name, Digest("sha256:" + each.digest.get("sha256", "")))
        for each in made.buildDefinition.resolvedDependencies
    ]
    inputs = tuple(other for _, other in dependencies)
    builder = made.runDetails.builder.id
    return Link(digest, name, depth, (), builder, tuple(attested), tuple(refused), inputs), dependencies


def draw(links: Sequence[Link]) -> str:
    """Returns the chain as SVG: what was asked for on the right, what it was made of to its left."""
    from html import escape

    width, height, gap_x, gap_y = 230, 46, 60, 18
    last = max(link.depth for link in links)
    rows: dict[int, int] = {}
    at: dict[Digest, tuple[int, int]] = {}
    for link in links:
        row = rows[link.depth] = rows.get(link.depth, -1) + 1
        at[link.digest] = (20 + (last - link.depth) * (width + gap_x), 20 + row * (height + gap_y))
    whole = (40 + (last + 1) * (width + gap_x) - gap_x, 40 + (max(rows.values()) + 1) * (height + gap_y) - gap_y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole[0]}" height="{whole[1]}" font-family="sans-serif">'
        '<defs><marker id="a" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0L8,4L0,8z" fill="#667"/></marker></defs><rect width="100%" height="100%" fill="white"/>'
    ]
    for link in links:
        x, y = at[link.digest]
        for other in link.inputs:
            if other in at:
                begin, middle = (at[other][0] + width, at[other][1] + height // 2), y + height // 2
                curve = f"M{begin[0]},{begin[1]}C{begin[0] + 30},{begin[1]} {x - 30},{middle} {x},{middle}"
                parts.append(f'<path d="{curve}" fill="none" stroke="#667" marker-end="url(#a)"/>')
    for link in links:
        x, y = at[link.digest]
        fill = "#eef3ff" if link.is_source else "#e7f6ea" if link.made_by else "#fdeaea"
        name = link.name or "no provenance that holds"
        parts.append(
            f'<g><title>{escape(link.digest)}</title><rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6"'
            f' fill="{fill}" stroke="#667"/><text x="{x + 10}" y="{y + 19}" font-size="13">{escape(name[:32])}</text>'
            f'<text x="{x + 10}" y="{y + 36}" font-size="10" fill="#445">{escape(link.digest[:19])}'
            f"{escape(' · ' + ', '.join(link.used_as)[:24] if link.used_as else '')}</text></g>"
        )
    return "\n".join([*parts, "</svg>\n"])
