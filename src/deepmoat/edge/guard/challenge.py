"""The challenge: a browser does a little work before it may pass, a flood of them cannot.

The page asks for a number that, hashed with SHA-256 behind a token, begins with ``difficulty`` zero bits (the
proof of work of Hashcash, http://www.hashcash.org/papers/hashcash.pdf). The token is a MAC over the client's
address, its user agent and the time the pass ends; so nothing is kept here, and a pass from another address
or browser, or with another end, is worth nothing. The cookie is ``END.NUMBER.TOKEN``.
"""

import hmac
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from deepmoat.edge.guard.settings import ChallengeSettings
from deepmoat.edge.llm.endpoint import find_endpoint
from deepmoat.model import Request, Verdict

COOKIE = "deepmoat_pass"
_PREFIX = COOKIE + "="
_LONGEST, _LONGEST_HEADER = 80, 16_384
_DIGITS = 12
_TOKEN = 32
_PATIENCE = 30
_PIECES = Path(__file__).with_name("challenge.html").read_text("ascii")
HEADERS = frozenset((b"accept", b"cookie", b"user-agent"))
"""The headers a request must hold for a challenge."""

Find = Callable[[str, str, str], object]
"""From method, host and path to something true for a model call."""


class Challenge:
    """Who has to work, who has worked. Times are seconds since 1970."""

    def __init__(self, settings: ChallengeSettings, secret: bytes, find: Find | None = None) -> None:
        """``secret`` is the same in all workers, and no client knows it. ``find`` knows model calls."""
        self._find = find or _find_known
        self._key = hmac.digest(secret, b"deepmoat.challenge", "sha256")
        self.settings = settings
        self._shift = 256 - settings.difficulty
        self._always = Verdict("challenge", "challenge/always", "the browser has to work first", 403)

    def check(self, request: Request, now: float) -> Verdict | None:
        """``challenge`` for a browser without a pass where every one needs one; programs pass."""
        settings, path = self.settings, request.path
        if settings.hosts and request.host not in settings.hosts:
            return None
        if settings.paths and not path.startswith(settings.paths):
            return None
        if path.startswith(settings.exempt_paths) or not self.is_browser(request):
            return None
        return None if self.passed(request, now) else self._always

    def ask(self, request: Request, now: float, rule: str, reason: str) -> Verdict | None:
        """What ``rule`` says by demanding a challenge: None with a pass, 429 for one who cannot solve it."""
        if self.passed(request, now):
            return None
        if self.is_browser(request):
            return Verdict("challenge", rule, reason, 403)
        return Verdict("limit", rule, reason, 429, _PATIENCE)

    def is_browser(self, request: Request) -> bool:
        """Can whoever asks show a page? Not a program with an API key, nor one that calls a model."""
        return (
            "text/html" in request.headers.get("accept", "")
            and not request.key_hash
            and not self._find("POST", request.host, request.path)
        )

    def passed(self, request: Request, now: float) -> bool:
        """Has this client worked, for this address and browser, not too long ago?"""
        cookies = request.headers.get("cookie", "")
        return bool(cookies) and self._passes(cookies, request, now)

    def _passes(self, cookies: str, request: Request, now: float) -> bool:
        at = cookies.find(_PREFIX)
        if at < 0 or len(cookies) > _LONGEST_HEADER:
            return False
        at += len(_PREFIX)
        cookie = cookies[at : at + _LONGEST].partition(";")[0].strip()
        end, _, rest = cookie.partition(".")
        number, _, token = rest.partition(".")
        if not (_is_number(end) and _is_number(number) and len(token) == _TOKEN and token.isascii()):
            return False
        if not now < int(end) <= now + self.settings.valid + 1:
            return False
        if not hmac.compare_digest(token, self.token(request, int(end))):
            return False
        return int.from_bytes(sha256(f"{token}:{number}".encode()).digest()) >> self._shift == 0

    def token(self, request: Request, end: int) -> str:
        """The token of this client for a pass that ends at ``end``: 32 hex digits."""
        agent = request.headers.get("user-agent", "")
        text = f"{end} {self.settings.difficulty} {request.client_address} {agent}"
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256").hex()[:_TOKEN]

    def page(self, request: Request, now: float) -> bytes:
        """The page, HTML in ASCII of about 4 KB; nothing in it comes from the request.

        Answer it with 403, ``Content-Type: text/html`` and ``Cache-Control: no-store``. It solves the
        challenge, sets the cookie and loads the same address again; after another method than GET it asks
        the person to send their form again, since what they sent was not kept.
        """
        end = int(now) + self.settings.valid
        token = self.token(request, end)
        nonce = hmac.digest(self._key, f"nonce {token}".encode(), "sha256").hex()[:_TOKEN]
        values = {
            "@NONCE@": nonce,
            "@TOKEN@": token,
            "@EXPIRY@": str(end),
            "@VALID@": str(self.settings.valid),
            "@BITS@": str(self.settings.difficulty),
            "@AGAIN@": "true" if request.method in {"GET", "HEAD"} else "false",
        }
        return "".join([values.get(piece, piece) for piece in _PARTS]).encode("ascii")


def _find_known(method: str, host: str, path: str) -> object:  # noqa: ARG001 - the known APIs have no hosts
    return find_endpoint(method, path)


def _is_number(text: str) -> bool:
    return 0 < len(text) <= _DIGITS and text.isascii() and text.isdigit()


def _split(template: str) -> tuple[str, ...]:
    """The template's texts and ``@NAME@`` places in turn."""
    pieces = template.split("@")
    return tuple(f"@{piece}@" if i % 2 else piece for i, piece in enumerate(pieces))


_PARTS = _split(_PIECES)
