"""A mail over SMTP: TLS from the start, or STARTTLS before anything is said; in the clear on this machine alone."""

from __future__ import annotations

import smtplib
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

from clearance.run.telemetry.notice import Notice
from clearance.run.telemetry.transport.post import Undelivered
from clearance.types.secret import Secret
from clearance.types.sink import Mail

_PORTS = {"tls": 465, "starttls": 587, "none": 25}


def send(sink: Mail, notice: Notice, now: float) -> None:
    """Sends a notice to every address.

    Raises:
        Undelivered: the server did not take it.
        UsageError: the password is missing.
    """
    password = Secret.parse(sink.password).reveal() if sink.password else ""
    try:
        context = ssl.create_default_context(cafile=sink.authority or None)
        port = sink.port or _PORTS[sink.security]
        if sink.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(sink.host, port, timeout=sink.timeout, context=context)
        else:
            server = smtplib.SMTP(sink.host, port, timeout=sink.timeout)
        with server:
            if sink.security == "starttls":
                server.starttls(context=context)
            if sink.user:
                server.login(sink.user, password)
            refused = server.send_message(message(sink, notice, now))
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise Undelivered(f"{sink.host}: {type(error).__name__}: {error}") from None
    if refused:
        raise Undelivered(f"{sink.host} refuses {', '.join(sorted(refused))}")


def message(sink: Mail, notice: Notice, now: float) -> EmailMessage:
    """Returns the mail; the same notice has the same Message-ID each time."""
    mail = EmailMessage()
    mail["From"], mail["To"] = sink.sender, ", ".join(sink.to)
    mail["Subject"] = f"[clearance] {' '.join(notice.title.split())}"
    mail["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    mail["Message-ID"] = f"<{notice.id}@{sink.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    lines = [notice.title, "", *(f"{name}: {value}" for name, value in notice.fields)]
    if notice.detail:
        lines += ["", notice.detail]
    if notice.next:
        lines += ["", notice.next]
    mail.set_content("\n".join(lines) + "\n")
    return mail
