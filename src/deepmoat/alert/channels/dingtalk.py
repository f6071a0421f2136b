"""dingtalk: a message of a DingTalk group robot.

The request is made here and not by apprise 2.2: its plug-in encodes the signature twice, which
DingTalk refuses (310000), and takes DingTalk's "refused" (HTTP 200 with an ``errcode``) for told.
Source: https://open.dingtalk.com/document/robots/custom-robot-access
"""

import base64
import hmac
from datetime import datetime
from urllib.parse import urlencode

import msgspec

from deepmoat.alert.channel import Channel, ChannelSettings, Message, Outcome, Post, text

_BUSY = {-1, 90030, 130101, 130102}  # system busy; three ways to say: too many messages a minute
_LONGEST = 18_000  # bytes; DingTalk refuses a request of more than 20,000


class DingTalkSettings(ChannelSettings, frozen=True, kw_only=True):
    """``token`` is the ``access_token`` of the robot's address; ``secret`` its signing secret, if any.

    ``phones`` are called by name in the group. ``keyword`` is put into every message, for a robot
    that only lets messages with it through. ``url`` is for a DingTalk of one's own.
    """

    token: str
    secret: str = ""
    phones: tuple[str, ...] = ()
    keyword: str = ""
    url: str = "https://oapi.dingtalk.com/robot/send"


class DingTalk(Channel):
    """A plain text message: what a client wrote into a log is never markup there."""

    SETTINGS = DingTalkSettings
    settings: DingTalkSettings

    def call(self, message: Message, now: datetime) -> Post:
        """The POST, signed where the robot has a secret."""
        words = filter(None, [self.settings.keyword, text(message), *(f"@{p}" for p in self.settings.phones)])
        content = "\n".join(words).encode()[:_LONGEST].decode("utf-8", "ignore")
        at = {"atMobiles": self.settings.phones, "isAtAll": False}
        data = msgspec.json.encode({"msgtype": "text", "text": {"content": content}, "at": at})
        return Post(
            f"{self.settings.url}?{urlencode(self._query(now))}", data, {"Content-Type": "application/json"}
        )

    def outcome(self, status: int, answer: bytes) -> Outcome:
        """DingTalk says 200 to everything; ``errcode`` tells."""
        general = super().outcome(status, answer)
        if general != "sent":
            return general
        try:
            code = msgspec.json.decode(answer, type=_Answer).errcode
        except msgspec.DecodeError:
            return "refused"
        return "sent" if code == 0 else "again" if code in _BUSY else "refused"

    def _query(self, now: datetime) -> dict[str, str]:
        query = {"access_token": self.settings.token}
        if self.settings.secret:
            stamp = str(round(now.timestamp() * 1000))
            signed = f"{stamp}\n{self.settings.secret}".encode()
            digest = hmac.digest(self.settings.secret.encode(), signed, "sha256")
            query |= {"timestamp": stamp, "sign": base64.b64encode(digest).decode()}
        return query


class _Answer(msgspec.Struct):
    errcode: int
