"""Identity: sign-in links, sessions and API keys over their tables.

Every method is synchronous, thread-safe and takes ``now`` (seconds since 1970). A check that
succeeded is remembered for ``REMEMBERED`` seconds, so that a busy sender costs one look-up in that
time; what this process ends (a session, a key) is forgotten at once, what another process ends, after
at most that time.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import cast

import msgspec

from deepmoat.identity.limit import Attempts
from deepmoat.identity.roles import ROLES, Role, Visitor
from deepmoat.identity.secret import digest, matches, mint, prefix_of
from deepmoat.identity.settings import IdentitySettings
from deepmoat.kit.errors import PeerError, TransientError
from deepmoat.kit.ids import new_id
from deepmoat.kit.meters import count, drop
from deepmoat.store.state.database import State
from deepmoat.store.state.keys import Key, Keys
from deepmoat.store.state.links import Link, Links
from deepmoat.store.state.sessions import Session, Sessions
from deepmoat.store.state.users import User, Users

REMEMBERED = 2.0
TOUCH = 60.0
"""Seconds between two notes that a session or key is in use."""

_NOBODY = "0" * 64
_MOST_REMEMBERED = 4096


class _Checked(msgspec.Struct, frozen=True):
    """A credential that was checked, until when that holds, and when its use is next written down."""

    visitor: Visitor
    until: float
    touch: float


class Identity:
    """Who is it, and may they? One for each process."""

    def __init__(self, settings: IdentitySettings, state: State) -> None:
        """Open the tables in ``state``."""
        self.settings = settings
        self.users, self.keys = Users(state), Keys(state)
        self.links, self.sessions = Links(state), Sessions(state)
        self.attempts = Attempts(
            address_burst=settings.address_burst,
            address_seconds=settings.address_seconds,
            total_burst=settings.total_burst,
            total_rate=settings.total_rate,
        )
        self._lock = threading.Lock()
        self._checked: OrderedDict[str, _Checked] = OrderedDict()
        self._ended = 0

    # Sign-in links

    def first_start(self, now: float) -> str | None:
        """Create the administrator and a link to sign in by; None when there are users already."""
        if self.users.all():
            return None
        admin = User(new_id(now), "admin", "admin", now)
        return self._link(admin, now) if self.users.add(admin) else None

    def link(self, name: str, now: float, *, role: Role = "admin") -> str:
        """A fresh one-time link for the user ``name``, who is created with ``role`` if need be.

        Raises PeerError for a user that is disabled.
        """
        user = self.users.named(name)
        if user is None:
            user = User(new_id(now), _name(name), role, now)
            self.users.add(user)
        if user.disabled:
            raise PeerError(f"the user {name!r} is disabled", status=403)
        return self._link(user, now)

    def sign_in(self, link: str, address: str, now: float) -> tuple[str, Visitor]:
        """Use ``link`` up: the new session's secret, for the cookie, and who it is.

        Raises PeerError 429 after too many failures, 403 for a link that is wrong, used or over.
        """
        with self._lock:
            self.attempts.check(address, now)
        user = self._user_of(link, now)
        if user is None or not self.links.use(link.split("_")[1], now):
            with self._lock:
                self.attempts.failed(address, now)
            count("deepmoat_identity_sign_ins_total", outcome="failure")
            raise PeerError(
                "this link is wrong, was used before, or is too old",
                status=403,
                hint="run `deepmoat link` on the server for a new one",
            )
        count("deepmoat_identity_sign_ins_total", outcome="success")
        return self._begin(user, address, now)

    # Sessions

    def session(self, secret: str, now: float, *, active: bool = True) -> Visitor | None:
        """Whose session this is; None when it is none, or over.

        A look that is not ``active`` (a page that refreshes itself) does not keep the session alive.
        """
        prefix = prefix_of("session", secret)
        if prefix is None:
            return None
        known = self._remembered(secret, now)
        if known and not (active and now >= known.touch):
            return known.visitor
        return self._session(prefix, secret, now, active)

    def sign_out(self, secret: str) -> None:
        """End the session, now."""
        prefix = prefix_of("session", secret)
        session = self.sessions.get(prefix) if prefix else None
        if session and matches(secret, session.hash):
            self.sessions.end(session.prefix)
        self._forget(digest(secret))

    # API keys

    def make_key(self, name: str, role: str, by: str, now: float) -> tuple[Key, str]:
        """A new key, and its secret, never to be seen again. PeerError 400 for a bad name or role."""
        if role not in ROLES:
            raise PeerError(f"no such role: {role!r}", where="role", hint="known: " + ", ".join(ROLES))
        secret = mint("key")
        key = Key(secret.prefix, secret.hash, _name(name), role, now, by)
        self.keys.add(key)
        return key, secret.text

    def key(self, secret: str, now: float) -> Visitor | None:
        """Whose key this is; None when it is none, or revoked."""
        prefix = prefix_of("key", secret)
        if prefix is None:
            return None
        known = self._remembered(secret, now)
        return known.visitor if known else self._key(prefix, secret, now)

    def revoke_key(self, prefix: str, now: float) -> bool:
        """End a key, now; False where there is no such key."""
        done = self.keys.revoke(prefix, now)
        key = self.keys.get(prefix)
        if key:
            self._forget(key.hash)
        return done

    # Inside

    def _link(self, user: User, now: float) -> str:
        secret = mint("link")
        self.links.prune(now - 86400)
        self.links.add(Link(secret.prefix, secret.hash, user.id, now + self.settings.link_seconds))
        return secret.text

    def _user_of(self, link: str, now: float) -> User | None:
        prefix = prefix_of("link", link)
        found = self.links.get(prefix) if prefix else None
        right = matches(link, found.hash if found else _NOBODY)
        if not (found and right) or found.used is not None or found.ends <= now:
            return None
        user = self.users.get(found.user)
        return user if user and not user.disabled else None

    def _begin(self, user: User, address: str, now: float) -> tuple[str, Visitor]:
        limits = self.settings
        self.sessions.prune(
            seen_before=now - limits.session_idle, created_before=now - limits.session_absolute
        )
        secret = mint("session")
        self.sessions.add(Session(secret.prefix, secret.hash, user.id, address, now, now))
        return secret.text, Visitor(secret.prefix, user.name, cast(Role, user.role), "session")

    def _session(self, prefix: str, secret: str, now: float, active: bool) -> Visitor | None:
        ended = self._ended
        session = self.sessions.get(prefix)
        right = matches(secret, session.hash if session else _NOBODY)
        if not (session and right):
            return None
        limits = self.settings
        if now - session.seen >= limits.session_idle or now - session.created >= limits.session_absolute:
            self.sessions.end(prefix)
            self._forget(session.hash)
            return None
        user = self.users.get(session.user)
        if user is None or user.disabled:
            return None
        pause = min(TOUCH, limits.session_idle / 4)
        seen = session.seen
        if active and now - seen >= pause:
            self._note(self.sessions.touch, prefix, now)
            seen = now
        ends = min(session.created + limits.session_absolute, seen + limits.session_idle, now + REMEMBERED)
        visitor = Visitor(prefix, user.name, cast(Role, user.role), "session")
        return self._remember(secret, _Checked(visitor, ends, seen + pause), ended)

    def _key(self, prefix: str, secret: str, now: float) -> Visitor | None:
        ended = self._ended
        key = self.keys.get(prefix)
        right = matches(secret, key.hash if key else _NOBODY)
        if not (key and right) or key.revoked is not None:
            return None
        if key.used is None or now - key.used >= TOUCH:
            self._note(self.keys.touch, prefix, now)
        visitor = Visitor(prefix, key.name, cast(Role, key.role), "key")
        return self._remember(secret, _Checked(visitor, now + REMEMBERED, now + TOUCH), ended)

    @staticmethod
    def _note(touch: Callable[[str, float], None], prefix: str, now: float) -> None:
        """Write down that a credential is in use; a full disk keeps nobody out."""
        try:
            touch(prefix, now)
        except TransientError:
            drop("identity", "use_not_noted")

    def _remembered(self, secret: str, now: float) -> _Checked | None:
        with self._lock:
            known = self._checked.get(digest(secret))
        return known if known and now < known.until <= now + REMEMBERED else None  # the clock may go back

    def _remember(self, secret: str, checked: _Checked, ended: int) -> Visitor:
        """Unless something ended since ``ended`` was read: it may have been this one."""
        with self._lock:
            if ended == self._ended:
                self._checked[digest(secret)] = checked
            while len(self._checked) > _MOST_REMEMBERED:
                self._checked.popitem(last=False)
        return checked.visitor

    def _forget(self, hash: str) -> None:
        with self._lock:
            self._ended += 1
            self._checked.pop(hash, None)


def _name(text: str) -> str:
    """A name that can stand in a log line; PeerError 400 for another."""
    name = text.strip()
    if not 0 < len(name) <= 64 or not name.isprintable():
        raise PeerError(
            "a name wants 1 to 64 printable characters", where="name", hint="such as: nginx on web-1"
        )
    return name
