"""webhook: the whole incident as JSON to any URL. The body is described in docs/alerts.md."""

import hmac
from datetime import datetime
from typing import Any

import msgspec

from deepmoat.alert.channel import Channel, ChannelSettings, Message, Post, headline, text
from deepmoat.kit.errors import ConfigError

VERSION = 1


class WebhookSettings(ChannelSettings, frozen=True, kw_only=True):
    """``url`` gets the POST, with ``headers`` added (such as Authorization).

    With a ``secret``, ``X-Deepmoat-Signature: sha256=<hex>`` is the HMAC-SHA256 of the body.
    """

    url: str
    headers: dict[str, str] = {}
    secret: str = ""


class Webhook(Channel):
    """One JSON object a notice, for ticket systems, chat bridges and programs of the user's own."""

    SETTINGS = WebhookSettings
    settings: WebhookSettings

    def __init__(self, settings: WebhookSettings) -> None:
        """Raises ConfigError where ``url`` is not one of HTTP."""
        super().__init__(settings)
        if not settings.url.startswith(("http://", "https://")):
            raise ConfigError("webhook: url must begin with http:// or https://")

    def call(self, message: Message, now: datetime) -> Post:
        """The POST; its body is ``body(message, now)``."""
        data = msgspec.json.encode(body(message, now))
        headers = {"Content-Type": "application/json", "User-Agent": "deepmoat"} | self.settings.headers
        if self.settings.secret:
            signature = hmac.digest(self.settings.secret.encode(), data, "sha256").hex()
            headers["X-Deepmoat-Signature"] = f"sha256={signature}"
        return Post(self.settings.url, data, headers)


def body(message: Message, now: datetime) -> dict[str, Any]:
    """The documented JSON object. New keys may come; none of these goes away within a version."""
    incident = message.notice.incident
    return {
        "version": VERSION,
        "event": message.notice.event,
        "time": now,
        "title": headline(message),
        "text": text(message),
        "link": message.link,
        "incident": msgspec.to_builtins(incident, builtin_types=(datetime,))
        | {
            "severity": incident.severity.name.lower(),
            "severity_number": int(incident.severity),
            "subjects": [{"field": field, "value": value} for field, value in incident.subjects],
            "timeline": [{"time": when, "text": line} for when, line in incident.timeline],
        },
        "actions": [
            msgspec.to_builtins(action, builtin_types=(datetime,))
            | {"targets": [dict(target) for target in action.targets]}
            for action in message.actions
        ],
        "held": message.held,
    }
