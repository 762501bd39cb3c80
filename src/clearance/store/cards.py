"""Cards as bytes: a small JSON document that says its kind; a matplotlib figure becomes a PNG."""

from __future__ import annotations

import io
from typing import Any

import msgspec

from clearance.errors import Corrupt, NotSerialisable, UsageError
from clearance.types.card import HTML, Card, Image, Markdown

LIMIT = 16 << 20
DOTS_PER_INCH = 144


class _Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    kind: str
    text: str = ""
    png: bytes = b""


def dump(value: Any) -> tuple[bytes, dict[str, Any]]:
    """Returns the bytes of a card or figure, and what is said of it: its kind, and that HTML is not trusted.

    Raises:
        NotSerialisable: it is larger than `LIMIT` bytes.
    """
    card = value if isinstance(value, Markdown | HTML | Image) else _drawn(value)
    if isinstance(card, Image):
        kind, size, stored = "image", len(card.data), _Card("image", png=card.data)
    else:
        kind = "markdown" if isinstance(card, Markdown) else "html"
        size, stored = len(card.text.encode("utf-8", "surrogatepass")), _Card(kind, card.text)
    if size > LIMIT:
        raise NotSerialisable(f"a card of {size:,} bytes, at most {LIMIT:,}: return a File, or draw less")
    try:
        data = msgspec.json.encode(stored)
    except (UnicodeEncodeError, ValueError) as error:
        raise NotSerialisable(f"the text of a card is no Unicode: {error}") from None
    return data, {"card": kind, "trusted": False} if kind == "html" else {"card": kind}


def load(data: bytes) -> Card:
    """Reads what `dump` wrote.

    Raises:
        Corrupt: it is no card.
    """
    try:
        found = msgspec.json.decode(data, type=_Card)
        if found.kind == "image":
            return Image(found.png)
        kinds: dict[str, type[Markdown] | type[HTML]] = {"markdown": Markdown, "html": HTML}
        return kinds[found.kind](found.text)
    except (msgspec.MsgspecError, KeyError, UsageError) as error:
        raise Corrupt(f"stored bytes are no card: {error}; clear the task that made them") from None


def _drawn(figure: Any) -> Image:
    """Draws a matplotlib figure; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return Image(buffer.getvalue())
