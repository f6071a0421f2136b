"""apprise: any of the services apprise knows, by its URL: WeCom, Feishu, Slack, SMS, PagerDuty …

The list: https://appriseit.com/services/
"""

from datetime import datetime

from deepmoat.alert.channel import Channel, ChannelSettings, Message, Push, headline, text


class AppriseSettings(ChannelSettings, frozen=True, kw_only=True):
    """``url`` is an apprise URL, such as ``wecombot://KEY``; it holds the secrets."""

    url: str


class Apprise(Channel):
    """A plain text message; apprise says whether it was told, not why it was refused."""

    SETTINGS = AppriseSettings
    settings: AppriseSettings

    def call(self, message: Message, now: datetime) -> Push:
        """The message."""
        return Push(self.settings.url, headline(message), text(message))
