"""Ways to tell: a webhook, Alertmanager, a chat that takes Slack's webhooks, e-mail, OTLP logs."""

import asyncio
import os
import smtplib
import time
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from telemetry.conventions import SERVICE_NAME
from telemetry.notify.errors import NotNowError, RefusedForGoodError
from telemetry.notify.http import TIMEOUT_S, Address
from telemetry.notify.notification import Notification

KEPT_OPEN_S = 60.0
"""How often Alertmanager is told again that an alert goes on; after five times that without a word it ends one."""


class Channel(Protocol):
    """One way to tell."""

    @property
    def name(self) -> str:
        """What logs and metrics call it."""
        ...

    @property
    def again_s(self) -> float | None:
        """Seconds after which what is open is told again; None is never."""
        ...

    async def send(self, notification: Notification) -> None:
        """Tell, once.

        Raises:
            NotNowError: it may be taken later.
            RefusedForGoodError: it will never be.
        """
        ...


class _Named(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(min_length=1, max_length=60)
    """What logs and metrics call this channel; each name once."""
    again_s: float | None = Field(default=None, ge=60)
    """Seconds after which an incident that is still open, and that nobody has acknowledged, is told again."""


class Webhook(Address, _Named):
    """POSTs the notification as JSON; `Idempotency-Key` is the same each time it is sent."""

    kind: Literal["webhook"]
    """Which channel this is."""

    async def send(self, notification: Notification) -> None:
        """See `Channel`."""
        key = f"{notification.incident}/{notification.state}"
        await self.post(notification.document(), headers={"idempotency-key": key})


class Alertmanager(Address, _Named):
    """Posts alerts to Prometheus' Alertmanager (API v2), whose own routes then decide."""

    kind: Literal["alertmanager"]
    """Which channel this is."""
    again_s: float | None = KEPT_OPEN_S
    """As of every channel; Alertmanager needs it, since it ends what it hears nothing of."""

    async def send(self, notification: Notification) -> None:
        """See `Channel`."""
        open_until_s = time.time() + 5 * KEPT_OPEN_S
        alert = {
            "labels": {
                "alertname": "TrimtabIncident",
                "incident": notification.incident,
                "service": notification.service,
                "severity": notification.severity,
            },
            "annotations": {
                "summary": notification.title,
                "description": "\n".join(notification.lines()),
                "runbook_url": notification.runbook,
            },
            "startsAt": _rfc3339(notification.started_s),
            "endsAt": _rfc3339(notification.ended_s or open_until_s),
            **({"generatorURL": notification.link} if notification.link else {}),
        }
        await self.post([alert], path="/api/v2/alerts")


class Slack(Address, _Named):
    """Posts to a chat that takes Slack's incoming webhooks, such as Slack, Mattermost or Rocket.Chat."""

    kind: Literal["slack"]
    """Which channel this is."""

    async def send(self, notification: Notification) -> None:
        """See `Channel`."""
        text = "\n".join([f"*{_escaped(notification.headline)}*", *map(_escaped, notification.lines()[1:])])
        await self.post({"text": text})


class Email(_Named):
    """Sends e-mail by SMTP, encrypted unless `tls` says otherwise."""

    kind: Literal["email"]
    """Which channel this is."""
    host: str
    """The mail server."""
    port: int = Field(default=587, ge=1, le=65535)
    """Its port: 587 for `starttls`, 465 for `implicit`, 25 for a relay."""
    sender: str
    """Whom the e-mail is from."""
    to: list[str] = Field(min_length=1)
    """Whom it goes to."""
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    """`none` sends in the clear: for a relay on this host."""
    user: str | None = None
    """Whom the server knows; nobody logs in where it is left out."""
    password_env: str | None = None
    """Environment variable that holds the password of `user`."""

    async def send(self, notification: Notification) -> None:
        """See `Channel`."""
        await asyncio.to_thread(self._send, notification)

    def _send(self, notification: Notification) -> None:
        message = EmailMessage()
        message["From"], message["To"] = self.sender, ", ".join(self.to)
        message["Subject"] = " ".join(notification.headline.split())[:200]
        message["Message-ID"] = f"<{notification.incident}-{notification.state}@trimtab>"
        message["Date"] = datetime.now(UTC)
        message.set_content("\n\n".join(notification.lines()))
        connect = smtplib.SMTP_SSL if self.tls == "implicit" else smtplib.SMTP
        try:
            with connect(self.host, self.port, timeout=TIMEOUT_S) as server:
                if self.tls == "starttls":
                    server.starttls()
                if self.user and self.password_env:
                    server.login(self.user, os.environ[self.password_env])
                server.send_message(message)
        except smtplib.SMTPResponseException as error:
            text = f"answered {error.smtp_code} {error.smtp_error!r}"
            raise (RefusedForGoodError if error.smtp_code >= 500 else NotNowError)(text) from error
        except (OSError, smtplib.SMTPException) as error:
            raise NotNowError(f"no answer: {error}") from error


class OtlpLogs(Address, _Named):
    """Sends a log record by OTLP/HTTP, JSON, to `url` and `/v1/logs`."""

    kind: Literal["otlp_logs"]
    """Which channel this is."""

    async def send(self, notification: Notification) -> None:
        """See `Channel`."""
        severe = notification.state == "open"
        record = {
            "timeUnixNano": str(int((notification.ended_s or notification.started_s) * 1e9)),
            "severityNumber": 17 if severe else 9,
            "severityText": "ERROR" if severe else "INFO",
            "body": {"stringValue": notification.headline},
            "eventName": "trimtab.incident",
            "attributes": [
                _attribute(f"trimtab.incident.{name}", str(value))
                for name, value in notification.document().items()
                if value not in (None, "")
            ],
        }
        resource = {"attributes": [_attribute(SERVICE_NAME, notification.service)]}
        scopes = [{"scope": {"name": "trimtab.incidents"}, "logRecords": [record]}]
        await self.post({"resourceLogs": [{"resource": resource, "scopeLogs": scopes}]}, path="/v1/logs")


AnyChannel = Annotated[Webhook | Alertmanager | Slack | Email | OtlpLogs, Field(discriminator="kind")]


def _attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def _escaped(text: str) -> str:
    """Without what Slack takes for links and mentions."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _rfc3339(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds")
