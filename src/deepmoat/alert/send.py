"""Send: each channel has a queue and a thread of its own, so a hanging one holds up nobody.

``tell`` never blocks and never raises. A notice that cannot be told is tried again with growing
pauses; one that is given up, refused or finds the queue full is counted by channel and outcome.
No log line, error or counter holds an address, a token or an apprise URL.
"""

import contextlib
import logging
import queue
import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from email.message import Message as Headers
from typing import IO, Literal

import msgspec

from deepmoat.alert.channel import Channel, Message, Outcome, Post, Push
from deepmoat.alert.incidents import Notice
from deepmoat.alert.settings import AlertSettings
from deepmoat.kit.addresses import Networks, canonical
from deepmoat.kit.errors import ConfigError
from deepmoat.kit.meters import count
from deepmoat.model import Incident, Severity

Ending = Literal["sent", "refused", "failed", "queue_full"]
_LOG = logging.getLogger("deepmoat.alert")
_ANSWER = 65_536  # bytes of an answer that are read
_LONGEST_PAUSE = 60.0
_LOOPBACK = Networks(["127.0.0.0/8", "::1"])


class Told(msgspec.Struct, frozen=True):
    """How telling one message through one channel ended, at ``time``."""

    channel: str
    message: Message
    ending: Ending
    time: datetime


class Sender:
    """Tell messages through every channel that wants them."""

    def __init__(self, settings: AlertSettings, told: Callable[[Told], None] = lambda told: None) -> None:
        """``told`` hears of every ending, on the channel's thread."""
        self._workers = [_Worker(channel, settings.queue, told) for channel in settings.opened()]

    def start(self) -> None:
        """Start one thread a channel."""
        for worker in self._workers:
            worker.thread.start()

    def tell(self, message: Message) -> int:
        """Queue ``message`` where it is wanted; how many channels want it."""
        wanting = [w for w in self._workers if w.wants(message)]
        for worker in wanting:
            worker.put(message)
        return len(wanting)

    def close(self, grace: float = 5.0) -> None:
        """Let the queues run dry for at most ``grace`` seconds, then stop; what is left is counted."""
        end = time.monotonic() + grace
        for worker in self._workers:
            worker.finish()
        for worker in self._workers:
            worker.join(max(0.0, end - time.monotonic()))


class _Worker:
    """One channel: its queue, its thread, its retries."""

    def __init__(self, channel: Channel, size: int, told: Callable[[Told], None]) -> None:
        self.channel, self.told = channel, told
        self.queue: queue.Queue[Message | None] = queue.Queue(size)
        self.stop = threading.Event()
        self.closing = False
        self.thread = threading.Thread(target=self._run, name=f"alert-{channel.name}", daemon=True)

    def wants(self, message: Message) -> bool:
        return bool(self.channel.settings.wants(message.notice.event, message.notice.incident.severity))

    def put(self, message: Message) -> None:
        try:
            self.queue.put_nowait(message)
        except queue.Full:
            self._end(message, "queue_full")

    def finish(self) -> None:
        self.closing = True
        with contextlib.suppress(queue.Full):  # when full, the thread sees ``closing`` once it is empty
            self.queue.put_nowait(None)

    def join(self, seconds: float) -> None:
        if self.thread.is_alive():
            self.thread.join(seconds)
        self.stop.set()
        while not self.queue.empty():
            message = self.queue.get_nowait()
            if message is not None:
                self._end(message, "failed")

    def _run(self) -> None:
        while not (self.stop.is_set() or (self.closing and self.queue.empty())):
            message = self.queue.get()
            if message is not None:
                self._end(message, self._tried(message))

    def _tried(self, message: Message) -> Ending:
        settings = self.channel.settings
        for attempt in range(settings.attempts):
            outcome = deliver(self.channel, message)
            if outcome != "again":
                return outcome
            pause = min(settings.backoff_seconds * 2**attempt, _LONGEST_PAUSE)
            if attempt + 1 < settings.attempts and self.stop.wait(pause * random.uniform(0.8, 1.2)):
                break
        return "failed"

    def _end(self, message: Message, ending: Ending) -> None:
        count("deepmoat_alert_notices_total", channel=self.channel.name, outcome=ending)
        if ending != "sent":
            _LOG.warning(
                "channel %s: %s %s: %s",
                self.channel.name,
                message.notice.event,
                message.notice.incident.id,
                ending,
            )
        try:
            self.told(Told(self.channel.name, message, ending, datetime.now(UTC)))
        except Exception:  # noqa: BLE001 - a listener's bug must not end the channel's thread
            count("deepmoat_alert_errors_total", channel=self.channel.name)
            _LOG.exception("channel %s: the listener failed", self.channel.name)


def deliver(channel: Channel, message: Message) -> Outcome:
    """Make one attempt. Never raises: what goes wrong is worth another try or is not, and is logged."""
    try:
        call = channel.call(message, datetime.now(UTC))
        if isinstance(call, Push):
            return _push(call, channel.settings.timeout_seconds)
        status, answer = _post(call, channel.settings.timeout_seconds)
        outcome = channel.outcome(status, answer)
        if outcome != "sent":
            _LOG.warning("channel %s: HTTP %s, %s", channel.name, status, outcome)
        return outcome
    except OSError as exc:
        _LOG.warning("channel %s: %s", channel.name, _kind(exc))
        return "again"
    except Exception as exc:  # noqa: BLE001 - its text may hold the channel's address and secrets
        count("deepmoat_alert_errors_total", channel=channel.name)
        _LOG.warning("channel %s: %s", channel.name, _kind(exc))
        return "refused"


def _kind(exc: Exception) -> str:
    """What kind of error it is; its text may hold the channel's address and secrets."""
    reason = getattr(exc, "reason", None)
    return type(reason if isinstance(reason, Exception) else exc).__name__


def send_test(settings: AlertSettings, now: datetime) -> Iterable[tuple[str, Outcome]]:
    """Send a test message through every channel, once each; (channel, outcome) as they come.

    Raises ConfigError where there is no channel.
    """
    channels = settings.opened()
    if not channels:
        raise ConfigError("there is no channel", where="alert.channels", hint="add one: see docs/alerts.md")
    for channel in channels:
        yield (
            channel.name,
            deliver(channel, Message(Notice("test", example(now)), link=settings.link("test"))),
        )


def example(now: datetime) -> Incident:
    """The incident of a test message."""
    return Incident(
        id="test",
        cause="test",
        detector="test",
        title="deepmoat can reach you here",
        severity=Severity.REPORT,
        first=now,
        last=now,
        opened=now,
    )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the incident, and the headers' secrets, to another place."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Headers, newurl: str
    ) -> None:
        return None


def _post(post: Post, timeout: float) -> tuple[int, bytes]:
    request = urllib.request.Request(post.url, post.body, post.headers, method="POST")  # noqa: S310 - the operator's own URL, checked to be http(s)
    opener = urllib.request.build_opener(_NoRedirect, *_direct(post.url))
    try:
        with opener.open(request, timeout=timeout) as answer:
            return answer.status, _read(answer, timeout)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, _read(exc, timeout)


def _direct(url: str) -> list[urllib.request.ProxyHandler]:
    """A proxy of the environment is used, but never towards this machine itself."""
    host = urllib.parse.urlsplit(url).hostname or ""
    here = host == "localhost" or (canonical(host) or "") in _LOOPBACK
    return [urllib.request.ProxyHandler({})] if here else []


def _read(answer: IO[bytes], timeout: float) -> bytes:
    """At most ``_ANSWER`` bytes, for at most ``timeout`` seconds, however slowly they drip."""
    end, parts, size = time.monotonic() + timeout, [], 0
    while size < _ANSWER and time.monotonic() < end:
        part = answer.read1(4096) if hasattr(answer, "read1") else answer.read(4096)
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _push(push: Push, timeout: float) -> Outcome:
    import apprise  # 0.2 s to import, and most installations use only webhooks

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # its warnings can hold tokens
    asset = apprise.AppriseAsset(app_id="deepmoat", app_desc="deepmoat", secure_logging=True)
    service = apprise.Apprise.instantiate(push.url, asset=asset, suppress_exceptions=True)
    if service is None:
        return "refused"
    service.socket_connect_timeout = service.socket_read_timeout = timeout
    told = service.notify(body=push.body, title=push.title, body_format=apprise.NotifyFormat.TEXT)
    return "sent" if told else "again"
