"""Cards: what a task shows to people, beside or in place of data: Markdown, HTML, an image.

A task returns one, a list of them, or a matplotlib figure; or it calls `context.card(…)` beside what it returns.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clearance.errors import UsageError

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Markdown:
    """A text in Markdown (CommonMark and tables); HTML in it is shown as it is written.

    Raises:
        UsageError: no text.
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise UsageError(f"Markdown({type(self.text).__name__}): give it a text")


@dataclass(frozen=True)
class HTML:
    """A piece of HTML. It is kept as it is and trusted by nobody: where it is shown, nothing in it runs or is fetched.

    Raises:
        UsageError: no text.
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise UsageError(f"HTML({type(self.text).__name__}): give it a text")


@dataclass(frozen=True)
class Image:
    """A picture: the bytes of a PNG.

    Raises:
        UsageError: other bytes.
    """

    data: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.data, bytes) or not self.data.startswith(PNG) or len(self.data) < 33:
            raise UsageError("Image(…) takes the bytes of a PNG")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return int.from_bytes(self.data[16:20], "big"), int.from_bytes(self.data[20:24], "big")


Card = Markdown | HTML | Image
