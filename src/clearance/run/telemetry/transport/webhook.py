"""A webhook as Standard Webhooks 1.0.0 describes it: JSON, an id, a time, and a signature over all three.

Source: the specification at standardwebhooks.com: `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over
`ID.TIMESTAMP.BODY`; a key that begins with `whsec_` is base64, any other is taken as it is.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

import msgspec

from clearance.errors import UsageError
from clearance.run.telemetry.notice import Notice
from clearance.run.telemetry.transport.post import post
from clearance.types.secret import Secret
from clearance.types.sink import Webhook


def send(sink: Webhook, notice: Notice, now: float) -> None:
    """Posts a notice.

    Raises:
        Undelivered: it was not taken.
        UsageError: a secret is missing.
    """
    body = msgspec.json.encode({"type": notice.type, "timestamp": notice.time, "data": notice.data})
    stamp = str(int(now))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "clearance",
        "Idempotency-Key": notice.id,
        "webhook-id": notice.id,
        "webhook-timestamp": stamp,
    }
    if sink.secret:
        headers["webhook-signature"] = sign(Secret.parse(sink.secret).reveal(), notice.id, stamp, body)
    if sink.token:
        headers["Authorization"] = f"Bearer {Secret.parse(sink.token).reveal()}"
    post(sink.url, body, headers, sink.timeout, sink.authority)


def sign(secret: str, id: str, stamp: str, body: bytes) -> str:
    """Returns the signature of a message.

    Raises:
        UsageError: the key begins with `whsec_` and is no base64.
    """
    key = secret.encode()
    if secret.startswith("whsec_"):
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            raise UsageError("the key of the signature begins with whsec_ and is no base64: copy it again") from None
    mac = hmac.new(key, f"{id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(mac).decode()}"
