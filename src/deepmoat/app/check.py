"""Check settings as far as that is possible without starting anything."""

from collections.abc import Callable
from urllib.parse import urlsplit

from deepmoat.app.settings import Moat, Place
from deepmoat.detect.detector import DETECTORS
from deepmoat.detect.settings import validate as validate_detect
from deepmoat.edge.serve import try_out
from deepmoat.edge.settings import endpoint
from deepmoat.kit.addresses import Networks
from deepmoat.kit.errors import ConfigError
from deepmoat.model import LOGSTORES


def check(place: Place) -> None:
    """Try what can be tried; ConfigError names the file and the first thing that is wrong."""
    for one in CHECKS:
        try:
            one(place.moat)
        except ConfigError as exc:
            where = f"{place.file}: {exc.where}" if place.file else exc.where
            raise ConfigError(exc.message, where=where, hint=exc.hint) from exc


def _forwarders(moat: Moat) -> None:
    Networks(moat.edge.trusted_forwarders, where="[edge] trusted_forwarders")


def _listen(moat: Moat) -> None:
    endpoint(moat.api.listen, where="[api] listen")
    if moat.edge.listen == moat.api.listen:
        raise ConfigError(
            "the edge and the API cannot share an address", where="[api] listen", hint="choose another port"
        )


def _edge(moat: Moat) -> None:
    try_out(moat.edge)


def _retention(moat: Moat) -> None:
    for name in moat.store.retention.logstores:
        if name not in LOGSTORES:
            raise ConfigError(
                f"no such logstore: {name!r}",
                where="[store.retention.logstores]",
                hint="known: " + ", ".join(LOGSTORES),
            )


def _detect(moat: Moat) -> None:
    validate_detect(moat.detect)


def _respond(moat: Moat) -> None:
    for name in moat.respond.detectors:
        try:
            DETECTORS.get(name)
        except ConfigError as exc:
            raise ConfigError(exc.message, where="[respond] detectors", hint=exc.hint) from exc


def _urls(moat: Moat) -> None:
    for where, url in (("[console] url", moat.console.url), ("[alert] console_url", moat.alert.console_url)):
        parts = urlsplit(url)
        if url and not (parts.scheme in ("http", "https") and parts.netloc):
            raise ConfigError(
                f"not an address: {url!r}", where=where, hint='write "https://moat.example.com"'
            )
    for where, url, scheme in (
        ("[store.logs] url", moat.store.logs.url, "chdb"),
        ("[store.state] url", moat.store.state.url, "sqlite"),
    ):
        if url and urlsplit(url).scheme != scheme:
            raise ConfigError(f"{url!r} is not supported yet", where=where, hint=f"write {scheme}:///PATH")


CHECKS: tuple[Callable[[Moat], None], ...] = (
    _listen,
    _forwarders,
    _edge,
    _urls,
    _retention,
    _detect,
    _respond,
)
