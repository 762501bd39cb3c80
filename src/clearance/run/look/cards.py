"""Cards on a page: one HTML file that needs nothing else and in which nothing runs.

Rules:

1. A content security policy forbids scripts, frames from elsewhere, forms and every fetch; pictures are in the page.
2. HTML of a card stands in a sandboxed frame of its own; Markdown is rendered with its HTML escaped, and links to
   `javascript:` and the like are no links.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Sequence

from clearance.store import serializers
from clearance.store.blobs import Blobs
from clearance.types.artifact import Artifact
from clearance.types.card import HTML, Card, Image, Markdown

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "script-src 'none'; object-src 'none'"
)
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1.25rem; }
header { border-bottom: 1px solid #8884; margin-bottom: 1.5rem; }
header h1 { font-size: 1.15rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
header p { color: #777; font: 12px/1.4 ui-monospace, monospace; margin: 0 0 .75rem; overflow-wrap: anywhere; }
section { margin: 0 0 2rem; overflow-x: auto; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
iframe { box-sizing: border-box; width: 100%; height: 30rem; resize: vertical; background: #fff; }
iframe { border: 1px solid #8884; border-radius: 4px; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid #8884; padding: .3rem .8rem .3rem 0; text-align: left; }
pre { background: #8881; padding: .75rem; border-radius: 4px; overflow-x: auto; } code { font-size: .92em; }
"""


def cards_of(artifact: Artifact, blobs: Blobs) -> list[Card]:
    """Returns the cards that a task returned, and those that it showed beside its result."""
    return list(_returned(artifact, blobs)) + [serializers.load_card(card, blobs) for card in artifact.cards]


def _returned(artifact: Artifact, blobs: Blobs) -> Iterator[Card]:
    if artifact.serializer == "card":
        yield serializers.load_card(artifact, blobs)
    elif artifact.serializer == "composite":
        for member in serializers.members(artifact, blobs):
            if member is not None:
                yield from _returned(member, blobs)


def page(title: str, below: str, cards: Sequence[Card]) -> str:
    """Returns the page.

    Args:
        title: heading.
        below: a line under it.
        cards: in order.
    """
    body = "\n".join(f"<section>\n{_section(card)}\n</section>" for card in cards)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="referrer" content="no-referrer">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{html.escape(title)}</h1><p>{html.escape(below)}</p></header>\n{body}\n</body>\n</html>\n"
    )


def text_of(card: Card) -> str:
    """Returns a card as a terminal shows it, without what could steer the terminal."""
    if isinstance(card, Markdown):
        return "".join(letter for letter in card.text if letter.isprintable() or letter in "\n\t")
    if isinstance(card, Image):
        width, height = card.size
        return f"image, {width} x {height} pixels, {len(card.data):,} bytes: --open shows it"
    return f"HTML, {len(card.text.encode()):,} bytes, not trusted: --open shows it, with no scripts"


def _section(card: Card) -> str:
    if isinstance(card, Markdown):
        from markdown_it import MarkdownIt

        rendered: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(card.text)
        return rendered
    if isinstance(card, HTML):
        return f'<iframe sandbox="" title="HTML of the task" srcdoc="{html.escape(card.text)}"></iframe>'
    width, height = card.size
    data = base64.b64encode(card.data).decode()
    return f'<img alt="image" width="{width}" height="{height}" src="data:image/png;base64,{data}">'
