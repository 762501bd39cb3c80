"""A message in Slack's Block Kit, to an incoming webhook.

Limits of Slack: 150 characters of a header, 2,000 of a field, 3,000 of a text; `&`, `<` and `>` are escaped.
"""

from __future__ import annotations

from typing import Any

import msgspec

from clearance.run.telemetry.notice import Notice
from clearance.run.telemetry.transport.post import post
from clearance.types.secret import Secret
from clearance.types.sink import Slack


def send(sink: Slack, notice: Notice) -> None:
    """Posts a notice.

    Raises:
        Undelivered: it was not taken.
        UsageError: the URL's secret is missing.
    """
    headers = {"Content-Type": "application/json", "User-Agent": "clearance", "Idempotency-Key": notice.id}
    post(Secret.parse(sink.url).reveal(), msgspec.json.encode(message(notice)), headers, sink.timeout, sink.authority)


def message(notice: Notice) -> dict[str, Any]:
    """Returns the body."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _cut(notice.title, 150)}},
        {
            "type": "section",
            "fields": [
                {"type": "mrkdwn", "text": f"*{name}*\n{_escaped(_cut(value, 1500))}"}
                for name, value in notice.fields[:10]
            ],
        },
    ]
    if notice.detail:
        text = _escaped(_cut(notice.detail, 1200).replace("```", "'''"))
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": f"```{text}```"}})
    if notice.next:
        text = _escaped(_cut(notice.next, 600))
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": f"`{text}`"}]})
    return {"text": _escaped(notice.title), "blocks": blocks}


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
