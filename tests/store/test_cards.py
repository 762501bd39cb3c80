"""Cards as bytes and back: Markdown, HTML, images, figures; alone and in lists."""

from __future__ import annotations

from typing import Any

import pytest

from clearance.errors import Corrupt, NotSerialisable, UsageError
from clearance.store import cards
from clearance.store.blobs import open_blobs
from clearance.store.serializers import dump, load, reachable
from clearance.types.card import HTML, PNG, Image, Markdown


@pytest.fixture
def figure():
    matplotlib_figure = pytest.importorskip("matplotlib.figure")
    made = matplotlib_figure.Figure(figsize=(2, 1))
    made.subplots().plot([1, 3, 2])
    return made


@pytest.mark.parametrize("card", [Markdown("# *é*"), HTML("<b>x</b>"), Markdown("x" * 10_000)])
def test_a_card_comes_back_as_it_was(card, tmp_path):
    blobs = open_blobs(str(tmp_path / "blobs"))
    artifact = dump(card, type(card), blobs, tmp_path)
    assert artifact.serializer == "card"
    assert load(artifact, Any, blobs, tmp_path) == card
    assert load(artifact, type(card), blobs, tmp_path) == card
    assert bool(reachable(artifact, blobs)) == (artifact.inline is None)


def test_html_is_marked_as_not_trusted(tmp_path):
    blobs = open_blobs(str(tmp_path / "blobs"))
    assert dump(HTML("<b>"), Any, blobs, tmp_path).metadata == {"card": "html", "trusted": False}


def test_a_figure_becomes_a_png_and_the_same_figure_the_same_bytes(figure, tmp_path):
    blobs = open_blobs(str(tmp_path / "blobs"))
    first, second = (dump(figure, type(figure), blobs, tmp_path) for _ in range(2))
    assert first.digest == second.digest
    image = load(first, Any, blobs, tmp_path)
    assert (image.data[:8], image.size) == (PNG, (288, 144))
    with pytest.raises(NotSerialisable, match=r"arrives as clearance\.Image"):
        load(first, type(figure), blobs, tmp_path)


def test_a_list_holds_cards(figure, tmp_path):
    blobs = open_blobs(str(tmp_path / "blobs"))
    artifact = dump([Markdown("a"), figure, 3], list, blobs, tmp_path)
    text, image, number = load(artifact, Any, blobs, tmp_path)
    assert (text, type(image), number) == (Markdown("a"), Image, 3)


def test_what_is_too_large_or_no_card_is_refused(tmp_path):
    with pytest.raises(NotSerialisable, match="at most"):
        cards.dump(Markdown("x" * (cards.LIMIT + 1)))
    with pytest.raises(NotSerialisable, match="no Unicode"):
        cards.dump(Markdown("\ud800"))
    for data in (b"{}", b'{"kind":"x"}', b'{"kind":"image","png":"AAAA"}', b"["):
        with pytest.raises(Corrupt):
            cards.load(data)
    with pytest.raises(UsageError, match="PNG"):
        Image(b"GIF89a")
    with pytest.raises(UsageError, match="a text"):
        Markdown(3)  # type: ignore[arg-type]
