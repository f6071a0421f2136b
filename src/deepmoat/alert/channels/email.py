"""email: a message by SMTP, through apprise."""

from datetime import datetime
from typing import Literal
from urllib.parse import quote, urlencode

from deepmoat.alert.channel import Channel, ChannelSettings, Message, Push, headline, text
from deepmoat.kit.errors import ConfigError


class EmailSettings(ChannelSettings, frozen=True, kw_only=True):
    """From ``sender`` to each of ``to`` through the SMTP server ``host``.

    ``port`` 0 is the usual one of ``security``: 587 for starttls, 465 for tls, 25 for none.
    """

    host: str
    sender: str
    to: tuple[str, ...]
    port: int = 0
    user: str = ""
    password: str = ""
    security: Literal["starttls", "tls", "none"] = "starttls"


class Email(Channel):
    """A plain text mail; its subject is the headline."""

    SETTINGS = EmailSettings
    settings: EmailSettings

    def __init__(self, settings: EmailSettings) -> None:
        """Raises ConfigError where there is nobody to write to."""
        super().__init__(settings)
        if not settings.to or not all("@" in a for a in (settings.sender, *settings.to)):
            raise ConfigError("email: sender and to want mail addresses", hint='to = ["team@example.com"]')

    def call(self, message: Message, now: datetime) -> Push:
        """The mail."""
        return Push(self._url(), headline(message), text(message))

    def _url(self) -> str:
        """apprise's address of this mail account: https://appriseit.com/services/email/."""
        s = self.settings
        scheme, mode, port = {
            "starttls": ("mailtos", "starttls", 587),
            "tls": ("mailtos", "ssl", 465),
            "none": ("mailto", "insecure", 25),
        }[s.security]
        login = f"{quote(s.user, safe='')}:{quote(s.password, safe='')}@" if s.user else ""
        options = {"smtp": s.host, "mode": mode, "from": s.sender, "to": ",".join(s.to), "format": "text"}
        return f"{scheme}://{login}{s.host}:{s.port or port}?{urlencode(options)}"
