"""How the command line finds and asks the core that runs on one data folder.

Core writes ``run/local.json`` (0600: whoever may read the data folder may ask) with its URL and an API key
that lives as long as the process. On another machine ``--url`` and ``--key`` say the same.
"""

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

import msgspec

from deepmoat.kit.addresses import Networks
from deepmoat.kit.errors import ConfigError, PeerError, QueryError, TransientError
from deepmoat.kit.files import write_atomically

_LOOPBACK = Networks(["127.0.0.0/8", "::1"])


class Local(msgspec.Struct, frozen=True):
    """Where core listens, and a key it takes."""

    url: str
    key: str


def file(data: Path) -> Path:
    """Its place in the data folder."""
    return data / "run" / "local.json"


def publish(data: Path, local: Local) -> None:
    """Let the command line find this core."""
    file(data).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(file(data), msgspec.json.encode(local))


def find(data: Path, url: str | None, key: str | None) -> Local:
    """The core to ask: what the caller says, else the one on ``data``.

    Raises ConfigError where none runs there.
    """
    key = key or os.environ.get("DEEPMOAT_KEY")
    if url:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"{url!r} is no URL", where="--url", hint="write https://moat.example:8600")
        return Local(url.rstrip("/"), key or "")
    try:
        local = msgspec.json.decode(file(data).read_bytes(), type=Local)
    except FileNotFoundError:
        raise ConfigError(
            "no deepmoat runs on this data folder",
            where=str(data),
            hint="start it with `deepmoat up`, name it with --data or --url, or ask a file with --from",
        ) from None
    return Local(local.url, key or local.key)


def ask(
    local: Local, method: str, path: str, body: dict[str, Any] | None = None, *, timeout: float = 120.0
) -> bytes:
    """One call of the API; the answer's body.

    Raises what the answer's error says, TransientError where core does not answer.
    """
    request = urllib.request.Request(  # noqa: S310 - the operator's own URL
        local.url + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {local.key}", "Content-Type": "application/json"},
        method=method,
    )
    host = urllib.parse.urlsplit(local.url).hostname or ""
    # A proxy of the environment is used, but never towards this machine itself: it would be told the key.
    direct = [urllib.request.ProxyHandler({})] if host == "localhost" or host in _LOOPBACK else []
    try:
        with urllib.request.build_opener(*direct).open(request, timeout=timeout) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as exc:
        with exc:
            raise _said(exc.code, exc.read(), local.url) from exc
    except (OSError, HTTPException) as exc:
        raise TransientError(f"core does not answer: {exc}", where=local.url, hint="is it running?") from exc


def _said(status: int, body: bytes, url: str) -> QueryError | PeerError:
    try:
        error = json.loads(body)["error"]
        message, hint, where = error["message"], error.get("hint") or "", error.get("where") or ""
    except (ValueError, KeyError, TypeError):
        message, hint, where = f"core answered {status}", "", url
    if status == 400 and "\n" in where:  # the line of a query, and a caret under the place
        return QueryError(f"{message}\n{where}", hint=hint)
    if status == 400:
        return QueryError(message, where=where, hint=hint)
    return PeerError(message, status=status, where=where or url, hint=hint)


def withdraw(data: Path) -> None:
    """This core is going: nobody is to find it any more."""
    file(data).unlink(missing_ok=True)
